/* import: what export wrote, into topics that hold nothing yet: the same partitions, order, keys, headers and times.
 * All of it is read and checked before anything is made. */
#include "cli.h"

#include "chassis/codec.h"
#include "chassis/ids.h"
#include "chassis/kafka.h"
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TOPIC_MS = 10000, DELIVER_MS = 60000 };

struct import {
    struct cli cli;
    const char *path;
    FILE *in;
    json_t *head, *schemas; /* schemas: {"7": {"text","subjects","id": the new one}} */
    int64_t line, records, delivered;
    struct scan *scan;
    rd_kafka_t *producer;
    struct failure failed; /* of a delivery */
};

__attribute__((format(printf, 3, 4))) static verdict
wrong(const struct import *i, struct failure *why, const char *format, ...) {
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fail(why, REJECT, "%s:%lld: %s", i->path, (long long)i->line, text);
}

/* --- The file */

/* Standard input can be read once only; it goes to a file first. */
static verdict input_open(struct import *i, struct failure *why) {
    char chunk[1 << 16];
    if (strcmp(i->path, "-") != 0) {
        i->in = fopen(i->path, "re");
        return i->in ? OK : fail(why, REJECT, "could not open \"%s\": %s", i->path, strerror(errno));
    }
    i->in = tmpfile();
    for (size_t n; i->in && (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;)
        if (fwrite(chunk, 1, n, i->in) != n) return fail(why, RETRY, "could not keep the input: %s", strerror(errno));
    return i->in ? OK : fail(why, RETRY, "could not keep the input: %s", strerror(errno));
}

/* Each line in turn; v stops it. */
static verdict lines_read(
    struct import *i, verdict (*each)(struct import *i, const json_t *line, struct failure *why), struct failure *why) {
    char *text = NULL;
    size_t size = 0;
    verdict v = OK;
    rewind(i->in);
    i->line = 0;
    for (ssize_t n; v == OK && (n = getline(&text, &size, i->in)) >= 0;) {
        i->line++;
        json_error_t error;
        json_t *line = json_loadb(text, (size_t)n, JSON_ALLOW_NUL, &error);
        v = line ? each(i, line, why) : wrong(i, why, "is no JSON: %s", error.text);
        json_decref(line);
    }
    free(text);
    return v;
}

/* --- Checking */

/* How many partitions the head gives the topic; 0: it does not name it. */
static size_t partitions_of(const struct import *i, const char *topic) {
    json_t *one;
    size_t k;
    json_array_foreach(json_object_get(i->head, "topics"), k, one) {
        const char *name = json_string_value(json_object_get(one, "topic"));
        if (name && topic && !strcmp(name, topic)) return json_array_size(json_object_get(one, "partitions"));
    }
    return 0;
}

static bool is_bytes(const json_t *json) {
    unsigned char *bytes;
    size_t n;
    bool is = json && base64_read(json, &bytes, &n);
    if (is) free(bytes);
    return is;
}

static verdict record_check(struct import *i, const json_t *record, struct failure *why) {
    const char *topic = json_string_value(json_object_get(record, "topic"));
    const json_t *partition = json_object_get(record, "partition");
    json_t *pair;
    size_t k;
    if (!json_is_integer(partition) || json_integer_value(partition) < 0 ||
        (size_t)json_integer_value(partition) >= partitions_of(i, topic))
        return wrong(i, why, "its topic and partition are not among those of the first line");
    if (!is_bytes(json_object_get(record, "key")) || !is_bytes(json_object_get(record, "value")))
        return wrong(i, why, "its key or value is no base64");
    json_array_foreach(json_object_get(record, "headers"), k, pair) if (
        !is_bytes(json_array_get(pair, 0)) ||
        !is_bytes(json_array_get(pair, 1))) return wrong(i, why, "a header is no base64");
    i->records++;
    return OK;
}

static verdict line_check(struct import *i, const json_t *line, struct failure *why) {
    json_t *schema = json_object_get(line, "schema"), *record = json_object_get(line, "record");
    const json_t *end = json_object_get(line, "end");
    char id[24];
    if (i->line == 1) {
        if (json_integer_value(json_object_get(line, "export")) != TRANSFER_VERSION)
            return wrong(i, why, "is not the first line of an export of version %d", TRANSFER_VERSION);
        i->head = json_deep_copy(line);
        return i->head ? OK : fail(why, RETRY, "out of memory");
    }
    if (i->delivered) return wrong(i, why, "comes after the end");
    if (record) return record_check(i, record, why);
    if (schema && json_is_string(json_object_get(schema, "text"))) {
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(schema, "id")));
        return json_object_set(i->schemas, id, schema) ? fail(why, RETRY, "out of memory") : OK;
    }
    if (!end) return wrong(i, why, "is neither a schema, a record, nor the end");
    i->delivered = 1; /* for now: the end was seen */
    if (json_integer_value(json_object_get(end, "records")) == i->records) return OK;
    return wrong(i, why, "the end counts other records than there are");
}

static verdict check(struct import *i, struct failure *why) {
    verdict v = lines_read(i, line_check, why);
    if (v == OK && !i->delivered) v = wrong(i, why, "the last line is missing: the export was cut");
    i->delivered = 0;
    return v;
}

/* --- Topics */

static verdict
topic_check(struct import *i, const json_t *topics, const char *topic, size_t partitions, struct failure *why) {
    json_t *one;
    size_t k, n, places_n = 0, was;
    (void)scan_places(i->scan, &was);
    json_array_foreach((json_t *)topics, k, one) {
        if (strcmp(json_string_value(one), topic) != 0) continue;
        verdict v = scan_add(i->scan, topic, why);
        if (v != OK) return v;
        const struct scan_place *places = scan_places(i->scan, &n);
        places_n = n - was;
        for (const struct scan_place *p = places + was; p < places + n; p++)
            if (p->end > 0)
                return fail(
                    why, REJECT,
                    "the topic \"%s\" holds records already; an import goes into topics that hold none, and never held any",
                    topic);
    }
    if (!places_n || places_n == partitions) return OK;
    return fail(why, REJECT, "the topic \"%s\" has %zu partitions, and had %zu", topic, places_n, partitions);
}

static verdict topics_check(struct import *i, struct failure *why) {
    json_t *topics = NULL, *one;
    size_t k;
    char scoped[CLI_NAME];
    verdict v = scan_topics(i->scan, &topics, why);
    json_array_foreach(json_object_get(i->head, "topics"), k, one) {
        const char *name = json_string_value(json_object_get(one, "topic"));
        if (v == OK && name)
            v = topic_check(
                i, topics, settings_scoped(&i->cli.settings, name, scoped, sizeof scoped),
                json_array_size(json_object_get(one, "partitions")), why);
    }
    json_decref(topics);
    return v;
}

/* A topic that was just made is known a moment later. */
static verdict
topic_make(struct import *i, const char *topic, int partitions, const struct property *config, struct failure *why) {
    int64_t until = steady_ms() + TOPIC_MS;
    verdict v;
    while ((v = kafka_ensure_topic(i->producer, &i->cli.settings, topic, partitions, config, TOPIC_MS, why)) == RETRY &&
           steady_ms() < until)
        rd_kafka_poll(i->producer, 50);
    return v;
}

static verdict topics_make(struct import *i, struct failure *why) {
    json_t *one, *value;
    size_t k;
    const char *name;
    char scoped[CLI_NAME];
    verdict v = OK;
    json_array_foreach(json_object_get(i->head, "topics"), k, one) {
        struct property config[8] = {{0}};
        size_t n = 0;
        json_object_foreach(json_object_get(one, "config"), name, value) if (n < 7 && json_is_string(value))
            config[n++] = (struct property){name, json_string_value(value)};
        settings_scoped(&i->cli.settings, json_string_value(json_object_get(one, "topic")), scoped, sizeof scoped);
        if (v == OK) v = topic_make(i, scoped, (int)json_array_size(json_object_get(one, "partitions")), config, why);
    }
    return v;
}

/* --- Schemas */

static verdict subject_register(struct import *i, const char *subject, json_t *schema, struct failure *why) {
    char scoped[2 * CLI_NAME];
    struct buffer path = BUFFER(8192), config = BUFFER(8192);
    json_t *answer = NULL, *body = NULL;
    settings_scoped(&i->cli.settings, subject, scoped, sizeof scoped);
    cli_path(&config, "/config/", scoped, "");
    cli_path(&path, "/subjects/", scoped, "/versions");
    body = json_pack("{s:s}", "compatibility", "FULL_TRANSITIVE");
    verdict v = cli_registry(&i->cli.settings, "PUT", config.data, body, &answer, why);
    json_decref(answer);
    json_decref(body);
    answer = NULL;
    body = json_pack("{s:s, s:O}", "schemaType", "AVRO", "schema", json_object_get(schema, "text"));
    if (v == OK) v = cli_registry(&i->cli.settings, "POST", path.data, body, &answer, why);
    if (v == OK) json_object_set(schema, "new", json_object_get(answer, "id"));
    json_decref(answer);
    json_decref(body);
    buffer_free(&path);
    buffer_free(&config);
    return v;
}

/* In the order of their versions, whichever comes first in the file. */
static verdict schemas_register(struct import *i, struct failure *why) {
    json_t *schema, *one;
    const char *id;
    size_t k;
    verdict v = OK;
    bool more = true;
    for (json_int_t version = 1; v == OK && more; version++) {
        more = false;
        json_object_foreach(i->schemas, id, schema) json_array_foreach(json_object_get(schema, "subjects"), k, one) {
            json_int_t is = json_integer_value(json_object_get(one, "version"));
            const char *subject = json_string_value(json_object_get(one, "subject"));
            more = more || is > version;
            if (v == OK && is == version && subject) v = subject_register(i, subject, schema, why);
        }
    }
    return v;
}

/* --- Records */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk;
    struct import *i = opaque;
    if (!m->err)
        i->delivered++;
    else
        (void)!fail(&i->failed, RETRY, "Kafka did not take a record: %s", rd_kafka_err2str(m->err));
}

static void prepare(rd_kafka_conf_t *conf, void *opaque) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, opaque);
}

/* The registry may have given the schema another number. */
static void frame_rewrite(const struct import *i, unsigned char *bytes, size_t n) {
    char id[24];
    if (n < FRAME_SIZE || bytes[0]) return;
    uint32_t was = (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | bytes[4];
    snprintf(id, sizeof id, "%u", was);
    const json_t *now = json_object_get(json_object_get(i->schemas, id), "new");
    if (!now) return;
    for (int k = 0; k < 4; k++) bytes[1 + k] = (unsigned char)(json_integer_value(now) >> (24 - 8 * k));
}

static rd_kafka_headers_t *headers_read(const json_t *pairs) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(json_array_size(pairs) + 1);
    json_t *pair;
    size_t k;
    json_array_foreach((json_t *)pairs, k, pair) {
        unsigned char *name, *value;
        size_t name_n, n;
        if (!base64_read(json_array_get(pair, 0), &name, &name_n)) continue;
        if (base64_read(json_array_get(pair, 1), &value, &n)) {
            rd_kafka_header_add(headers, name ? (char *)name : "", (ssize_t)name_n, value, (ssize_t)n);
            free(value);
        }
        free(name);
    }
    return headers;
}

static rd_kafka_resp_err_t
record_send(struct import *i, const json_t *record, const void *key, size_t key_n, const void *value, size_t n) {
    char topic[CLI_NAME];
    settings_scoped(&i->cli.settings, json_string_value(json_object_get(record, "topic")), topic, sizeof topic);
    rd_kafka_headers_t *headers = headers_read(json_object_get(record, "headers"));
    rd_kafka_resp_err_t error;
    while ((error = rd_kafka_producev(
                i->producer, RD_KAFKA_V_TOPIC(topic),
                RD_KAFKA_V_PARTITION((int32_t)json_integer_value(json_object_get(record, "partition"))),
                RD_KAFKA_V_KEY(key, key_n), RD_KAFKA_V_VALUE((void *)value, n), RD_KAFKA_V_HEADERS(headers),
                RD_KAFKA_V_TIMESTAMP(json_integer_value(json_object_get(record, "timestamp"))),
                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(i->producer, 100);
    if (error) rd_kafka_headers_destroy(headers);
    rd_kafka_poll(i->producer, 0);
    return error;
}

static verdict record_import(struct import *i, const json_t *line, struct failure *why) {
    const json_t *record = json_object_get(line, "record");
    unsigned char *key = NULL, *value = NULL;
    size_t key_n, n;
    if (!record) return OK;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR__BAD_MSG;
    if (base64_read(json_object_get(record, "key"), &key, &key_n) &&
        base64_read(json_object_get(record, "value"), &value, &n)) {
        if (value) frame_rewrite(i, value, n);
        error = record_send(i, record, key, key_n, value, n);
    }
    free(key);
    free(value);
    if (*i->failed.text) return fail(why, RETRY, "%s", i->failed.text);
    return error ? fail(why, RETRY, "%s:%lld: %s", i->path, (long long)i->line, rd_kafka_err2str(error)) : OK;
}

static verdict records_import(struct import *i, struct failure *why) {
    verdict v = lines_read(i, record_import, why);
    rd_kafka_flush(i->producer, DELIVER_MS);
    if (v == OK && i->delivered != i->records)
        v = fail(
            why, RETRY, "Kafka confirmed %lld of %lld records. %s", (long long)i->delivered, (long long)i->records,
            i->failed.text);
    return v;
}

/* --- */

static verdict import(struct import *i, bool *begun, struct failure *why) {
    static const struct property properties[] = {/* What was compressed may be larger than its topic takes as it is. */
                                                 {"enable.idempotence", "true"},
                                                 {"acks", "all"},
                                                 {"linger.ms", "5"},
                                                 {"compression.codec", "zstd"},
                                                 {"message.max.bytes", "9000000"},
                                                 {0}};
    if (i->cli.words_n != 1) return fail(why, REJECT, "import wants one file, or - for standard input");
    i->path = i->cli.words[0];
    verdict v = input_open(i, why);
    if (v == OK) v = check(i, why);
    if (v == OK) v = scan_open(&i->scan, &i->cli.settings, NULL, why);
    if (v == OK) v = topics_check(i, why);
    if (v == OK) v = kafka_open(&i->producer, RD_KAFKA_PRODUCER, &i->cli.settings, prepare, i, properties, why);
    if (v != OK) return v;
    *begun = true;
    v = schemas_register(i, why);
    if (v == OK) v = topics_make(i, why);
    return v == OK ? records_import(i, why) : v;
}

int import_run(int n, char *arguments[]) {
    struct import i = {.schemas = json_object()};
    struct failure why;
    bool begun = false;
    verdict v = cli_open(&i.cli, n, arguments, (const struct cli_option[]){{0}}, &why);
    if (v == OK) v = import(&i, &begun, &why);
    if (v == OK) fprintf(stderr, "%lld records imported\n", (long long)i.delivered);
    if (i.producer) rd_kafka_destroy(i.producer);
    if (i.in) fclose(i.in);
    json_decref(i.head);
    json_decref(i.schemas);
    scan_close(&i.scan);
    cli_close(&i.cli);
    if (v == OK) return CLI_YES;
    fprintf(
        stderr, "%s%s\n", why.text,
        begun ? "\nThe import is not whole: empty the topics, and import again." : "\nNothing was imported.");
    return begun || v != REJECT ? CLI_UNKNOWN : CLI_NO;
}
