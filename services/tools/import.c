/* import: what export wrote, into topics that hold nothing yet: the same partitions, order, keys, headers and times.
 * All of it is read and checked before anything is made. */
#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/terminal.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/client.h"
#include "chassis/outgoing/delivery.h"
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { TOPIC_MS = 10000, DELIVER_MS = 60000, RECORD_OVERHEAD = 100, BATCH_BYTES = 1000000 };

struct import {
    struct cli cli;
    const char *path;
    FILE *in;
    json_t *topics;  /* {"sales.events": {"partitions","config","largest": bytes of its largest record,
                        "limit": how large a batch may be, where a record is larger}} */
    json_t *schemas; /* {"7": {"type","text","references","subjects","new": its id here}} */
    json_t *placed; /* {"1/subject": {"subject","version","schema","here": its version here}}: as they are registered */
    int64_t line, records, delivered, batch_bytes;
    bool ended, large; /* ended: its last line was read. large: a topic has a limit */
    rd_kafka_t *producer;
    struct failure failed; /* of a delivery */
};

/* Of the line at hand. */
#define wrong(i, why, format, ...) fail(why, REJECT, "%s:%lld: " format, (i)->path, (long long)(i)->line, ##__VA_ARGS__)

/* --- The file */

/* Standard input can be read once only. It goes to a file first. */
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

/* Each line in turn, until one is not OK. */
static verdict lines_read(
    struct import *i, verdict (*each)(struct import *i, const json_t *line, struct failure *why), struct failure *why) {
    text_auto text = NULL;
    size_t size = 0;
    verdict v = OK;
    rewind(i->in);
    i->line = 0;
    for (ssize_t n; v == OK && (n = getline(&text, &size, i->in)) >= 0;) {
        json_error_t error;
        json_auto_t *line = json_loadb(text, (size_t)n, JSON_ALLOW_NUL, &error);
        i->line++;
        v = line ? each(i, line, why) : wrong(i, why, "is no JSON: %s", error.text);
    }
    return v;
}

/* --- Checking */

static bool is_bytes(const json_t *json) {
    bytes_auto bytes;
    return base64_read(json, &bytes);
}

/* Of what a batch with this record alone holds, before it is compressed. */
static size_t record_size(const json_t *record) {
    size_t n = RECORD_OVERHEAD + json_string_length(json_object_get(record, "key")) / 4 * 3 +
               json_string_length(json_object_get(record, "value")) / 4 * 3;
    json_each(k, pair, json_object_get(record, "headers"))
        n += (json_string_length(json_array_get(pair, 0)) + json_string_length(json_array_get(pair, 1))) / 4 * 3 + 10;
    return n;
}

static verdict record_check(struct import *i, const json_t *record, struct failure *why) {
    json_t *topic = json_object_get(i->topics, json_get_text(record, "topic"));
    const json_t *partition = json_object_get(record, "partition");
    json_int_t size = (json_int_t)record_size(record);
    if (!json_is_integer(partition) || json_integer_value(partition) < 0 ||
        (size_t)json_integer_value(partition) >= json_array_size(json_object_get(topic, "partitions")))
        return wrong(i, why, "its topic and partition are not among those of the first line");
    if (!is_bytes(json_object_get(record, "key")) || !is_bytes(json_object_get(record, "value")))
        return wrong(i, why, "its key or value is no base64");
    json_each(k, pair, json_object_get(record, "headers"))
        if (!is_bytes(json_array_get(pair, 0)) || !is_bytes(json_array_get(pair, 1)))
            return wrong(i, why, "a header is no base64");
    i->records++;
    if (size > json_get_int(topic, "largest")) json_object_set_new(topic, "largest", json_integer(size));
    return OK;
}

static verdict head_read(struct import *i, const json_t *line, struct failure *why) {
    json_int_t version = json_get_int(line, "export");
    if (version < 1 || version > TRANSFER_VERSION)
        return wrong(i, why, "is not the first line of an export of version 1 to %d", TRANSFER_VERSION);
    json_each(k, topic, json_object_get(line, "topics")) {
        const char *name = json_string_value(json_object_get(topic, "topic"));
        if (name && json_object_set(i->topics, name, topic)) return fail(why, RETRY, "out of memory");
    }
    return OK;
}

static verdict line_check(struct import *i, const json_t *line, struct failure *why) {
    json_t *schema = json_object_get(line, "schema"), *record = json_object_get(line, "record");
    const json_t *end = json_object_get(line, "end");
    char id[24];
    if (i->line == 1) return head_read(i, line, why);
    if (i->ended) return wrong(i, why, "comes after the end");
    if (record) return record_check(i, record, why);
    if (schema && json_is_string(json_object_get(schema, "text")))
        return json_object_set(i->schemas, log_number(id, json_get_int(schema, "id")), schema)
                   ? fail(why, RETRY, "out of memory")
                   : OK;
    if (!end) return wrong(i, why, "is neither a schema, a record, nor the end");
    i->ended = true;
    if (json_get_int(end, "records") == i->records) return OK;
    return wrong(i, why, "the end counts other records than there are");
}

/* --- In which order the schemas are registered */

enum { PLACE = 2 * CLI_NAME };
static const char *place_of(const json_t *one, char out[PLACE]) {
    snprintf(out, PLACE, "%lld/%s", json_get_int(one, "version"), json_get_text(one, "subject"));
    return out;
}

/* What it refers to is placed, and so are the versions before it in its subject. */
static bool is_ready(const struct import *i, const json_t *left, const json_t *entry) {
    char place[PLACE];
    json_each(k, one, json_object_get(json_object_get(entry, "schema"), "references"))
        if (!json_object_get(i->placed, place_of(one, place))) return false;
    json_each(k, one, left)
        if (json_equal(json_object_get(one, "subject"), json_object_get(entry, "subject")) &&
            json_get_int(one, "version") < json_get_int(entry, "version"))
            return false;
    return true;
}

static json_t *entries(const struct import *i) {
    json_t *all = json_array();
    json_members(schema, i->schemas) {
        json_each(k, one, json_object_get(schema.value, "subjects"))
            if (json_is_string(json_object_get(one, "subject")))
                json_array_append_new(
                    all, json_pack(
                             "{s:O, s:O, s:O, s:O*}", "subject", json_object_get(one, "subject"), "version",
                             json_object_get(one, "version"), "schema", schema.value, "compatibility",
                             json_object_get(one, "compatibility")));
    }
    return all;
}

static verdict order_make(struct import *i, struct failure *why) {
    json_auto_t *left = entries(i);
    char place[PLACE];
    for (size_t k = 0; k < json_array_size(left);) {
        json_t *one = json_array_get(left, k);
        if (!is_ready(i, left, one)) {
            k++;
            continue;
        }
        json_object_set(i->placed, place_of(one, place), one);
        json_array_remove(left, k);
        k = 0;
    }
    return !json_array_size(left)
               ? OK
               : fail(
                     why, REJECT, "%s: the schema of \"%.200s\" refers to one that is not in the file", i->path,
                     json_get_text(json_array_get(left, 0), "subject"));
}

/* --- Topics */

static verdict empty_check(struct import *i, const char *topic, size_t partitions, struct failure *why) {
    size_t n, was;
    (void)reader_places(i->cli.reader, &was);
    verdict v = reader_add(i->cli.reader, topic, why);
    if (v != OK) return v;
    const struct place *places = reader_places(i->cli.reader, &n);
    for (size_t k = was; k < n; k++)
        if (places[k].end > 0)
            return fail(
                why, REJECT,
                "the topic \"%s\" holds records already; an import goes into topics that hold none, and never held any",
                topic);
    return n - was == partitions
               ? OK
               : fail(why, REJECT, "the topic \"%s\" has %zu partitions, and had %zu", topic, n - was, partitions);
}

/* How large a batch may be in the topic as it is, or will be made. 0: Kafka does not say. */
static int64_t limit_of(struct import *i, const char *scoped, bool there, const json_t *topic) {
    static const char *const names[] = {"max.message.bytes", NULL};
    admin_auto a = admin_of(reader_client(i->cli.reader), CONFIG_MS);
    rd_kafka_resp_err_t error;
    json_auto_t *has = there ? admin_config(&a, RD_KAFKA_RESOURCE_TOPIC, scoped, names, false, &error)
                             : json_incref(json_object_get(topic, "config"));
    if (!there && !json_is_string(json_object_get(has, *names))) return admin_broker_number(&a, "message.max.bytes");
    return atoll(json_get_text(has, *names));
}

static verdict
topic_check(struct import *i, const json_t *names, const char *name, json_t *topic, struct failure *why) {
    char scoped[CLI_NAME];
    bool there = false;
    settings_scoped(&i->cli.settings, name, scoped, sizeof scoped);
    json_each(k, one, names) there |= !strcmp(json_string_value(one), scoped);
    verdict v = there ? empty_check(i, scoped, json_array_size(json_object_get(topic, "partitions")), why) : OK;
    if (v != OK) return v;
    int64_t limit = limit_of(i, scoped, there, topic);
    if (limit && limit < i->batch_bytes) i->batch_bytes = limit;
    if (limit && json_get_int(topic, "largest") > limit) {
        json_object_set_new(topic, "limit", json_integer(limit));
        i->large = true;
    }
    return OK;
}

static void part_add(struct buffer *out, const json_t *base64) {
    bytes_auto bytes;
    if (base64_read(base64, &bytes) && bytes.at) buffer_bytes(out, (const char *)bytes.at, bytes.n);
}

/* As the producer compresses it, by the same library at the same level. */
static verdict record_fits(struct import *i, const json_t *line, struct failure *why) {
    const json_t *record = json_object_get(line, "record");
    const char *topic = json_get_text(record, "topic");
    json_int_t limit = json_get_int(json_object_get(i->topics, topic), "limit");
    size_t size = record_size(record);
    if (!limit || (json_int_t)size <= limit) return OK;
    buffer_auto parts = BUFFER(2 * size);
    part_add(&parts, json_object_get(record, "key"));
    part_add(&parts, json_object_get(record, "value"));
    json_each(k, pair, json_object_get(record, "headers"))
        json_each(j, part, pair) part_add(&parts, part);
    uLongf n = compressBound(parts.length);
    Bytef *small = parts.failed ? NULL : malloc(n);
    bool known = small && compress(small, &n, (const Bytef *)parts.data, parts.length) == Z_OK;
    free(small);
    if (!known) return fail(why, RETRY, "out of memory");
    if (n + RECORD_OVERHEAD < size) size = n + RECORD_OVERHEAD;
    if ((json_int_t)size <= limit) return OK;
    return wrong(
        i, why,
        "this record needs %zu bytes, and \"%s\" takes %lld here. Raise the topic's max.message.bytes, or the broker's message.max.bytes",
        size, topic, (long long)limit);
}

/* Before anything is made: the topics are empty, and each record can be taken. */
static verdict topics_check(struct import *i, struct failure *why) {
    json_auto_t *names = NULL;
    verdict v = reader_topics(i->cli.reader, &names, why);
    i->batch_bytes = BATCH_BYTES;
    json_members(topic, i->topics)
        if (v == OK) v = topic_check(i, names, topic.name, topic.value, why);
    return v == OK && i->large ? lines_read(i, record_fits, why) : v;
}

/* A topic that was just made is known a moment later. */
static verdict
topic_make(struct import *i, const char *topic, int partitions, const struct property *config, struct failure *why) {
    int64_t until = steady_ms() + TOPIC_MS;
    verdict v;
    while ((v = kafka_ensure_topic(i->producer, &i->cli.settings, topic, partitions, config, TOPIC_MS, NULL, why)) ==
               RETRY &&
           steady_ms() < until)
        rd_kafka_poll(i->producer, 50);
    return v;
}

static verdict topics_make(struct import *i, struct failure *why) {
    char scoped[CLI_NAME];
    verdict v = OK;
    json_members(topic, i->topics) {
        struct property config[8] = {{0}};
        size_t n = 0, partitions = json_array_size(json_object_get(topic.value, "partitions"));
        json_members(one, json_object_get(topic.value, "config"))
            if (n < 7 && json_is_string(one.value))
                config[n++] = (struct property){one.name, json_string_value(one.value)};
        settings_scoped(&i->cli.settings, topic.name, scoped, sizeof scoped);
        if (v == OK) v = topic_make(i, scoped, (int)partitions, config, why);
    }
    return v;
}

/* --- Schemas */

static verdict level_set(struct import *i, const char *subject, const char *level, struct failure *why) {
    json_auto_t *body = json_pack("{s:s}", "compatibility", level), *answer = NULL;
    return cli_registry(&i->cli.settings, (struct cli_request){"PUT", "/config/", subject, NULL, body}, &answer, why);
}

/* By the versions that these have here. */
static json_t *references_here(const struct import *i, const json_t *schema) {
    json_t *all = json_array();
    char scoped[2 * CLI_NAME], place[PLACE];
    json_each(k, one, json_object_get(schema, "references"))
        json_array_append_new(
            all, json_pack(
                     "{s:O, s:s, s:O}", "name", json_object_get(one, "name"), "subject",
                     settings_scoped(&i->cli.settings, json_get_text(one, "subject"), scoped, sizeof scoped), "version",
                     json_object_get(json_object_get(i->placed, place_of(one, place)), "here")));
    return all;
}

/* What was registered elsewhere may not be compatible by the level that its subject has now. */
static verdict subject_register(struct import *i, json_t *entry, struct failure *why) {
    char subject[2 * CLI_NAME];
    json_t *schema = json_object_get(entry, "schema");
    const char *type = json_string_value(json_object_get(schema, "type"));
    settings_scoped(&i->cli.settings, json_get_text(entry, "subject"), subject, sizeof subject);
    verdict v = level_set(i, subject, "NONE", why);
    if (v == RETRY) return v; /* REJECT: a registry may have no level of a subject that it does not have yet */
    json_object_set_new(entry, "opened", json_true());
    json_auto_t *made = NULL, *found = NULL,
                *body = json_pack(
                    "{s:s, s:O, s:o}", "schemaType", type ? type : "AVRO", "schema", json_object_get(schema, "text"),
                    "references", references_here(i, schema));
    struct cli_request request = {"POST", "/subjects/", subject, "/versions", body};
    v = cli_registry(&i->cli.settings, request, &made, why);
    request.rest = NULL;
    if (v == OK) v = cli_registry(&i->cli.settings, request, &found, why);
    if (v != OK) return v;
    json_object_set(schema, "new", json_object_get(made, "id"));
    json_object_set(entry, "here", json_object_get(found, "version"));
    return OK;
}

/* An export of version 1 does not say the level. A service sets this one. */
static verdict level_restore(struct import *i, const json_t *entry, struct failure *why) {
    char subject[2 * CLI_NAME];
    const json_t *level = json_object_get(entry, "compatibility");
    settings_scoped(&i->cli.settings, json_get_text(entry, "subject"), subject, sizeof subject);
    if (!level || json_is_string(level))
        return level_set(i, subject, level ? json_string_value(level) : "FULL_TRANSITIVE", why);
    json_auto_t *answer = NULL; /* the registry's own, where it can */
    (void)!cli_registry(
        &i->cli.settings, (struct cli_request){"DELETE", "/config/", subject, NULL, NULL}, &answer, NULL);
    return OK;
}

static verdict schemas_register(struct import *i, struct failure *why) {
    verdict v = OK;
    json_members(one, i->placed)
        if (v == OK) v = subject_register(i, one.value, why);
    json_members(one, i->placed) { /* whatever came between: what was opened is closed */
        struct failure reason;
        verdict restored = json_object_get(one.value, "opened") ? level_restore(i, one.value, &reason) : OK;
        if (v == OK && restored != OK) v = fail(why, restored, "%s", reason.text);
    }
    return v;
}

/* --- Records */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk;
    struct import *i = opaque;
    if (delivery_unheard(m))
        (void)!fail(&i->failed, RETRY, "Kafka said nothing of a record before one that it took");
    else if (!m->err)
        i->delivered++;
    else
        (void)!fail(&i->failed, RETRY, "Kafka did not take a record: %s", rd_kafka_err2str(m->err));
}

static void prepare(rd_kafka_conf_t *conf) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
}

/* The registry may have given the schema another number. */
static void frame_rewrite(const struct import *i, struct bytes *value) {
    char id[24];
    int64_t was = frame_number(value->at, value->n);
    const json_t *now = was < 0 ? NULL : json_object_get(json_object_get(i->schemas, log_number(id, was)), "new");
    for (int k = 0; now && k < 4; k++) value->at[1 + k] = (unsigned char)(json_integer_value(now) >> (24 - 8 * k));
}

static rd_kafka_headers_t *headers_read(const json_t *pairs) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(json_array_size(pairs) + 1);
    json_each(k, pair, pairs) {
        bytes_auto name = {0}, value = {0};
        if (base64_read(json_array_get(pair, 0), &name) && base64_read(json_array_get(pair, 1), &value))
            rd_kafka_header_add(headers, name.at ? (char *)name.at : "", (ssize_t)name.n, value.at, (ssize_t)value.n);
    }
    return headers;
}

static rd_kafka_resp_err_t
record_send(struct import *i, const json_t *record, const struct bytes *key, const struct bytes *value) {
    char topic[CLI_NAME];
    settings_scoped(&i->cli.settings, json_get_text(record, "topic"), topic, sizeof topic);
    rd_kafka_headers_t *headers = headers_read(json_object_get(record, "headers"));
    rd_kafka_resp_err_t error;
    while ((error = rd_kafka_producev(
                i->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION((int32_t)json_get_int(record, "partition")),
                RD_KAFKA_V_KEY(key->at, key->n), RD_KAFKA_V_VALUE(value->at, value->n), RD_KAFKA_V_HEADERS(headers),
                RD_KAFKA_V_TIMESTAMP(json_get_int(record, "timestamp")), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(i->producer, 100);
    if (error) rd_kafka_headers_destroy(headers);
    rd_kafka_poll(i->producer, 0);
    return error;
}

static verdict record_import(struct import *i, const json_t *line, struct failure *why) {
    const json_t *record = json_object_get(line, "record");
    if (!record) return OK;
    bytes_auto key = {0}, value = {0};
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR__BAD_MSG;
    if (base64_read(json_object_get(record, "key"), &key) && base64_read(json_object_get(record, "value"), &value)) {
        frame_rewrite(i, &value);
        error = record_send(i, record, &key, &value);
    }
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
    char batch_bytes[24];
    const struct property properties[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"linger.ms", "5"},
        /* What was compressed may be larger than its topic takes as it is. See record_fits(). */
        {"compression.codec", "gzip"},
        {"message.max.bytes", "1000000000"}, /* the topic's limit counts */
        {"batch.size", batch_bytes},
        {0}};
    if (i->cli.words_n != 1) return fail(why, REJECT, "import wants one file, or - for standard input");
    i->path = i->cli.words[0];
    verdict v = input_open(i, why);
    if (v == OK) v = lines_read(i, line_check, why);
    if (v == OK && !i->ended) v = wrong(i, why, "the last line is missing: the export was cut");
    if (v == OK) v = order_make(i, why);
    if (v == OK) v = reader_open(&i->cli.reader, &i->cli.settings, why);
    if (v == OK) v = topics_check(i, why);
    log_number(batch_bytes, i->batch_bytes);
    if (v == OK) v = kafka_open(&i->producer, RD_KAFKA_PRODUCER, &i->cli.settings, prepare, i, properties, why);
    if (v != OK) return v;
    *begun = true;
    v = schemas_register(i, why);
    if (v == OK) v = topics_make(i, why);
    return v == OK ? records_import(i, why) : v;
}

int import_run(int n, char *arguments[]) {
    json_auto_t *topics = json_object(), *schemas = json_object(), *placed = json_object();
    struct import i = {.topics = topics, .schemas = schemas, .placed = placed};
    struct failure why;
    bool begun = false;
    verdict v = cli_open(&i.cli, n, arguments, (const struct cli_option[]){{0}}, &why);
    if (v == OK) v = import(&i, &begun, &why);
    if (v == OK) fprintf(stderr, "%lld records imported\n", (long long)i.delivered);
    if (i.producer) rd_kafka_destroy(i.producer);
    if (i.in) fclose(i.in);
    cli_close(&i.cli);
    if (v == OK) return CLI_YES;
    (void)cli_end(v, &why);
    fputs(begun ? "The import is not whole: empty the topics, and import again.\n" : "Nothing was imported.\n", stderr);
    return begun || v != REJECT ? CLI_UNKNOWN : CLI_NO;
}
