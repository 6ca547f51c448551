/* export: topics as lines of JSON, whole: the bytes of every record as they are, and decoded for people to read.
 *
 *     {"export":2,"at":…,"topics":[{"topic","partitions":[{"begin","end"}],"config":{…}}]}
 *     {"schema":{"id","type","text","references":[{"name","subject","version"}],
 *                "subjects":[{"subject","version","compatibility"}]}}       before whatever refers to it, or is of it
 *     {"record":{"topic","partition","offset","timestamp","key","headers","value","data"}}
 *     {"end":{"records":N}}                                                      without it, the file was cut
 *
 * Topics and subjects are named without the namespace. key, value and headers are base64, null where there is none. */
#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/terminal.h"
#include "chassis/kafka/denial.h"
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_MS = 10000 };

struct export {
    struct cli cli;
    const char *path;
    FILE *out;
    struct reader *reader;
    json_t *known; /* schema ids that were written */
    int64_t records;
};

static verdict line_write(struct export *e, json_t *line, struct failure *why) {
    int error = line ? json_dumpf(line, e->out, JSON_COMPACT) : -1;
    json_decref(line);
    if (error || putc('\n', e->out) == EOF)
        return fail(why, RETRY, "could not write: %s", line ? strerror(errno) : "out of memory");
    return OK;
}

/* --- The head */

static rd_kafka_resp_err_t config_of(rd_kafka_event_t *event, json_t **config) {
    static const char *const kept[] = {"cleanup.policy", "retention.ms", "max.message.bytes"};
    size_t resources_n, n;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &resources_n);
    if (!resources_n) return RD_KAFKA_RESP_ERR__FAIL;
    rd_kafka_resp_err_t error = rd_kafka_ConfigResource_error(resources[0]);
    if (error) return error;
    *config = json_object();
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
            if (!strcmp(kept[k], rd_kafka_ConfigEntry_name(entries[i])) && !rd_kafka_ConfigEntry_is_default(entries[i]))
                json_object_set_new(*config, kept[k], json_string(rd_kafka_ConfigEntry_value(entries[i])));
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static verdict config_ask(struct export *e, const char *topic, json_t **out, struct failure *why) {
    rd_kafka_t *rk = reader_client(e->reader);
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DescribeConfigs(rk, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CONFIG_MS);
    rd_kafka_resp_err_t error = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (!error) error = config_of(event, out);
    char reason[DENIAL_TEXT];
    verdict v = OK;
    if (error)
        v = fail(
            why, RETRY, "Kafka does not say how the topic \"%s\" is configured: %s", topic,
            denial_reason(&e->cli.settings, error, (struct right){"DescribeConfigs", "topic", topic}, reason));
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    return v;
}

static verdict head_write(struct export *e, struct failure *why) {
    char moment[TIME_TEXT];
    json_t *topics = json_array(), *partitions = NULL;
    size_t n;
    const struct place *places = reader_places(e->reader, &n);
    verdict v = OK;
    for (size_t i = 0; v == OK && i < n; i++) {
        if (!places[i].partition) {
            json_t *config = NULL;
            v = config_ask(e, places[i].topic, &config, why);
            partitions = json_array();
            json_array_append_new(
                topics, json_pack(
                            "{s:s, s:o, s:o*}", "topic", cli_unscoped(&e->cli.settings, places[i].topic), "partitions",
                            partitions, "config", config));
        }
        json_array_append_new(
            partitions,
            json_pack("{s:I, s:I}", "begin", (json_int_t)places[i].begin, "end", (json_int_t)places[i].end));
    }
    json_t *head =
        json_pack("{s:i, s:s, s:o}", "export", TRANSFER_VERSION, "at", time_text(clock_ms(), moment), "topics", topics);
    if (v == OK) return line_write(e, head, why);
    json_decref(head);
    return v;
}

/* --- Schemas */

/* What an import cannot make again is said when it is exported. */
static void note(int32_t id, const char *what) {
    fprintf(stderr, "schema id %d: %s\n", id, what);
}

static json_t *unscoped_json(const struct export *e, const json_t *subject) {
    return json_string(cli_unscoped(&e->cli.settings, json_string_value(subject)));
}

/* The subject's own level; null: it has none, and the registry's counts. */
static verdict compatibility_ask(struct export *e, const char *subject, json_t **level, struct failure *why) {
    struct buffer path = BUFFER(8192);
    json_t *answer = NULL;
    cli_path(&path, "/config/", subject, "");
    verdict v = cli_registry(&e->cli.settings, "GET", path.data, NULL, &answer, why);
    *level = v == OK ? json_incref(json_object_get(answer, "compatibilityLevel")) : NULL;
    if (!*level) *level = json_null();
    json_decref(answer);
    buffer_free(&path);
    return v == REJECT ? OK : v;
}

static verdict subjects_name(struct export *e, json_t *subjects, struct failure *why) {
    json_t *one;
    size_t i;
    verdict v = OK;
    json_array_foreach(subjects, i, one) {
        json_t *level = NULL;
        const json_t *subject = json_object_get(one, "subject");
        if (v == OK && json_is_string(subject)) v = compatibility_ask(e, json_string_value(subject), &level, why);
        json_object_set_new(one, "compatibility", level ? level : json_null());
        if (json_is_string(subject)) json_object_set_new(one, "subject", unscoped_json(e, subject));
    }
    return v;
}

static verdict schema_write(struct export *e, int32_t id, struct failure *why);

/* What it refers to stands before it. */
static verdict references_write(struct export *e, int32_t id, json_t *references, struct failure *why) {
    json_t *one;
    size_t i;
    verdict v = OK;
    json_array_foreach(references, i, one) {
        struct buffer path = BUFFER(8192);
        char version[40];
        json_t *found = NULL, *subject = json_object_get(one, "subject");
        snprintf(
            version, sizeof version, "/versions/%lld", (long long)json_integer_value(json_object_get(one, "version")));
        cli_path(&path, "/subjects/", json_is_string(subject) ? json_string_value(subject) : "", version);
        if (v == OK) v = cli_registry(&e->cli.settings, "GET", path.data, NULL, &found, why);
        if (v == REJECT)
            note(id, "a schema that it refers to is not in the registry any more: an import will be refused");
        if (v == OK) v = schema_write(e, (int32_t)json_integer_value(json_object_get(found, "id")), why);
        if (v == REJECT) v = OK;
        if (json_is_string(subject)) json_object_set_new(one, "subject", unscoped_json(e, subject));
        json_decref(found);
        buffer_free(&path);
    }
    return v;
}

static verdict schema_write(struct export *e, int32_t id, struct failure *why) {
    char path[80], number[24];
    json_t *schema = NULL, *subjects = NULL;
    snprintf(number, sizeof number, "%d", id);
    if (json_object_get(e->known, number)) return OK;
    json_object_set_new(e->known, number, json_true());
    snprintf(path, sizeof path, "/schemas/ids/%d", id);
    verdict v = cli_registry(&e->cli.settings, "GET", path, NULL, &schema, why);
    if (v == REJECT) {
        note(id, "the registry has it not; its records are exported as they are, and stay undecodable");
        return OK;
    }
    json_t *references = json_object_get(schema, "references"), *type = json_object_get(schema, "schemaType");
    if (v == OK && json_array_size(references)) v = references_write(e, id, references, why);
    snprintf(path, sizeof path, "/schemas/ids/%d/versions", id);
    if (v == OK) v = cli_registry(&e->cli.settings, "GET", path, NULL, &subjects, why);
    if (v == OK && !json_array_size(subjects))
        note(id, "it is in no subject any more: an import cannot register it, and its records stay undecodable there");
    if (v == OK) v = subjects_name(e, subjects, why);
    if (v == OK)
        v = line_write(
            e,
            json_pack(
                "{s:{s:i, s:s, s:O, s:O*, s:O}}", "schema", "id", id, "type", type ? json_string_value(type) : "AVRO",
                "text", json_object_get(schema, "schema"), "references", references, "subjects", subjects),
            why);
    json_decref(schema);
    json_decref(subjects);
    return v;
}

/* --- Records */

static json_t *headers_base64(const rd_kafka_message_t *m) {
    json_t *all = json_array();
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t n;
    if (rd_kafka_message_headers(m, &headers)) return all;
    for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &n); i++)
        json_array_append_new(all, json_pack("[o, o]", base64_json(name, strlen(name)), base64_json(value, n)));
    return all;
}

static verdict record_write(struct export *e, const rd_kafka_message_t *m, struct failure *why) {
    json_t *data = NULL;
    int64_t id = frame_number(m->payload, m->len);
    struct failure reason;
    verdict v = id < 0 ? OK : schema_write(e, (int32_t)id, why);
    if (v != OK) return v;
    if (reader_decode(e->reader, m, NULL, &data, &reason) == RETRY) return fail(why, RETRY, "%s", reason.text);
    e->records++;
    return line_write(
        e,
        json_pack(
            "{s:{s:s, s:i, s:I, s:I, s:o, s:o, s:o, s:o*}}", "record", "topic",
            cli_unscoped(&e->cli.settings, rd_kafka_topic_name(m->rkt)), "partition", m->partition, "offset",
            (json_int_t)m->offset, "timestamp", (json_int_t)rd_kafka_message_timestamp(m, NULL), "key",
            base64_json(m->key, m->key_len), "headers", headers_base64(m), "value", base64_json(m->payload, m->len),
            "data", data),
        why);
}

static verdict records_write(struct export *e, struct failure *why) {
    rd_kafka_message_t *m = NULL;
    verdict v;
    while ((v = reader_next(e->reader, &m, why)) == OK && m) {
        v = record_write(e, m, why);
        rd_kafka_message_destroy(m);
        if (v != OK) break;
    }
    return v == OK ? line_write(e, json_pack("{s:{s:I}}", "end", "records", (json_int_t)e->records), why) : v;
}

/* --- */

static verdict export_all(struct export *e, struct failure *why) {
    verdict v = e->cli.words_n ? reader_open(&e->reader, &e->cli.settings, why)
                               : fail(why, REJECT, "export: name the topics, or '*.*' for all of every service");
    for (int i = 0; v == OK && i < e->cli.words_n; i++)
        v = cli_topics(e->reader, &e->cli.settings, e->cli.words[i], why);
    if (v == OK) v = head_write(e, why);
    return v == OK ? records_write(e, why) : v;
}

/* A file appears only once it is whole. */
static verdict export_to_file(struct export *e, struct failure *why) {
    char part[4096];
    snprintf(part, sizeof part, "%s.part", e->path);
    e->out = fopen(part, "we");
    if (!e->out) return fail(why, REJECT, "could not write \"%s\": %s", part, strerror(errno));
    verdict v = export_all(e, why);
    if ((fclose(e->out) || rename(part, e->path)) && v == OK)
        v = fail(why, RETRY, "could not write \"%s\": %s", e->path, strerror(errno));
    if (v != OK) unlink(part);
    return v;
}

int export_run(int n, char *arguments[]) {
    struct export e = {.out = stdout, .known = json_object()};
    struct failure why;
    const struct cli_option options[] = {{"--out", &e.path, NULL}, {0}};
    verdict v = cli_open(&e.cli, n, arguments, options, &why);
    if (v == OK) v = e.path ? export_to_file(&e, &why) : export_all(&e, &why);
    if (v == OK && fflush(stdout)) v = fail(&why, RETRY, "could not write: %s", strerror(errno));
    if (v == OK) fprintf(stderr, "%lld records exported\n", (long long)e.records);
    json_decref(e.known);
    reader_close(&e.reader);
    cli_close(&e.cli);
    if (v == OK) return CLI_YES;
    fprintf(stderr, "%s\n", shown(why.text));
    return CLI_UNKNOWN;
}
