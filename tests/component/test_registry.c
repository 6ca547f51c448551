/* The registry's client against a small registry in this process, told how to answer. */
#include "chassis/avro/registry.h"

#include "chassis/base/health.h"
#include "chassis/base/metrics.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENT "{\"type\":\"record\",\"name\":\"t.Event\",\"fields\":[{\"name\":\"id\",\"type\":\"string\"}]}"

struct seen {
    char method[8], uri[200], type[80], authorization[80], body[2000];
};

/* A schema under an id, or a subject's version, with the references it has, as JSON. */
struct refers {
    const char *at, *schema, *references;
};

/* How the fake registry answers. */
struct manner {
    int failures, failure_status; /* the next so many requests are answered with this status */
    const char *failure_body;
    const char *refusal; /* what it answers to each schema, with status */
    const char *answer;  /* instead of what a registry would say; NULL: that */
    int status;
    int delay_ms;
    bool falters;                /* every second request gets 503 */
    bool huge, released;         /* released: no delay any more, not even of a request that is being delayed */
    const char *schema;          /* of id 7; other ids are unknown */
    int wrong, wrong_ms;         /* this id is answered with 500, after so long */
    bool many;                   /* ids from 1000 on have a schema too, and so has version 1 of every subject */
    const char *padding;         /* a member of these schemas' text that means nothing */
    const struct refers *refers; /* ids and subjects with references; ends with {0} */
};

/* One fake registry, and a client a test. */
struct world {
    pthread_mutex_t lock;
    struct mg_context *server;
    struct health *health;
    struct registry *registry;
    char url[100];
    int port;
    struct manner manner;
    struct seen seen[64];
    int seen_n, changes, handling;
    int asked_n; /* all requests, also when seen is full */
    char said[600];
};

#define SET(member, value)                                                                                             \
    do {                                                                                                               \
        pthread_mutex_lock(&w->lock);                                                                                  \
        w->manner.member = (value);                                                                                    \
        pthread_mutex_unlock(&w->lock);                                                                                \
    } while (0)

static void sleep_ms(int ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void reply(struct mg_connection *c, int status, const char *body) {
    mg_printf(
        c, "HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
        body);
}

static void see(struct world *w, struct mg_connection *c) {
    const struct mg_request_info *info = mg_get_request_info(c);
    struct seen one = {0};
    const char *type = mg_get_header(c, "Content-Type"), *authorization = mg_get_header(c, "Authorization");
    snprintf(one.method, sizeof one.method, "%s", info->request_method);
    snprintf(one.uri, sizeof one.uri, "%s", info->request_uri);
    snprintf(one.type, sizeof one.type, "%s", type ? type : "");
    snprintf(one.authorization, sizeof one.authorization, "%s", authorization ? authorization : "");
    for (int n = 0, more; (more = mg_read(c, one.body + n, sizeof one.body - 1 - (size_t)n)) > 0;) n += more;
    pthread_mutex_lock(&w->lock);
    if (w->seen_n < 64) w->seen[w->seen_n++] = one;
    w->asked_n++;
    w->handling++;
    pthread_mutex_unlock(&w->lock);
}

static bool reply_refers(const struct manner *how, struct mg_connection *c, const char *uri) {
    for (const struct refers *one = how->refers; one && one->at; one++) {
        if (strcmp(uri, one->at) != 0) continue;
        json_t *answer = json_pack(
            "{s:s, s:o}", "schema", one->schema, "references", json_loads(one->references, JSON_DECODE_ANY, NULL));
        char *text = json_dumps(answer, 0);
        reply(c, 200, text);
        free(text);
        json_decref(answer);
        return true;
    }
    return false;
}

/* /schemas/ids/1234 → t.S1234, which names t.R of another subject where there is no padding;
 * /subjects/s1234/versions/1 → t.R; /schemas/ids/1234/versions → 1234. */
static bool reply_many(const struct manner *how, struct mg_connection *c, const char *uri) {
    int id = 0, version = 0, n = 0;
    char schema[200], end[20] = "";
    if (sscanf(uri, "/schemas/ids/%d%19s", &id, end) >= 1 && id >= 1000 && !strcmp(end, "/versions")) {
        snprintf(schema, sizeof schema, "[{\"subject\":\"s\",\"version\":%d}]", id);
        reply(c, 200, schema);
        return true;
    }
    bool reference = sscanf(uri, "/subjects/s%d/versions/%d%n", &id, &version, &n) == 2 && !uri[n];
    if (id < 1000 || (*end && !reference)) return false;
    snprintf(schema, sizeof schema, reference ? "t.R" : "t.S%d", id);
    json_t *fields = reference || how->padding ? json_array() : json_pack("[{s:s, s:s}]", "name", "r", "type", "t.R");
    json_t *one = json_pack("{s:s, s:s, s:o}", "type", "record", "name", schema, "fields", fields);
    if (how->padding) json_object_set_new(one, "padding", json_loads(how->padding, JSON_DECODE_ANY, NULL));
    char *text = json_dumps(one, JSON_COMPACT);
    json_t *answer = json_pack("{s:s}", "schema", text);
    if (!reference && !how->padding)
        json_object_set_new(
            answer, "references",
            json_pack("[{s:s, s:o, s:i}]", "name", "t.R", "subject", json_sprintf("s%d", id), "version", 1));
    char *said = json_dumps(answer, 0);
    reply(c, 200, said);
    free(said), free(text);
    json_decref(one), json_decref(answer);
    return true;
}

static void reply_as_registry(const struct manner *how, struct mg_connection *c) {
    const struct mg_request_info *info = mg_get_request_info(c);
    char wrong[40];
    snprintf(wrong, sizeof wrong, "/schemas/ids/%d", how->wrong);
    if (reply_refers(how, c, info->request_uri)) return;
    if (how->many && reply_many(how, c, info->request_uri)) return;
    if (how->wrong && !strcmp(info->request_uri, wrong)) {
        sleep_ms(how->wrong_ms);
        reply(c, 500, "{\"error_code\":50001,\"message\":\"Error in the backend\"}");
    } else if (!strncmp(info->request_uri, "/config/", 8)) {
        reply(c, 200, "{\"compatibility\":\"FULL_TRANSITIVE\"}");
    } else if (!strncmp(info->request_uri, "/subjects/", 10) && strcmp(info->request_method, "GET") != 0) {
        reply(c, how->refusal ? how->status : 200, how->refusal ? how->refusal : "{\"id\":41}");
    } else if (!strcmp(info->request_uri, "/schemas/ids/7/versions")) {
        reply(c, 200, "[{\"subject\":\"s\",\"version\":3}]");
    } else if (!strcmp(info->request_uri, "/schemas/ids/7") && how->schema) {
        json_t *answer = json_pack("{s:s}", "schema", how->schema);
        char *text = json_dumps(answer, 0);
        reply(c, 200, text);
        free(text);
        json_decref(answer);
    } else {
        reply(c, 404, "{\"error_code\":40403,\"message\":\"Schema not found\"}");
    }
}

static bool released(struct world *w) {
    pthread_mutex_lock(&w->lock);
    bool is = w->manner.released;
    pthread_mutex_unlock(&w->lock);
    return is;
}

static int on_request(struct mg_connection *c, void *world) {
    struct world *w = world;
    see(w, c);
    pthread_mutex_lock(&w->lock);
    struct manner how = w->manner;
    if (how.failures > 0) w->manner.failures--;
    if (how.falters && w->seen_n % 2 == 0) how.failures = 1, how.failure_status = 503;
    pthread_mutex_unlock(&w->lock);
    for (int waited = 0; waited < how.delay_ms && !released(w); waited += 20) sleep_ms(20);
    if (how.failures) {
        reply(
            c, how.failure_status, how.failure_body ? how.failure_body : "{\"error_code\":1,\"message\":\"told to\"}");
    } else if (how.huge) {
        mg_printf(c, "HTTP/1.1 200 x\r\nContent-Length: 900000000\r\n\r\n");
        char block[4096] = {'x'};
        while (mg_write(c, block, sizeof block) > 0) {
        }
    } else if (how.answer) {
        reply(c, how.status, how.answer);
    } else {
        reply_as_registry(&how, c);
    }
    pthread_mutex_lock(&w->lock);
    w->handling--;
    pthread_mutex_unlock(&w->lock);
    return 1;
}

static void on_change(void *world) {
    struct world *w = world;
    pthread_mutex_lock(&w->lock);
    w->changes++;
    pthread_mutex_unlock(&w->lock);
}

static void server_start(struct world *w) {
    char port[40];
    snprintf(port, sizeof port, "127.0.0.1:%d", w->port);
    const char *options[] = {"listening_ports", port, "num_threads", "20", "enable_keep_alive", "yes",
                             "decode_url",      "no", NULL};
    struct mg_callbacks callbacks = {0};
    struct mg_server_port ports[1];
    w->server = mg_start(&callbacks, w, options);
    assert_non_null(w->server);
    assert_int_equal(mg_get_server_ports(w->server, 1, ports), 1);
    w->port = ports[0].port;
    mg_set_request_handler(w->server, "/", on_request, w);
}

static void client_start(struct world *w, struct registry_options o) {
    struct failure why;
    snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d", w->port);
    if (!o.url) o.url = w->url;
    if (!o.timeout_ms) o.timeout_ms = 2000;
    if (!o.unknown_id_ms) o.unknown_id_ms = 400;
    o.health = w->health;
    o.changed = on_change;
    o.context = w;
    if (registry_start(&w->registry, &o, &why) != OK) fail_msg("%s", why.text);
}

static struct world the_world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int world_open(void **state) {
    mg_init_library(0);
    server_start(&the_world);
    (void)state;
    return 0;
}

static int world_close(void **state) {
    mg_stop(the_world.server);
    mg_exit_library();
    (void)state;
    return 0;
}

static int test_open(void **state) {
    struct world *w = *state = &the_world;
    w->health = health_new();
    pthread_mutex_lock(&w->lock);
    w->manner = (struct manner){.schema = EVENT};
    w->seen_n = w->changes = w->asked_n = 0;
    pthread_mutex_unlock(&w->lock);
    return 0;
}

static int test_close(void **state) {
    struct world *w = *state;
    registry_stop(&w->registry);
    registry_stop(&w->registry);
    health_free(&w->health);
    SET(released, true);
    for (int handling = 1; handling; sleep_ms(5)) {
        pthread_mutex_lock(&w->lock);
        handling = w->handling;
        pthread_mutex_unlock(&w->lock);
    }
    return 0;
}

/* Asks until the verdict is not RETRY any more, or the time is over. */
static verdict wait_schema(struct world *w, int32_t id, int ms, struct failure *why) {
    struct schema *schema = NULL;
    verdict v = RETRY;
    for (int64_t end = now_ms() + ms; now_ms() < end; sleep_ms(5))
        if ((v = registry_schema(w->registry, id, NULL, &schema, why)) != RETRY) break;
    if (v == OK) assert_string_equal(schema_name(schema), "t.Event");
    if (v == OK) schema_free(&schema);
    return v;
}

static const char event[] = EVENT; /* registered under several subjects */

static verdict wait_id(struct world *w, const char *subject, const char *text, int ms, struct failure *why) {
    int32_t id = -1;
    verdict v = RETRY;
    for (int64_t end = now_ms() + ms; now_ms() < end; sleep_ms(5))
        if ((v = registry_id(w->registry, subject, text, &id, why)) != RETRY) break;
    if (v == OK) assert_int_equal(id, 41);
    return v;
}

static int counted(struct world *w, const int *counter) {
    pthread_mutex_lock(&w->lock);
    int n = *counter;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static int seen_n(struct world *w) {
    return counted(w, &w->seen_n);
}

static void tell(struct world *w, int failures, int status) {
    pthread_mutex_lock(&w->lock);
    w->manner.failures = failures;
    w->manner.failure_status = status;
    pthread_mutex_unlock(&w->lock);
}

static void assert_says(const char *text, const char *says) {
    if (!strstr(text, says)) fail_msg("\"%s\" does not say \"%s\"", text, says);
}

/* Whether the component "registry" has this state, with these words in its text. */
static bool health_is(struct world *w, const char *state, const char *says) {
    json_t *all = health_json(w->health), *one;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(all, "components"), i, one) {
        if (strcmp(json_string_value(json_object_get(one, "name")), "registry") != 0) continue;
        const char *text = json_string_value(json_object_get(one, "text"));
        found = !strcmp(json_string_value(json_object_get(one, "state")), state) && strstr(text, says);
        if (!found) snprintf(w->said, sizeof w->said, "%s: %s", json_string_value(json_object_get(one, "state")), text);
    }
    json_decref(all);
    return found;
}

static void assert_health(struct world *w, const char *state, const char *says) {
    for (int64_t end = now_ms() + 5000; !health_is(w, state, says); sleep_ms(5))
        if (now_ms() > end) fail_msg("health is \"%s\", not %s: %s", w->said, state, says);
}

static void test_fetches_once(void **state) {
    struct world *w = *state;
    struct failure why;
    struct schema *first, *again;
    client_start(w, (struct registry_options){0});
    assert_health(w, "ok", "not asked yet");
    assert_int_equal(registry_schema(w->registry, 7, NULL, &first, &why), RETRY);
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    assert_int_equal(registry_schema(w->registry, 7, NULL, &first, &why), OK);
    assert_int_equal(registry_schema(w->registry, 7, NULL, &again, &why), OK);
    assert_ptr_equal(first, again);
    schema_free(&first);
    schema_free(&again);
    assert_int_equal(seen_n(w), 1);
    assert_string_equal(w->seen[0].method, "GET");
    assert_string_equal(w->seen[0].uri, "/schemas/ids/7");
    while (counted(w, &w->changes) < 1) sleep_ms(5);
    assert_int_equal(counted(w, &w->changes), 1);
    assert_health(w, "ok", "answers");
}

static void test_registers(void **state) {
    struct world *w = *state;
    struct failure why;
    static const char text[] = EVENT "beyond its end";
    client_start(w, (struct registry_options){.user = "me", .password = "secret"});
    registry_publish(w->registry, "a b/c-t.Event", text, strlen(EVENT));
    registry_publish(w->registry, "a b/c-t.Event", text, strlen(EVENT));
    assert_int_equal(wait_id(w, "a b/c-t.Event", text, 10000, &why), OK);
    assert_int_equal(seen_n(w), 2);
    assert_string_equal(w->seen[0].method, "PUT");
    assert_string_equal(w->seen[0].uri, "/config/a%20b%2Fc-t.Event");
    assert_string_equal(w->seen[0].body, "{\"compatibility\":\"FULL_TRANSITIVE\"}");
    assert_string_equal(w->seen[1].method, "POST");
    assert_string_equal(w->seen[1].uri, "/subjects/a%20b%2Fc-t.Event/versions");
    assert_string_equal(w->seen[1].type, "application/vnd.schemaregistry.v1+json");
    assert_string_equal(w->seen[1].authorization, "Basic bWU6c2VjcmV0");
    json_t *body = json_loads(w->seen[1].body, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "schema")), EVENT);
    assert_string_equal(json_string_value(json_object_get(body, "schemaType")), "AVRO");
    json_decref(body);
    assert_int_equal(registry_id(w->registry, "another", text, &(int32_t){0}, &why), RETRY);
}

static void test_tries_again(void **state) {
    struct world *w = *state;
    static const int statuses[] = {408, 429, 500, 503, 302, 401, 404, 200};
    static const char *const says[] = {"408", "429", "500", "503", "302", "user and password", "URL right", "200"};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct failure why;
        int before = seen_n(w);
        tell(w, 1000, statuses[i]);
        SET(failure_body, i % 2 ? "<html>nonsense" : "[1]");
        int64_t failures = metric_read(METRIC_registry_failures), requests = metric_read(METRIC_registry_requests);
        client_start(w, (struct registry_options){.unknown_id_ms = 1});
        assert_int_equal(registry_schema(w->registry, 7, NULL, &(struct schema *){NULL}, &why), RETRY);
        assert_health(w, "waiting", says[i]);
        while (seen_n(w) < before + 2) sleep_ms(5);
        tell(w, 0, 0);
        assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
        assert_health(w, "ok", "answers");
        failures = metric_read(METRIC_registry_failures) - failures;
        assert_true(failures >= 2);
        assert_int_equal(metric_read(METRIC_registry_requests) - requests, failures + 1);
        registry_stop(&w->registry);
    }
}

static void test_waits_for_an_absent_registry(void **state) {
    struct world *w = *state;
    struct failure why;
    mg_stop(w->server);
    w->server = NULL;
    char url[100];
    snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%d", w->port);
    client_start(w, (struct registry_options){.url = url});
    registry_publish(w->registry, "s", event, strlen(EVENT));
    assert_int_equal(wait_schema(w, 7, 300, &why), RETRY);
    assert_null(strstr(why.text, "secret"));
    char shown[120];
    snprintf(shown, sizeof shown, "waiting for the schema registry at http://127.0.0.1:%d:", w->port);
    assert_health(w, "waiting", shown);
    server_start(w);
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    assert_int_equal(wait_id(w, "s", event, 10000, &why), OK);
    assert_health(w, "ok", "answers");
}

static void test_unknown_id(void **state) {
    struct world *w = *state;
    struct failure why;
    client_start(w, (struct registry_options){.unknown_id_ms = 500});
    int64_t start = now_ms();
    assert_int_equal(wait_schema(w, 8, 60000, &why), REJECT);
    assert_in_range(now_ms() - start, 500, 5000);
    assert_says(why.text, "does not know the schema id 8");
    assert_in_range(seen_n(w), 2, 9);
    assert_health(w, "ok", "answers");
    int before = seen_n(w);
    assert_int_equal(registry_schema(w->registry, 8, NULL, &(struct schema *){NULL}, &why), REJECT);
    assert_int_equal(seen_n(w), before);
}

/* For people to read: whatever it is, nothing waits for it. */
static void test_a_schemas_version(void **state) {
    struct world *w = *state;
    client_start(w, (struct registry_options){0});
    for (int64_t end = now_ms() + 5000; registry_version(w->registry, 7) != 3; sleep_ms(1)) assert_true(now_ms() < end);
    assert_int_equal(registry_version(w->registry, 8), 0);
    struct failure why;
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK); /* not mistaken for the schema itself */
    assert_int_equal(registry_version(w->registry, 8), 0);
    for (int64_t end = now_ms() + 5000; seen_n(w) < 3; sleep_ms(1)) assert_true(now_ms() < end); /* 8 as well */
    int before = seen_n(w);
    assert_int_equal(registry_version(w->registry, 7), 3);
    assert_int_equal(registry_version(w->registry, 8), 0); /* known to be in no subject: neither is asked for again */
    assert_int_equal(registry_version(w->registry, 9), 0);
    for (int64_t end = now_ms() + 5000; seen_n(w) == before; sleep_ms(1)) assert_true(now_ms() < end);
    assert_int_equal(seen_n(w), before + 1);
}

static void test_id_that_comes_late(void **state) {
    struct world *w = *state;
    struct failure why;
    client_start(w, (struct registry_options){.unknown_id_ms = 5000});
    SET(schema, NULL);
    assert_int_equal(wait_schema(w, 7, 300, &why), RETRY);
    SET(schema, EVENT);
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
}

/* One that was just started answers before it has read again what it knew. */
static void test_an_outage_begins_the_wait_anew(void **state) {
    struct world *w = *state;
    struct failure why;
    SET(schema, NULL);
    SET(falters, true);
    client_start(w, (struct registry_options){.unknown_id_ms = 1});
    for (int64_t end = now_ms() + 15000; seen_n(w) < 6;) {
        assert_true(now_ms() < end);
        assert_int_equal(registry_schema(w->registry, 7, NULL, &(struct schema *){NULL}, &why), RETRY);
        sleep_ms(5);
    }
    SET(schema, EVENT);
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
}

/* One id that fails for ever is that id's fault, however it fails; what others ask for is there meanwhile. */
static void test_an_id_that_fails_for_ever(void **state) {
    struct world *w = *state;
    static const int after_ms[] = {0, 1000}; /* longer than the timeout */
    for (size_t i = 0; i < 2; i++) {
        struct failure why;
        SET(wrong, 66);
        SET(wrong_ms, after_ms[i]);
        client_start(w, (struct registry_options){.unknown_id_ms = 1500, .timeout_ms = 300});
        int64_t start = now_ms();
        assert_int_equal(wait_schema(w, 66, 50, &why), RETRY);
        assert_int_equal(wait_schema(w, 7, 1400, &why), OK);
        assert_int_equal(wait_schema(w, 66, 60000, &why), REJECT);
        assert_in_range(now_ms() - start, 1200, 8000);
        assert_says(why.text, "answers others, and to schema id 66: ");
        assert_says(why.text, i ? "imed out" : "it answered 500: Error in the backend");
        assert_health(w, "ok", "answers");
        registry_stop(&w->registry);
    }
}

/* It answers all that it is asked, but only late, and one id too late: that may be any id's lot. */
static void test_a_slow_registry_is_waited_for(void **state) {
    struct world *w = *state;
    struct failure why;
    client_start(w, (struct registry_options){.unknown_id_ms = 100, .timeout_ms = 1000});
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    SET(delay_ms, 600);
    SET(wrong, 66);
    SET(wrong_ms, 1000);
    assert_int_equal(wait_schema(w, 66, 9000, &why), RETRY);
    assert_says(why.text, "imed out");
    SET(delay_ms, 0); /* now it is this id's fault */
    assert_int_equal(wait_schema(w, 66, 60000, &why), REJECT);
}

/* Every id fails, what was known before too: then it is the registry, and nothing is ever rejected for it. */
static void test_a_registry_that_fails_is_waited_for(void **state) {
    struct world *w = *state;
    struct failure why;
    client_start(w, (struct registry_options){.unknown_id_ms = 100});
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    tell(w, 100000, 500);
    assert_int_equal(wait_schema(w, 66, 2000, &why), RETRY);
    tell(w, 0, 0);
    SET(wrong, 67);
    SET(schema, NULL); /* it answers, and does not know what it knew */
    assert_int_equal(wait_schema(w, 67, 2000, &why), RETRY);
}

/* However many ids are doubted, one reader waits for all together as long as for one. */
static void test_patience_is_for_all_ids_together(void **state) {
    struct world *w = *state;
    struct failure why;
    struct schema *schema;
    struct patience patience = {.left_ms = 600};
    client_start(w, (struct registry_options){.unknown_id_ms = 600});
    int64_t start = now_ms();
    for (int id = 20; id < 30; id++) {
        verdict v;
        while ((v = registry_schema(w->registry, id, &patience, &schema, &why)) == RETRY) sleep_ms(5);
        assert_int_equal(v, REJECT);
        assert_says(why.text, "does not know the schema id 2");
    }
    assert_in_range(now_ms() - start, 500, 2500);
    /* Used up, it still waits for the first answer. */
    verdict v;
    while ((v = registry_schema(w->registry, 7, &patience, &schema, &why)) == RETRY) sleep_ms(5);
    assert_int_equal(v, OK);
    schema_free(&schema);
}

/* All at once; the caller's schema of the first. */
static struct schema *schemas_read(struct world *w, int32_t from, int n) {
    struct schema *first = NULL;
    struct failure why;
    for (int i = 0; i < n; i++) registry_want(w->registry, from + i);
    for (int i = 0; i < n; i++) {
        struct schema *schema = NULL;
        char name[40];
        verdict v;
        while ((v = registry_schema(w->registry, from + i, NULL, &schema, &why)) == RETRY) sleep_ms(1);
        if (v != OK) fail_msg("%s", why.text);
        snprintf(name, sizeof name, "t.S%d", from + i);
        assert_string_equal(schema_name(schema), name);
        if (!i)
            first = schema;
        else
            schema_free(&schema);
    }
    return first;
}

static int asked(struct world *w) {
    return counted(w, &w->asked_n);
}

/* What a stranger writes into a topic grows no service: a schema that nobody asked for in a while is let go, and asked
 * for again; one that is in use stays as it is. */
static void test_what_is_kept_has_a_bound(void **state) {
    struct world *w = *state;
    struct failure why;
    struct schema *again;
    SET(many, true);
    client_start(w, (struct registry_options){.timeout_ms = 20000});
    struct schema *first = schemas_read(w, 1000, 1);
    int before = asked(w);
    schema_free(&(struct schema *){schemas_read(w, 1000, 1)});
    assert_int_equal(asked(w), before); /* it is kept */
    for (int id = 1001; id < 2501; id += 100) {
        schema_free(&(struct schema *){schemas_read(w, id, 100)});
        schema_free(&(struct schema *){schemas_read(w, 1001, 1)}); /* in use all the time */
    }
    assert_string_equal(schema_name(first), "t.S1000");
    before = asked(w);
    assert_int_equal(registry_schema(w->registry, 1001, NULL, &again, &why), OK);
    schema_free(&again);
    assert_int_equal(registry_schema(w->registry, 1000, NULL, &again, &why), RETRY);
    again = schemas_read(w, 1000, 1);
    assert_ptr_not_equal(first, again);
    assert_in_range(asked(w) - before, 1, 4); /* its reference may be there still */
    schema_free(&first);
    schema_free(&again);
}

/* A few large ones count as many small ones do. */
static void test_what_is_kept_has_a_bound_in_bytes(void **state) {
    struct world *w = *state;
    struct failure why;
    enum { OBJECTS = 60000 };
    static char padding[3 * OBJECTS + 2];
    for (int i = 0; i < OBJECTS; i++) memcpy(padding + 3 * i, i ? ",{}" : "[{}", 4);
    strcat(padding, "]");
    SET(many, true);
    SET(padding, padding);
    client_start(w, (struct registry_options){.timeout_ms = 20000});
    schema_free(&(struct schema *){schemas_read(w, 1000, 8)});
    assert_int_equal(registry_schema(w->registry, 1000, NULL, &(struct schema *){NULL}, &why), RETRY);
    schema_free(&(struct schema *){schemas_read(w, 1000, 1)});
}

static void test_versions_that_are_kept_have_a_bound(void **state) {
    struct world *w = *state;
    SET(many, true);
    client_start(w, (struct registry_options){.timeout_ms = 20000});
    for (int id = 1000; id < 2500; id++)
        for (int64_t end = now_ms() + 20000; registry_version(w->registry, id) != id; sleep_ms(1))
            assert_true(now_ms() < end);
    assert_int_equal(registry_version(w->registry, 2499), 2499);
    assert_int_equal(registry_version(w->registry, 1000), 0);
    for (int64_t end = now_ms() + 20000; registry_version(w->registry, 1000) != 1000; sleep_ms(1))
        assert_true(now_ms() < end);
}

/* Nor does what nobody can answer: what waits is bounded, and who stands at the front is asked for all the same. */
static void test_what_is_waited_for_has_a_bound(void **state) {
    struct world *w = *state;
    struct failure why;
    SET(many, true);
    SET(delay_ms, 60000);
    client_start(w, (struct registry_options){.timeout_ms = 60000});
    for (int id = 2000; id < 4000; id++) registry_want(w->registry, id);
    assert_int_equal(registry_schema(w->registry, 1000, NULL, &(struct schema *){NULL}, &why), RETRY);
    SET(released, true);
    for (int64_t end = now_ms() + 60000;; sleep_ms(5)) {
        struct schema *schema;
        assert_true(now_ms() < end);
        if (registry_schema(w->registry, 1000, NULL, &schema, &why) != OK) continue;
        schema_free(&schema);
        break;
    }
    for (int before = -1; before != asked(w); sleep_ms(300)) before = asked(w);
    assert_in_range(asked(w), 3, 1000);
}

#define REFERS(subject) "{\"name\":\"x\",\"subject\":\"" subject "\",\"version\":1}"
#define NAMED(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"
#define HAS(name, type) "{\"name\":\"" name "\",\"type\":\"" type "\"}"

static void test_references(void **state) {
    struct world *w = *state;
    struct failure why;
    /* 7 → A and B, and both → C: each is read once, before those that name it. */
    static const struct refers diamond[] = {
        {"/schemas/ids/7", NAMED("t.Event", HAS("a", "t.A") "," HAS("b", "t.B")),
         "[" REFERS("a") "," REFERS("b%2F1") "]"},
        {"/subjects/a/versions/1", NAMED("t.A", HAS("c", "t.C")), "[" REFERS("c") "]"},
        {"/subjects/b%252F1/versions/1", NAMED("t.B", HAS("c", "t.C")), "[" REFERS("c") "]"},
        {"/subjects/c/versions/1", NAMED("t.C", HAS("n", "long")), "null"},
        {0}};
    SET(refers, diamond);
    /* Only an answer that did not come within timeout_ms is asked for again, and then also the witness: so one that
     * comes however late here is asked for once. */
    client_start(w, (struct registry_options){.timeout_ms = 60000});
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    assert_int_equal(seen_n(w), 4);
    registry_stop(&w->registry);
}

static void refuses_references(struct world *w, const struct refers *refers, const char *says) {
    struct failure why;
    SET(refers, refers);
    client_start(w, (struct registry_options){0});
    assert_int_equal(wait_schema(w, 7, 60000, &why), REJECT);
    assert_says(why.text, says);
    registry_stop(&w->registry);
}

/* To the subjects from "s1" to "s2", say. */
static void refers_to(char *out, int from, int to) {
    for (int i = from; i <= to; i++) out += sprintf(out, "%s" REFERS("s%d"), i == from ? "[" : ",", i);
    strcpy(out, "]");
}

static void test_references_have_bounds(void **state) {
    struct world *w = *state;
    static const struct refers circle[] = {
        {"/schemas/ids/7", NAMED("t.Event", ""), "[" REFERS("a") "]"},
        {"/subjects/a/versions/1", NAMED("t.A", ""), "[" REFERS("b") "]"},
        {"/subjects/b/versions/1", NAMED("t.B", ""), "[" REFERS("a") "]"},
        {0}};
    static const struct refers unknown[] = {
        {"/schemas/ids/7", NAMED("t.Event", HAS("a", "t.A")), "[" REFERS("a") "]"}, {0}};
    static const struct refers nameless[] = {{"/schemas/ids/7", NAMED("t.Event", ""), "[{\"subject\":\"a\"}]"}, {0}};
    static const struct refers twice[] = {
        {"/schemas/ids/7", NAMED("t.Event", ""), "[" REFERS("a") "," REFERS("b") "]"},
        {"/subjects/a/versions/1", NAMED("t.A", ""), "[]"},
        {"/subjects/b/versions/1", NAMED("t.A", ""), "[]"},
        {0}};
    static char at[80][40], schemas[80][80], next[80][80], many[80 * 60], half[80 * 60], other[80 * 60];
    static struct refers chain[81], crowd[81], halves[81];
    refers_to(many, 1, 80), refers_to(half, 1, 35), refers_to(other, 36, 70);
    for (int i = 0; i < 80; i++) {
        snprintf(at[i], sizeof at[i], i ? "/subjects/s%d/versions/1" : "/schemas/ids/7", i);
        snprintf(schemas[i], sizeof schemas[i], NAMED("t.S%d", ""), i);
        snprintf(next[i], sizeof next[i], "[" REFERS("s%d") "]", i + 1);
        chain[i] = (struct refers){at[i], schemas[i], next[i]};
        crowd[i] = (struct refers){at[i], schemas[i], i ? "[]" : many};
        halves[i] = (struct refers){at[i], schemas[i], i > 1 ? "[]" : i ? other : half};
    }
    static char padded[2][SCHEMA_BYTES_MAX + 100];
    static const int sizes[] = {140000, SCHEMA_BYTES_MAX};
    for (int i = 0; i < 2; i++)
        sprintf(padded[i], "{\"type\":\"record\",\"name\":\"t.P\",\"fields\":[],\"doc\":\"%0*d\"}", sizes[i], 0);
    const struct refers two_large[] = {
        {"/schemas/ids/7", NAMED("t.Event", ""), "[" REFERS("a") "," REFERS("b") "]"},
        {"/subjects/a/versions/1", padded[0], "[]"},
        {"/subjects/b/versions/1", padded[0], "[]"},
        {0}};
    const struct refers too_large[] = {
        {"/schemas/ids/7", NAMED("t.Event", ""), "[" REFERS("a") "]"},
        {"/subjects/a/versions/1", padded[1], "[]"},
        {0}};
    static char long_name[5000];
    sprintf(long_name, "[{\"name\":\"x\",\"subject\":\"%0*d\",\"version\":1}]", 2000, 0);
    const struct refers long_named[] = {
        {"/schemas/ids/7", NAMED("t.Event", ""), "[" REFERS("a") "]"},
        {"/subjects/a/versions/1", NAMED("t.A", ""), long_name},
        {0}};
    refuses_references(w, crowd, "more than 64 references");
    assert_int_equal(seen_n(w), 1); /* and asks for none of them */
    refuses_references(w, two_large, "more than the 262144 bytes");
    refuses_references(w, too_large, "at most 262144 are read");
    refuses_references(w, long_named, "names no subject and version");
    refuses_references(w, halves, "more than 64 references");
    refuses_references(w, chain, "nested deeper than 16");
    refuses_references(w, circle, "refers to itself");
    refuses_references(w, unknown, "does not know version 1 of \"a\"");
    refuses_references(w, nameless, "names no subject and version");
    refuses_references(w, twice, "\"t.A\" is defined twice");
}

static void test_unreadable_schemas(void **state) {
    struct world *w = *state;
    static const struct {
        const char *answer, *says;
    } bad[] = {
        {"{\"schema\":\"{}\"}", "schema id 7: could not read the schema"},
        {"{\"schema\":\"\\\"string\\\"\"}", "schema id 7"},
        {"{\"schemaType\":\"PROTOBUF\",\"schema\":\"message\"}", "no Avro schema"},
    };
    SET(status, 200);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct failure why;
        SET(answer, bad[i].answer);
        client_start(w, (struct registry_options){0});
        assert_int_equal(wait_schema(w, 7, 60000, &why), REJECT);
        assert_says(why.text, bad[i].says);
        registry_stop(&w->registry);
    }
}

static void test_refused(void **state) {
    struct world *w = *state;
    static const int statuses[] = {409, 422};
    for (size_t i = 0; i < 2; i++) {
        struct failure why;
        SET(refusal, "{\"error_code\":409,\"message\":\"reader's field cost is missing\"}");
        SET(status, statuses[i]);
        client_start(w, (struct registry_options){0});
        registry_publish(w->registry, "s-t.Event", event, strlen(EVENT));
        assert_int_equal(wait_id(w, "s-t.Event", event, 10000, &why), REJECT);
        assert_says(why.text, "refuses the schema of \"s-t.Event\"");
        assert_says(why.text, "field cost is missing");
        assert_health(w, "ok", "answers");
        int before = seen_n(w);
        sleep_ms(300);
        assert_int_equal(seen_n(w), before); /* asked again, but slowly */
        registry_stop(&w->registry);
    }
}

/* A registry that is being started may not know yet what it holds, and then cannot write it either. */
static void test_a_conflict_is_no_refusal(void **state) {
    struct world *w = *state;
    struct failure why;
    static const char exists[] = "{\"error_code\":409,\"message\":\"A rule named 'COMPATIBILITY' already exists.\"}";
    SET(failure_body, exists);
    SET(refusal, exists);
    SET(status, 409);
    tell(w, 2, 409);
    client_start(w, (struct registry_options){0});
    registry_publish(w->registry, "s-t.Event", event, strlen(EVENT));
    for (int i = 0; i < 1000 && seen_n(w) < 5; i++) sleep_ms(5);
    assert_int_equal(wait_id(w, "s-t.Event", event, 20, &why), RETRY);
    assert_says(why.text, "already exists");
    assert_string_equal(w->seen[4].uri, "/subjects/s-t.Event/versions");
    SET(refusal, NULL);
    assert_int_equal(wait_id(w, "s-t.Event", event, 8000, &why), OK);
}

static void test_huge_answer(void **state) {
    struct world *w = *state;
    struct failure why;
    SET(huge, true);
    client_start(w, (struct registry_options){0});
    assert_int_equal(wait_schema(w, 7, 400, &why), RETRY);
    assert_health(w, "waiting", "larger than");
}

/* A hanging request delays neither another nor the end. */
static void test_hanging_requests(void **state) {
    struct world *w = *state;
    struct failure why;
    client_start(w, (struct registry_options){.timeout_ms = 60000});
    SET(delay_ms, 8000);
    assert_int_equal(registry_schema(w->registry, 8, NULL, &(struct schema *){NULL}, &why), RETRY);
    for (int i = 0; i < 1000 && !seen_n(w); i++) sleep_ms(5);
    SET(delay_ms, 0);
    int64_t start = now_ms();
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    assert_in_range(now_ms() - start, 0, 3000);
    start = now_ms();
    registry_stop(&w->registry);
    assert_in_range(now_ms() - start, 0, 1000); /* 200 ms on a machine that has nothing else to do */
}

static void test_timeout(void **state) {
    struct world *w = *state;
    struct failure why;
    SET(delay_ms, 400);
    client_start(w, (struct registry_options){.timeout_ms = 50});
    assert_int_equal(wait_schema(w, 7, 300, &why), RETRY);
    assert_health(w, "waiting", "timed out");
}

static void test_no_proxy(void **state) {
    struct world *w = *state;
    struct failure why;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    client_start(w, (struct registry_options){0});
    assert_int_equal(wait_schema(w, 7, 60000, &why), OK);
    unsetenv("http_proxy");
}

static void *ask_often(void *world) {
    struct world *w = world;
    struct failure why;
    struct schema *schema;
    for (int i = 0; i < 300; i++) {
        int32_t id = 1 + i % 10;
        verdict v = registry_schema(w->registry, id, NULL, &schema, &why);
        if (v == OK && strcmp(schema_name(schema), "t.Event") != 0) return world;
        if (v == OK) schema_free(&schema);
        registry_publish(w->registry, i % 2 ? "x" : "y", event, strlen(EVENT));
        if (registry_id(w->registry, "x", event, &id, &why) == OK && id != 41) return world;
        sleep_ms(1);
    }
    return NULL;
}

static void test_many_threads(void **state) {
    struct world *w = *state;
    pthread_t threads[4];
    client_start(w, (struct registry_options){.unknown_id_ms = 50});
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, ask_often, w);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

static void test_wrong_url(void **state) {
    struct world *w = *state;
    struct failure why;
    struct registry_options o = {.url = "localhost:8081", .health = w->health};
    assert_int_equal(registry_start(&w->registry, &o, &why), FATAL);
    assert_says(why.text, "\"localhost:8081\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_open, test_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_fetches_once),
        TEST(test_registers),
        TEST(test_tries_again),
        TEST(test_waits_for_an_absent_registry),
        TEST(test_unknown_id),
        TEST(test_a_schemas_version),
        TEST(test_id_that_comes_late),
        TEST(test_an_outage_begins_the_wait_anew),
        TEST(test_an_id_that_fails_for_ever),
        TEST(test_a_registry_that_fails_is_waited_for),
        TEST(test_a_slow_registry_is_waited_for),
        TEST(test_patience_is_for_all_ids_together),
        TEST(test_what_is_kept_has_a_bound),
        TEST(test_what_is_kept_has_a_bound_in_bytes),
        TEST(test_versions_that_are_kept_have_a_bound),
        TEST(test_what_is_waited_for_has_a_bound),
        TEST(test_references),
        TEST(test_references_have_bounds),
        TEST(test_unreadable_schemas),
        TEST(test_refused),
        TEST(test_a_conflict_is_no_refusal),
        TEST(test_huge_answer),
        TEST(test_hanging_requests),
        TEST(test_timeout),
        TEST(test_no_proxy),
        TEST(test_many_threads),
        TEST(test_wrong_url),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
