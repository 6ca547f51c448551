/* import: what export wrote, into topics that hold nothing yet: the same partitions, order, keys, headers and times.
 * All of it is read and checked before anything is made. */
#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/terminal.h"
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
    json_t *head, *schemas; /* schemas: {"7": {"type","text","references","subjects","new": its id here}} */
    json_t *order;          /* [{"subject","version","schema","here": its version here}]: as they are registered */
    json_t *limits;         /* {"sales.events": how large a batch may be}: of topics with larger records */
    json_t *largest;        /* {"sales.events": bytes of its largest record} */
    int64_t line, records, delivered, batch_bytes;
    struct reader *reader;
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

/* Of what a batch with this record alone holds, before it is compressed. */
static size_t record_size(const json_t *record) {
    size_t n = RECORD_OVERHEAD, k;
    json_t *pair;
    n += json_string_length(json_object_get(record, "key")) / 4 * 3;
    n += json_string_length(json_object_get(record, "value")) / 4 * 3;
    json_array_foreach(json_object_get(record, "headers"), k, pair) n +=
        (json_string_length(json_array_get(pair, 0)) + json_string_length(json_array_get(pair, 1))) / 4 * 3 + 10;
    return n;
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
    json_int_t size = (json_int_t)record_size(record), most = json_integer_value(json_object_get(i->largest, topic));
    if (size > most) json_object_set_new(i->largest, topic, json_integer(size));
    return OK;
}

static verdict line_check(struct import *i, const json_t *line, struct failure *why) {
    json_t *schema = json_object_get(line, "schema"), *record = json_object_get(line, "record");
    const json_t *end = json_object_get(line, "end");
    char id[24];
    if (i->line == 1) {
        json_int_t version = json_integer_value(json_object_get(line, "export"));
        if (version < 1 || version > TRANSFER_VERSION)
            return wrong(i, why, "is not the first line of an export of version 1 to %d", TRANSFER_VERSION);
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

/* --- In which order the schemas are registered */

static json_t *entry_find(const struct import *i, const char *subject, json_int_t version) {
    json_t *one;
    size_t k;
    json_array_foreach(i->order, k, one) if (
        json_integer_value(json_object_get(one, "version")) == version && subject &&
        !strcmp(json_string_value(json_object_get(one, "subject")), subject)) return one;
    return NULL;
}

/* What it refers to is there. */
static bool is_complete(const struct import *i, const json_t *schema) {
    json_t *one;
    size_t k;
    json_array_foreach(json_object_get(schema, "references"), k, one) if (!entry_find(
                                                                              i,
                                                                              json_string_value(
                                                                                  json_object_get(one, "subject")),
                                                                              json_integer_value(json_object_get(
                                                                                  one, "version")))) return false;
    return true;
}

/* One before it in its subject is still to come. */
static bool comes_later(const json_t *all, const json_t *entry) {
    json_t *one;
    size_t k;
    json_array_foreach((json_t *)all, k, one) if (
        json_equal(json_object_get(one, "subject"), json_object_get(entry, "subject")) &&
        json_integer_value(json_object_get(one, "version")) <
            json_integer_value(json_object_get(entry, "version"))) return true;
    return false;
}

static json_t *entries(const struct import *i) {
    json_t *all = json_array(), *schema, *one;
    const char *id;
    size_t k;
    json_object_foreach(i->schemas, id, schema) json_array_foreach(
        json_object_get(schema, "subjects"), k, one) if (json_is_string(json_object_get(one, "subject")))
        json_array_append_new(
            all, json_pack(
                     "{s:O, s:O, s:O, s:O*}", "subject", json_object_get(one, "subject"), "version",
                     json_object_get(one, "version"), "schema", schema, "compatibility",
                     json_object_get(one, "compatibility")));
    return all;
}

/* Each behind what it refers to, and behind the versions before it in its subject. */
static verdict order_make(struct import *i, struct failure *why) {
    json_t *left = entries(i);
    bool more = true;
    while (more) {
        more = false;
        for (size_t k = 0; k < json_array_size(left);) {
            json_t *one = json_array_get(left, k);
            if (!is_complete(i, json_object_get(one, "schema")) || comes_later(left, one)) {
                k++;
                continue;
            }
            json_array_append(i->order, one);
            json_array_remove(left, k);
            more = true;
        }
    }
    json_t *first = json_array_get(left, 0);
    verdict v = first ? fail(
                            why, REJECT, "%s: the schema of \"%.200s\" refers to one that is not in the file", i->path,
                            json_string_value(json_object_get(first, "subject")))
                      : OK;
    json_decref(left);
    return v;
}

static verdict check(struct import *i, struct failure *why) {
    verdict v = lines_read(i, line_check, why);
    if (v == OK && !i->delivered) v = wrong(i, why, "the last line is missing: the export was cut");
    i->delivered = 0;
    return v == OK ? order_make(i, why) : v;
}

/* --- Topics */

static verdict
topic_check(struct import *i, const json_t *topics, const char *topic, size_t partitions, struct failure *why) {
    json_t *one;
    size_t k, n, places_n = 0, was;
    (void)reader_places(i->reader, &was);
    json_array_foreach((json_t *)topics, k, one) {
        if (strcmp(json_string_value(one), topic) != 0) continue;
        verdict v = reader_add(i->reader, topic, why);
        if (v != OK) return v;
        const struct place *places = reader_places(i->reader, &n);
        places_n = n - was;
        for (const struct place *p = places + was; p < places + n; p++)
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
    verdict v = reader_topics(i->reader, &topics, why);
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

/* --- How large a batch may be */

/* The value of that name; 0: Kafka does not say. */
static int64_t limit_ask(struct import *i, rd_kafka_ResourceType_t type, const char *resource, const char *name) {
    rd_kafka_t *rk = reader_client(i->reader);
    rd_kafka_ConfigResource_t *question = rd_kafka_ConfigResource_new(type, resource);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DescribeConfigs(rk, &question, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TOPIC_MS);
    size_t n = 0, entries_n = 0;
    const rd_kafka_ConfigResource_t **found =
        event && !rd_kafka_event_error(event)
            ? rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n)
            : NULL;
    const rd_kafka_ConfigEntry_t **all =
        n && !rd_kafka_ConfigResource_error(found[0]) ? rd_kafka_ConfigResource_configs(found[0], &entries_n) : NULL;
    int64_t limit = 0;
    for (size_t k = 0; k < entries_n; k++)
        if (!strcmp(rd_kafka_ConfigEntry_name(all[k]), name) && rd_kafka_ConfigEntry_value(all[k]))
            limit = atoll(rd_kafka_ConfigEntry_value(all[k]));
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(question);
    return limit;
}

/* Of the topic as it is, or will be made. */
static int64_t limit_of(struct import *i, const json_t *topics, const json_t *topic) {
    char scoped[CLI_NAME], broker[24];
    const char *given = json_string_value(json_object_get(json_object_get(topic, "config"), "max.message.bytes"));
    const struct rd_kafka_metadata *cluster;
    json_t *one;
    size_t k;
    settings_scoped(&i->cli.settings, json_string_value(json_object_get(topic, "topic")), scoped, sizeof scoped);
    json_array_foreach((json_t *)topics, k, one) if (!strcmp(json_string_value(one), scoped)) return limit_ask(
        i, RD_KAFKA_RESOURCE_TOPIC, scoped, "max.message.bytes");
    if (given) return atoll(given);
    if (rd_kafka_metadata(reader_client(i->reader), 0, NULL, &cluster, TOPIC_MS)) return 0;
    snprintf(broker, sizeof broker, "%d", cluster->broker_cnt ? cluster->brokers[0].id : 0);
    rd_kafka_metadata_destroy(cluster);
    return limit_ask(i, RD_KAFKA_RESOURCE_BROKER, broker, "message.max.bytes");
}

static void part_add(struct buffer *out, const json_t *base64) {
    unsigned char *bytes;
    size_t n;
    if (!base64_read(base64, &bytes, &n)) return;
    if (bytes) buffer_bytes(out, (const char *)bytes, n);
    free(bytes);
}

/* As the producer compresses it, by the same library at the same level. */
static verdict record_fits(struct import *i, const json_t *line, struct failure *why) {
    const json_t *record = json_object_get(line, "record");
    const char *topic = json_string_value(json_object_get(record, "topic"));
    json_int_t limit = topic ? json_integer_value(json_object_get(i->limits, topic)) : 0;
    json_t *pair;
    size_t size = record_size(record), k;
    if (!limit || (json_int_t)size <= limit) return OK;
    struct buffer parts = BUFFER(2 * size);
    part_add(&parts, json_object_get(record, "key"));
    part_add(&parts, json_object_get(record, "value"));
    json_array_foreach(json_object_get(record, "headers"), k, pair) {
        part_add(&parts, json_array_get(pair, 0));
        part_add(&parts, json_array_get(pair, 1));
    }
    uLongf n = compressBound(parts.length);
    Bytef *small = parts.failed ? NULL : malloc(n);
    bool known = small && compress(small, &n, (const Bytef *)parts.data, parts.length) == Z_OK;
    if (known && n + RECORD_OVERHEAD < size) size = n + RECORD_OVERHEAD;
    free(small);
    buffer_free(&parts);
    if (!known) return fail(why, RETRY, "out of memory");
    if ((json_int_t)size <= limit) return OK;
    return wrong(
        i, why,
        "this record needs %zu bytes, and \"%s\" takes %lld here. Raise the topic's max.message.bytes, or the broker's message.max.bytes",
        size, topic, (long long)limit);
}

/* Before anything is made: that each record can be taken. */
static verdict sizes_check(struct import *i, struct failure *why) {
    json_t *topics = NULL, *one;
    size_t k;
    verdict v = reader_topics(i->reader, &topics, why);
    i->batch_bytes = BATCH_BYTES;
    json_array_foreach(json_object_get(i->head, "topics"), k, one) {
        const char *name = json_string_value(json_object_get(one, "topic"));
        int64_t limit = v == OK && name ? limit_of(i, topics, one) : 0;
        if (limit && limit < i->batch_bytes) i->batch_bytes = limit;
        if (limit && name && json_integer_value(json_object_get(i->largest, name)) > limit)
            json_object_set_new(i->limits, name, json_integer(limit));
    }
    json_decref(topics);
    return v == OK && json_object_size(i->limits) ? lines_read(i, record_fits, why) : v;
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

static verdict
ask(struct import *i, const char *method, const char *before, const char *subject, const char *after, json_t *body,
    json_t **answer, struct failure *why) {
    struct buffer path = BUFFER(8192);
    *answer = NULL;
    cli_path(&path, before, subject, after);
    verdict v = cli_registry(&i->cli.settings, method, path.data, body, answer, why);
    buffer_free(&path);
    json_decref(body);
    return v;
}

static verdict level_set(struct import *i, const char *subject, const char *level, struct failure *why) {
    json_t *answer;
    verdict v = ask(i, "PUT", "/config/", subject, "", json_pack("{s:s}", "compatibility", level), &answer, why);
    json_decref(answer);
    return v;
}

/* By the versions that these have here. */
static json_t *references_here(const struct import *i, const json_t *schema) {
    json_t *all = json_array(), *one;
    size_t k;
    char scoped[2 * CLI_NAME];
    json_array_foreach(json_object_get(schema, "references"), k, one) {
        const char *subject = json_string_value(json_object_get(one, "subject"));
        const json_t *entry = entry_find(i, subject, json_integer_value(json_object_get(one, "version")));
        json_array_append_new(
            all, json_pack(
                     "{s:O, s:s, s:O}", "name", json_object_get(one, "name"), "subject",
                     settings_scoped(&i->cli.settings, subject, scoped, sizeof scoped), "version",
                     json_object_get(entry, "here")));
    }
    return all;
}

/* What was registered elsewhere may not be compatible by the level that its subject has now. */
static verdict subject_register(struct import *i, json_t *entry, struct failure *why) {
    char subject[2 * CLI_NAME];
    json_t *schema = json_object_get(entry, "schema"), *answer = NULL;
    const char *type = json_string_value(json_object_get(schema, "type"));
    settings_scoped(&i->cli.settings, json_string_value(json_object_get(entry, "subject")), subject, sizeof subject);
    verdict v = level_set(i, subject, "NONE", why);
    if (v == REJECT) v = OK; /* a registry may have no level of a subject that it does not have yet */
    json_t *body = json_pack(
        "{s:s, s:O, s:o}", "schemaType", type ? type : "AVRO", "schema", json_object_get(schema, "text"), "references",
        references_here(i, schema));
    if (v == OK) v = ask(i, "POST", "/subjects/", subject, "/versions", json_incref(body), &answer, why);
    if (v == OK) json_object_set(schema, "new", json_object_get(answer, "id"));
    json_decref(answer);
    answer = NULL;
    if (v == OK) v = ask(i, "POST", "/subjects/", subject, "", json_incref(body), &answer, why);
    if (v == OK) json_object_set(entry, "here", json_object_get(answer, "version"));
    json_decref(answer);
    json_decref(body);
    return v;
}

/* An export of version 1 does not say the level; a service sets this one. */
static verdict level_restore(struct import *i, const json_t *entry, struct failure *why) {
    char subject[2 * CLI_NAME];
    const json_t *level = json_object_get(entry, "compatibility");
    settings_scoped(&i->cli.settings, json_string_value(json_object_get(entry, "subject")), subject, sizeof subject);
    if (!level) return level_set(i, subject, "FULL_TRANSITIVE", why);
    if (json_is_string(level)) return level_set(i, subject, json_string_value(level), why);
    json_t *answer;
    (void)!ask(i, "DELETE", "/config/", subject, "", NULL, &answer, NULL); /* the registry's own, where it can */
    json_decref(answer);
    return OK;
}

static verdict schemas_register(struct import *i, struct failure *why) {
    json_t *one;
    size_t k;
    verdict v = OK;
    json_array_foreach(i->order, k, one) if (v == OK) v = subject_register(i, one, why);
    json_array_foreach(i->order, k, one) if (v == OK) v = level_restore(i, one, why);
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

static void prepare(rd_kafka_conf_t *conf, void *opaque) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, opaque);
}

/* The registry may have given the schema another number. */
static void frame_rewrite(const struct import *i, unsigned char *bytes, size_t n) {
    char id[24];
    int64_t was = frame_number(bytes, n);
    if (was < 0) return;
    snprintf(id, sizeof id, "%lld", (long long)was);
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
    char batch_bytes[24];
    const struct property properties[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"linger.ms", "5"},
        /* What was compressed may be larger than its topic takes as it is; see record_fits(). */
        {"compression.codec", "gzip"},
        {"message.max.bytes", "1000000000"}, /* the topic's limit counts */
        {"batch.size", batch_bytes},
        {0}};
    if (i->cli.words_n != 1) return fail(why, REJECT, "import wants one file, or - for standard input");
    i->path = i->cli.words[0];
    verdict v = input_open(i, why);
    if (v == OK) v = check(i, why);
    if (v == OK) v = reader_open(&i->reader, &i->cli.settings, why);
    if (v == OK) v = topics_check(i, why);
    if (v == OK) v = sizes_check(i, why);
    log_number(batch_bytes, i->batch_bytes);
    if (v == OK) v = kafka_open(&i->producer, RD_KAFKA_PRODUCER, &i->cli.settings, prepare, i, properties, why);
    if (v != OK) return v;
    *begun = true;
    v = schemas_register(i, why);
    if (v == OK) v = topics_make(i, why);
    return v == OK ? records_import(i, why) : v;
}

int import_run(int n, char *arguments[]) {
    struct import i = {
        .schemas = json_object(), .order = json_array(), .limits = json_object(), .largest = json_object()};
    struct failure why;
    bool begun = false;
    verdict v = cli_open(&i.cli, n, arguments, (const struct cli_option[]){{0}}, &why);
    if (v == OK) v = import(&i, &begun, &why);
    if (v == OK) fprintf(stderr, "%lld records imported\n", (long long)i.delivered);
    if (i.producer) rd_kafka_destroy(i.producer);
    if (i.in) fclose(i.in);
    json_decref(i.head);
    json_decref(i.order);
    json_decref(i.limits);
    json_decref(i.largest);
    json_decref(i.schemas);
    reader_close(&i.reader);
    cli_close(&i.cli);
    if (v == OK) return CLI_YES;
    fprintf(
        stderr, "%s%s\n", shown(why.text),
        begun ? "\nThe import is not whole: empty the topics, and import again." : "\nNothing was imported.");
    return begun || v != REJECT ? CLI_UNKNOWN : CLI_NO;
}
