/* Plain C: librdkafka, avro-c's generic values by the writer's schema, SQLite, SHA-256. One thread besides
 * librdkafka's. */
#include <avro.h>
#include <curl/curl.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 1000, PARTITIONS = 256 };
enum field { EVENT, RETURN, OCCURRED, ORDER, SHIPMENT, MODEL, SERIAL, LOCATION, COST, REASON, CHANNEL, FIELDS };
static const char *const names[FIELDS] = {"event_id",    "return_id",   "occurred_at",   "order_id",
                                          "shipment_id", "model",       "serial_number", "location",
                                          "cost",        "reason_code", "channel"};

static struct {
    int id; /* 0: none yet. The bench writes by one schema */
    char type[256];
    avro_schema_t schema;
    avro_value_t value;
    size_t at[FIELDS];
} writer;

static const char *topic;
static sqlite3 *db;
static sqlite3_stmt *insert, *move;
static EVP_MD *sha;
static EVP_MD_CTX *hashing;
static long id;
static unsigned char head[32];

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(int rc) {
    if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) die("sqlite", sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(const char *text) {
    sqlite3_stmt *s;
    check(sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL));
    return s;
}

static void step(sqlite3_stmt *s) {
    check(sqlite3_step(s));
    sqlite3_reset(s);
}

static void open_db(void) {
    char text[4096];
    FILE *f = fopen(getenv("TABLES"), "r");
    if (!f) die("TABLES", "cannot be read");
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    check(sqlite3_open(getenv("DB"), &db));
    check(sqlite3_exec(db, text, NULL, NULL, NULL));
    check(sqlite3_exec(db, "PRAGMA cache_size = -16384", NULL, NULL, NULL)); /* as fast here, and less memory */
    insert = prepare("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    move = prepare("INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next");
    sqlite3_stmt *s = prepare("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1");
    if (sqlite3_step(s) == SQLITE_ROW) {
        id = (long)sqlite3_column_int64(s, 0);
        memcpy(head, sqlite3_column_blob(s, 1), sizeof head);
    }
    sqlite3_finalize(s);
}

static size_t body_take(char *p, size_t size, size_t n, void *out) {
    fwrite(p, size, n, out);
    return size * n;
}

static void schema_fetch(int number) {
    char url[512], *body = NULL;
    size_t size;
    FILE *out = open_memstream(&body, &size);
    CURL *c = curl_easy_init();
    snprintf(url, sizeof url, "%s/schemas/ids/%d", getenv("REGISTRY"), number);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    CURLcode rc = curl_easy_perform(c);
    fclose(out);
    if (rc) die(url, curl_easy_strerror(rc));
    json_t *j = json_loadb(body, size, 0, NULL);
    if (avro_schema_from_json(json_string_value(json_object_get(j, "schema")), 0, &writer.schema, NULL))
        die("avro", avro_strerror());
    avro_generic_value_new(avro_generic_class_from_schema(writer.schema), &writer.value);
    snprintf(
        writer.type, sizeof writer.type, "%s.%s", avro_schema_namespace(writer.schema),
        avro_schema_name(writer.schema));
    for (int i = 0; i < FIELDS; i++) writer.at[i] = (size_t)avro_schema_record_field_get_index(writer.schema, names[i]);
    writer.id = number;
    json_decref(j);
    curl_easy_cleanup(c);
    free(body);
}

static const char *text_of(enum field f) {
    avro_value_t v;
    const char *s = "";
    size_t n;
    int symbol;
    avro_value_get_by_index(&writer.value, writer.at[f], &v, NULL);
    if (avro_value_get_type(&v) == AVRO_STRING) {
        avro_value_get_string(&v, &s, &n);
    } else {
        avro_value_get_enum(&v, &symbol);
        s = avro_schema_enum_get(avro_value_get_schema(&v), symbol);
    }
    return s;
}

static long long cents_of(const char **currency) {
    avro_value_t cost, v;
    const void *bytes;
    size_t n;
    avro_value_get_by_index(&writer.value, writer.at[COST], &cost, NULL);
    avro_value_get_by_index(&cost, 1, &v, NULL);
    avro_value_get_string(&v, currency, &n);
    avro_value_get_by_index(&cost, 0, &v, NULL);
    avro_value_get_bytes(&v, &bytes, &n);
    const unsigned char *b = bytes;
    unsigned long long cents = n && b[0] > 127 ? ~0ull : 0;
    for (size_t i = 0; i < n; i++) cents = cents << 8 | b[i];
    return (long long)cents;
}

static void append(const rd_kafka_message_t *m) {
    const unsigned char *p = m->payload;
    char text[1024], row[2048];
    const char *currency, *returned, *event;
    unsigned char hash[32];
    int64_t at;
    avro_value_t v;
    if (m->len < 6 || p[0]) die("record", "not in the Confluent format");
    int number = p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];
    if (writer.id != number) schema_fetch(number);
    avro_reader_t in = avro_reader_memory((const char *)p + 5, (int64_t)m->len - 5);
    if (avro_value_read(in, &writer.value)) die("avro", avro_strerror());
    avro_reader_free(in);
    avro_value_get_by_index(&writer.value, writer.at[OCCURRED], &v, NULL);
    avro_value_get_long(&v, &at);
    long long cents = cents_of(&currency), size = cents < 0 ? -cents : cents;
    returned = text_of(RETURN), event = text_of(EVENT);
    int text_n = snprintf(
        text, sizeof text, "%s %s %s %s %s %s%lld.%02lld %s %s %s", text_of(ORDER), text_of(SHIPMENT), text_of(MODEL),
        text_of(SERIAL), text_of(LOCATION), cents < 0 ? "-" : "", size / 100, size % 100, currency, text_of(REASON),
        text_of(CHANNEL));
    int row_n = snprintf(
        row, sizeof row, "%ld\n%s\n%s\n%s\n%s\n%d\n%lld\n%lld\n%s", ++id, returned, event, writer.type, topic,
        (int)m->partition, (long long)m->offset, (long long)at, text);
    EVP_DigestInit_ex(hashing, sha, NULL);
    EVP_DigestUpdate(hashing, head, sizeof head);
    EVP_DigestUpdate(hashing, row, (size_t)row_n);
    EVP_DigestFinal_ex(hashing, hash, NULL);
    memcpy(head, hash, sizeof head);
    sqlite3_bind_int64(insert, 1, id);
    sqlite3_bind_text(insert, 2, returned, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 3, event, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 4, writer.type, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 5, topic, -1, SQLITE_STATIC);
    sqlite3_bind_int(insert, 6, m->partition);
    sqlite3_bind_int64(insert, 7, m->offset);
    sqlite3_bind_int64(insert, 8, at);
    sqlite3_bind_text(insert, 9, text, text_n, SQLITE_STATIC);
    sqlite3_bind_blob(insert, 10, head, sizeof head, SQLITE_STATIC);
    step(insert);
}

static void store(rd_kafka_message_t **m, ssize_t n) {
    int64_t next[PARTITIONS] = {0};
    check(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    for (ssize_t i = 0; i < n; i++) {
        if (m[i]->err) die("consume", rd_kafka_message_errstr(m[i]));
        append(m[i]);
        next[m[i]->partition % PARTITIONS] = m[i]->offset + 1;
    }
    for (int p = 0; p < PARTITIONS; p++) {
        if (!next[p]) continue;
        sqlite3_bind_text(move, 1, topic, -1, SQLITE_STATIC);
        sqlite3_bind_int(move, 2, p);
        sqlite3_bind_int64(move, 3, next[p]);
        step(move);
    }
    check(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
}

static void rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *parts, void *none) {
    (void)none;
    for (int i = 0; i < parts->cnt; i++) {
        sqlite3_stmt *s = prepare("SELECT next FROM offsets WHERE topic = ? AND partition = ?");
        sqlite3_bind_text(s, 1, topic, -1, SQLITE_STATIC);
        sqlite3_bind_int(s, 2, parts->elems[i].partition);
        parts->elems[i].offset = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
        sqlite3_finalize(s);
    }
    rd_kafka_assign(rk, err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? parts : NULL);
}

static rd_kafka_t *consumer(void) {
    char err[256];
    const char *set[][2] = {
        {"bootstrap.servers", getenv("BROKERS")}, {"group.id", getenv("GROUP")}, {"enable.auto.commit", "false"},
        {"auto.offset.reset", "earliest"},        {"fetch.wait.max.ms", "10"},   {"queued.min.messages", "10000"},
        {"queued.max.messages.kbytes", "4096"}};
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        if (rd_kafka_conf_set(c, set[i][0], set[i][1], err, sizeof err)) die(set[i][0], err);
    rd_kafka_conf_set(c, "fetch.queue.backoff.ms", "5", err, sizeof err); /* librdkafka 2.2 and later have it */
    rd_kafka_conf_set_rebalance_cb(c, rebalance);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, c, err, sizeof err);
    if (!rk) die("librdkafka", err);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return rk;
}

int main(void) {
    static rd_kafka_message_t *m[BATCH];
    topic = getenv("TOPIC");
    sha = EVP_MD_fetch(NULL, "SHA256", NULL);
    hashing = EVP_MD_CTX_new();
    open_db();
    rd_kafka_t *rk = consumer();
    rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(rk);
    for (;;) {
        ssize_t n = rd_kafka_consume_batch_queue(q, 100, m, 1),
                more = n > 0 ? rd_kafka_consume_batch_queue(q, 0, m + n, BATCH - 1) : 0;
        if (more > 0) n += more;
        if (n <= 0) continue;
        if (n == BATCH &&
            rd_kafka_queue_length(q) < 5000) { /* before 2.2 a full queue lets the broker's thread sleep for a second */
            int64_t low, high;
            rd_kafka_query_watermark_offsets(rk, topic, m[0]->partition, &low, &high, 1000);
        }
        store(m, n);
        for (ssize_t i = 0; i < n; i++) rd_kafka_message_destroy(m[i]);
    }
}
