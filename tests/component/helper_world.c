#include "helper_world.h"

#include "helper_fault.h"

#include "chassis/avro/codec.h"
#include "chassis/base/health.h"
#include "chassis/service/start.h"

#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000, STOP_S = 120 };

/* --- The registry */

static int answer(struct mg_connection *c, int status, const char *body) {
    mg_printf(
        c, "HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        status, strlen(body), body);
    return 1;
}

static int registry_register(struct world *w, struct mg_connection *c, const char *subject) {
    char body[20000], text[100];
    int n = 0, more;
    while (n < (int)sizeof body - 1 && (more = mg_read(c, body + n, sizeof body - 1 - (size_t)n)) > 0) n += more;
    body[n] = '\0';
    if (w->registry_refuses || (w->registry_refuses_text && strstr(body, w->registry_refuses_text)))
        return answer(c, 409, "{\"error_code\":409,\"message\":\"field serial_number is missing\"}");
    json_t *request = json_loads(body, 0, NULL);
    const char *schema = json_string_value(json_object_get(request, "schema"));
    int id = schema ? world_schema(w, schema) : 0;
    if (id) {
        pthread_mutex_lock(&w->lock);
        free(w->subjects[id - 1]);
        w->subjects[id - 1] = strdup(subject);
        pthread_mutex_unlock(&w->lock);
    }
    json_decref(request);
    snprintf(text, sizeof text, "{\"id\":%d}", id);
    return id ? answer(c, 200, text) : answer(c, 422, "{\"error_code\":42201,\"message\":\"no schema\"}");
}

static int registry_schema_of(struct world *w, struct mg_connection *c, int id) {
    json_t *found = NULL;
    pthread_mutex_lock(&w->lock);
    if (id >= 1 && id <= w->schemas_n && id != w->unread) found = json_pack("{s:s}", "schema", w->schemas[id - 1]);
    pthread_mutex_unlock(&w->lock);
    if (!found && id >= WORLD_WRONG && id != INT32_MAX && w->wrong_status)
        return answer(c, w->wrong_status, w->wrong_body);
    if (!found) return answer(c, 404, "{\"error_code\":40403,\"message\":\"Schema not found\"}");
    char *text = json_dumps(found, JSON_COMPACT);
    answer(c, 200, text);
    free(text);
    json_decref(found);
    return 1;
}

static int on_request(struct mg_connection *c, void *world) {
    fault_exempt = true;
    struct world *w = world;
    const struct mg_request_info *info = mg_get_request_info(c);
    const char *uri = info->local_uri;
    if (w->registry_down) return answer(c, 503, "{\"error_code\":503,\"message\":\"away\"}");
    if (!strncmp(uri, "/config/", 8)) return answer(c, 200, "{\"compatibility\":\"FULL_TRANSITIVE\"}");
    if (!strncmp(uri, "/schemas/ids/", 13) && atoi(uri + 13) != INT32_MAX && w->registry_stumbles > 0) {
        w->registry_stumbles--;
        return answer(c, 500, "{\"error_code\":500,\"message\":\"its storage is slow\"}");
    }
    if (!strncmp(uri, "/schemas/ids/", 13)) return registry_schema_of(w, c, atoi(uri + 13));
    if (!strncmp(uri, "/subjects/", 10) && !strcmp(info->request_method, "POST"))
        return registry_register(w, c, uri + 10);
    return answer(c, 404, "{\"error_code\":404,\"message\":\"no such path\"}");
}

static int schema_keep(struct world *w, const char *text, bool unread) {
    pthread_mutex_lock(&w->lock);
    int id = 0;
    for (int i = 0; i < w->schemas_n && !id; i++)
        if (!strcmp(w->schemas[i], text)) id = i + 1;
    if (!id && w->schemas_n < WORLD_SCHEMAS) {
        w->schemas[w->schemas_n++] = strdup(text);
        id = w->schemas_n;
    }
    if (unread || id == w->unread) w->unread = unread ? id : 0;
    pthread_mutex_unlock(&w->lock);
    return id;
}

int world_schema(struct world *w, const char *text) {
    return schema_keep(w, text, false);
}

int world_schema_unread(struct world *w, const char *text) {
    return schema_keep(w, text, true);
}

static void registry_open(struct world *w) {
    const char *options[] = {"listening_ports", "127.0.0.1:0", "num_threads", "4", NULL};
    struct mg_callbacks callbacks = {0};
    struct mg_server_port port;
    w->registry = mg_start(&callbacks, w, options);
    assert_non_null(w->registry);
    mg_set_request_handler(w->registry, "/", on_request, w);
    assert_int_equal(mg_get_server_ports(w->registry, 1, &port), 1);
    w->registry_port = port.port;
    snprintf(w->registry_url, sizeof w->registry_url, "http://127.0.0.1:%d", w->registry_port);
}

/* --- The world */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *world) {
    (void)rk;
    struct world *w = world;
    w->delivered = m->err;
}

static rd_kafka_t *client(struct world *w, rd_kafka_type_t type) {
    char text[300];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (w->cluster)
        assert_int_equal(
            rd_kafka_conf_set(
                conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(w->cluster), text, sizeof text),
            0);
    if (type == RD_KAFKA_CONSUMER)
        assert_int_equal(rd_kafka_conf_set(conf, "group.id", "the-test", text, sizeof text), 0);
    rd_kafka_conf_set_opaque(conf, w);
    if (type == RD_KAFKA_PRODUCER) {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        /* As large as a broker takes them compressed; of more than 5 MB the mock cluster keeps none. */
        assert_int_equal(rd_kafka_conf_set(conf, "compression.type", "gzip", text, sizeof text), 0);
        assert_int_equal(rd_kafka_conf_set(conf, "message.max.bytes", "30000000", text, sizeof text), 0);
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    assert_non_null(rk);
    return rk;
}

/* What still runs, by the names of threads: so it is known who did not end, also where no debugger is. */
static void not_ended(int signum) {
    (void)signum;
    fprintf(stderr, "the service, or what is around it, did not end within %d s. Threads that are left:\n", STOP_S);
    fflush(stderr);
    (void)!system("cat /proc/$PPID/task/*/comm >&2");
    abort();
}

void world_open(struct world *w) {
    memset(w, 0, sizeof *w);
    signal(SIGALRM, not_ended);
    w->name = "probe";
    pthread_mutex_init(&w->lock, NULL);
    strcpy(w->folder, "/tmp/world-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    w->host = client(w, RD_KAFKA_PRODUCER);
    w->cluster = rd_kafka_mock_cluster_new(w->host, 1);
    assert_non_null(w->cluster);
    assert_int_equal(rd_kafka_mock_topic_create(w->cluster, "support.events", 6, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(w->cluster, "probe.events", 6, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(w->cluster, "probe.dead-letters", 6, 1), 0);
    w->producer = client(w, RD_KAFKA_PRODUCER);
    registry_open(w);
}

void world_close(struct world *w) {
    char command[128];
    world_stop(w);
    alarm(STOP_S);
    mg_stop(w->registry);
    rd_kafka_destroy(w->producer);
    rd_kafka_mock_cluster_destroy(w->cluster);
    rd_kafka_destroy(w->host);
    for (int i = 0; i < w->schemas_n; i++) {
        free(w->schemas[i]);
        free(w->subjects[i]);
    }
    pthread_mutex_destroy(&w->lock);
    snprintf(command, sizeof command, "rm -rf '%s'", w->folder);
    assert_int_equal(system(command), 0);
    alarm(0);
}

static void add_flag(char flags[][200], char *argv[], int *argc, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(flags[*argc], 200, format, arguments);
    va_end(arguments);
    argv[*argc] = flags[*argc];
    ++*argc;
}

int world_flags(struct world *w, char flags[WORLD_FLAGS][200], char *argv[WORLD_FLAGS]) {
    int argc = 0;
    add_flag(flags, argv, &argc, "%s", w->name);
    add_flag(flags, argv, &argc, "--port=0");
    add_flag(flags, argv, &argc, "--allowed-hosts=h"); /* tests ask for it */
    add_flag(flags, argv, &argc, "--comparison");
    add_flag(flags, argv, &argc, "--data-dir=%s", w->folder);
    add_flag(flags, argv, &argc, "--kafka=%s", rd_kafka_mock_cluster_bootstraps(w->cluster));
    add_flag(flags, argv, &argc, "--registry=%s", w->registry_url);
    add_flag(flags, argv, &argc, "--unknown-id-ms=300");
    add_flag(flags, argv, &argc, "--instance=-"); /* the mock cluster has no static membership */
    /* An idle fetch of the mock cluster waits this long in full. */
    add_flag(flags, argv, &argc, "-Xfetch.wait.max.ms=10");
    for (int i = 0; i < w->more_n; i++) add_flag(flags, argv, &argc, "%s", w->more[i]);
    argv[argc] = NULL;
    return argc;
}

verdict world_try(struct world *w, const struct service *service, struct failure *why) {
    char flags[WORLD_FLAGS][200], *argv[WORLD_FLAGS], *environment[] = {NULL};
    int argc = world_flags(w, flags, argv);
    verdict v = settings_read(&w->settings, w->name, 0, argc, argv, environment, why);
    if (v == OK) v = service_start(&w->rt, service, &w->settings, why);
    if (v == OK) return OK;
    settings_free(&w->settings);
    w->rt.core.service = NULL;
    return v;
}

void world_start(struct world *w, const struct service *service) {
    struct failure why;
    if (world_try(w, service, &why) != OK) fail_msg("%s", why.text);
}

void world_stop(struct world *w) {
    if (!w->rt.core.service) return;
    alarm(STOP_S);
    service_stop(&w->rt);
    alarm(0);
    settings_free(&w->settings);
    w->rt.core.service = NULL;
}

void world_publish(struct world *w, int partition, const char *key, const void *value, size_t n) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        w->producer, RD_KAFKA_V_TOPIC("support.events"), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE((void *)value, n), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_END);
    assert_int_equal(error, 0);
    assert_int_equal(rd_kafka_flush(w->producer, PATIENCE_MS), 0);
    assert_int_equal(w->delivered, 0);
}

void world_publish_event(struct world *w, int partition, int schema_id, const char *json) {
    struct failure why;
    struct schema *schema;
    struct buffer record = BUFFER(10000);
    json_t *value = json_loads(json, 0, NULL);
    assert_non_null(value);
    if (schema_parse(w->schemas[schema_id - 1], strlen(w->schemas[schema_id - 1]), &schema, &why) != OK)
        fail_msg("%s", why.text);
    frame_write(&record, schema_id);
    if (codec_encode(schema, value, &record, &why) != OK) fail_msg("%s", why.text);
    world_publish(w, partition, json_string_value(json_object_get(value, "return_id")), record.data, record.length);
    buffer_free(&record);
    json_decref(value);
    schema_free(&schema);
}

const char *world_schema_text(const char *file) {
    static char text[20000];
    char path[500];
    const char *tree = getenv("TESTS_SOURCE");
    snprintf(path, sizeof path, "%s/schemas/%s.avsc", tree ? tree : ".", file);
    FILE *opened = fopen(path, "r");
    assert_non_null(opened);
    text[fread(text, 1, sizeof text - 1, opened)] = '\0';
    fclose(opened);
    return text;
}

void world_publish_to(struct world *w, const char *topic, int partition, const char *file, json_t *event) {
    struct failure why;
    struct schema *schema;
    struct buffer record = BUFFER(20000);
    const char *text = world_schema_text(file);
    assert_int_equal(schema_parse(text, strlen(text), &schema, &why), OK);
    frame_write(&record, world_schema(w, text));
    if (codec_encode(schema, event, &record, &why) != OK) fail_msg("%s", why.text);
    assert_int_equal(
        rd_kafka_producev(
            w->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY("key", 3),
            RD_KAFKA_V_VALUE(record.data, record.length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
        0);
    buffer_free(&record);
    json_decref(event);
    schema_free(&schema);
}

void world_publish_as(struct world *w, const char *topic, const char *file, json_t *event) {
    static int made;
    json_object_set_new(event, "event_id", json_sprintf("019a0000-0000-7000-8000-%012d", ++made));
    json_object_set_new(event, "version", json_integer(1));
    json_object_set_new(event, "occurred_at", json_integer(1790000000000 + made));
    world_publish_to(w, topic, 0, file, event);
}

void world_request(struct world *w, const char *return_id, const char *order_id, const char *serial_number) {
    world_publish_as(
        w, "support.events", "support/RefundRequest",
        json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}}", "return_id", return_id, "order_id", order_id, "model",
            "M/1", "shipment_id", "S", "serial_number", serial_number, "location", "Lyon", "cost", "amount", "1.00",
            "currency", "EUR"));
}

/* --- Looking at it from outside */

int64_t world_int(struct world *w, const char *sql) {
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    snprintf(path, sizeof path, "%s/%s.db", w->folder, w->name);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, "unix"), SQLITE_OK); /* past the tests' own VFS */
    sqlite3_busy_timeout(db, 1000);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t n = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : -1;
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

int64_t world_records(struct world *w, const char *topic) {
    int64_t all = 0, low, high;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(rd_kafka_query_watermark_offsets(w->producer, topic, i, &low, &high, PATIENCE_MS), 0);
        all += high;
    }
    return all;
}

void world_await(struct world *w, const char *sql, int64_t expected) {
    int64_t until = clock_ms() + PATIENCE_MS, n;
    while ((n = world_int(w, sql)) != expected && clock_ms() < until) usleep(10000);
    if (n != expected) fail_msg("%s: is %lld, should be %lld", sql, (long long)n, (long long)expected);
}

static bool health_is(struct world *w, const char *component, const char *state, const char *word, char said[600]) {
    json_t *all = health_json(w->rt.core.health), *one;
    size_t i;
    bool yes = false;
    json_array_foreach(json_object_get(all, "components"), i, one) {
        if (strcmp(json_string_value(json_object_get(one, "name")), component) != 0) continue;
        snprintf(
            said, 600, "%s: %s", json_string_value(json_object_get(one, "state")),
            json_string_value(json_object_get(one, "text")));
        yes = !strcmp(json_string_value(json_object_get(one, "state")), state) && strstr(said, word);
    }
    json_decref(all);
    return yes;
}

void world_await_health(struct world *w, const char *component, const char *state, const char *word) {
    int64_t until = clock_ms() + PATIENCE_MS;
    char said[600] = "nothing";
    while (!health_is(w, component, state, word, said))
        if (clock_ms() > until)
            fail_msg("%s should be %s with \"%s\", is %s", component, state, word, said);
        else
            usleep(10000);
}

int world_read(
    struct world *w, const char *topic, int n, void (*each)(const rd_kafka_message_t *m, void *context),
    void *context) {
    rd_kafka_t *rk = client(w, RD_KAFKA_CONSUMER);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(6);
    for (int i = 0; i < 6; i++) rd_kafka_topic_partition_list_add(all, topic, i)->offset = 0;
    assert_int_equal(rd_kafka_assign(rk, all), 0);
    rd_kafka_topic_partition_list_destroy(all);
    int64_t until = clock_ms() + PATIENCE_MS;
    int read = 0;
    while (read < n && clock_ms() < until) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
        if (!m) continue;
        if (!m->err) {
            each(m, context);
            read++;
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return read;
}
