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
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/denial.h"
#include "transfer.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct export {
    struct cli cli;
    const char *path;
    FILE *out;
    json_t *known; /* schema ids that were written */
    int64_t records;
};

static verdict line_write(struct export *e, json_t *line, struct failure *why) {
    int error = line ? json_dumpf(line, e->out, JSON_COMPACT) : -1;
    json_decref(line);
    return error || putc('\n', e->out) == EOF
               ? fail(why, RETRY, "could not write: %s", line ? strerror(errno) : "out of memory")
               : OK;
}

/* --- The head */

/* A topic and where its partitions begin and end. */
static verdict topic_add(json_t *topics, struct export *e, const struct place *places, size_t n, struct failure *why) {
    static const char *const kept[] = {"cleanup.policy", "retention.ms", "max.message.bytes", NULL};
    const char *name = places->topic;
    rd_kafka_resp_err_t error;
    char reason[DENIAL_TEXT];
    json_t *partitions = json_array();
    admin_auto a = admin_of(reader_client(e->cli.reader), CONFIG_MS);
    json_t *config = admin_config(&a, RD_KAFKA_RESOURCE_TOPIC, name, kept, true, &error);
    for (; n && !strcmp(places->topic, name); n--, places++)
        json_array_append_new(
            partitions, json_pack("{s:I, s:I}", "begin", (json_int_t)places->begin, "end", (json_int_t)places->end));
    json_array_append_new(
        topics, json_pack(
                    "{s:s, s:o, s:o*}", "topic", cli_unscoped(&e->cli.settings, name), "partitions", partitions,
                    "config", config));
    if (!error) return OK;
    return fail(
        why, RETRY, "Kafka does not say how the topic \"%s\" is configured: %s", name,
        denial_reason(&e->cli.settings, error, (struct right){"DescribeConfigs", "topic", name}, reason));
}

static verdict head_write(struct export *e, struct failure *why) {
    char moment[TIME_TEXT];
    json_auto_t *topics = json_array();
    size_t n;
    const struct place *places = reader_places(e->cli.reader, &n);
    verdict v = OK;
    for (size_t i = 0; v == OK && i < n; i++)
        if (!places[i].partition) v = topic_add(topics, e, places + i, n - i, why);
    if (v != OK) return v;
    return line_write(
        e,
        json_pack("{s:i, s:s, s:O}", "export", TRANSFER_VERSION, "at", time_text(clock_ms(), moment), "topics", topics),
        why);
}

/* --- Schemas */

/* What an import cannot make again is said when it is exported. */
static void note(int32_t id, const char *what) {
    fprintf(stderr, "schema id %d: %s\n", id, what);
}

/* The registry's answer to GET. */
static verdict
ask(const struct export *e, const char *path, const char *name, const char *rest, json_t **out, struct failure *why) {
    return cli_registry(&e->cli.settings, (struct cli_request){"GET", path, name, rest, NULL}, out, why);
}

static void subject_unscope(const struct export *e, json_t *of) {
    const char *subject = json_string_value(json_object_get(of, "subject"));
    if (subject) json_object_set_new(of, "subject", json_string(cli_unscoped(&e->cli.settings, subject)));
}

/* With the subjects' own levels, or null: it has none, and the registry's counts. */
static verdict subjects_name(struct export *e, json_t *subjects, struct failure *why) {
    json_each(i, one, subjects) {
        json_auto_t *answer = NULL;
        const json_t *subject = json_object_get(one, "subject");
        verdict v = json_is_string(subject) ? ask(e, "/config/", json_string_value(subject), NULL, &answer, why) : OK;
        if (v == RETRY) return v;
        json_object_set_new(one, "compatibility", json_pack("O?", json_object_get(answer, "compatibilityLevel")));
        subject_unscope(e, one);
    }
    return OK;
}

static verdict schema_write(struct export *e, int32_t id, struct failure *why);

/* What it refers to stands before it. */
static verdict references_write(struct export *e, int32_t id, json_t *references, struct failure *why) {
    json_each(i, one, references) {
        char version[40];
        json_auto_t *found = NULL;
        snprintf(version, sizeof version, "/versions/%lld", json_get_int(one, "version"));
        verdict v = ask(e, "/subjects/", json_get_text(one, "subject"), version, &found, why);
        if (v == REJECT)
            note(id, "a schema that it refers to is not in the registry any more: an import will be refused");
        if (v == OK) v = schema_write(e, (int32_t)json_get_int(found, "id"), why);
        if (v == RETRY) return v;
        subject_unscope(e, one);
    }
    return OK;
}

static verdict schema_write(struct export *e, int32_t id, struct failure *why) {
    char number[24];
    json_auto_t *schema = NULL, *subjects = NULL;
    if (json_object_get(e->known, log_number(number, id))) return OK;
    json_object_set_new(e->known, number, json_true());
    verdict v = ask(e, "/schemas/ids/", number, NULL, &schema, why);
    if (v == REJECT) {
        note(id, "the registry has it not; its records are exported as they are, and stay undecodable");
        return OK;
    }
    json_t *references = json_object_get(schema, "references"), *type = json_object_get(schema, "schemaType");
    if (v == OK && json_array_size(references)) v = references_write(e, id, references, why);
    if (v == OK) v = ask(e, "/schemas/ids/", number, "/versions", &subjects, why);
    if (v == OK && !json_array_size(subjects))
        note(id, "it is in no subject any more: an import cannot register it, and its records stay undecodable there");
    if (v == OK) v = subjects_name(e, subjects, why);
    if (v != OK) return v;
    return line_write(
        e,
        json_pack(
            "{s:{s:i, s:s, s:O, s:O*, s:O}}", "schema", "id", id, "type", type ? json_string_value(type) : "AVRO",
            "text", json_object_get(schema, "schema"), "references", references, "subjects", subjects),
        why);
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

static verdict record_write(void *export, const rd_kafka_message_t *m, struct failure *why) {
    struct export *e = export;
    json_t *data = NULL;
    int64_t id = frame_number(m->payload, m->len);
    verdict v = id < 0 ? OK : schema_write(e, (int32_t)id, why);
    if (v != OK) return v;
    if (reader_decode(e->cli.reader, m, NULL, &data, why) == RETRY) return RETRY;
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

/* --- */

static verdict export_all(struct export *e, struct failure *why) {
    if (!e->cli.words_n) return fail(why, REJECT, "export: name the topics, or '*.*' for all of every service");
    verdict v = OK;
    for (int i = 0; v == OK && i < e->cli.words_n; i++) v = cli_topics(&e->cli, e->cli.words[i], why);
    if (v == OK) v = head_write(e, why);
    if (v == OK) v = reader_each(e->cli.reader, record_write, e, why);
    return v == OK ? line_write(e, json_pack("{s:{s:I}}", "end", "records", (json_int_t)e->records), why) : v;
}

/* A file appears only once it is whole. */
static verdict export_to_file(struct export *e, struct failure *why) {
    char part[4096];
    snprintf(part, sizeof part, "%s.part", e->path);
    e->out = fopen(part, "we");
    if (!e->out) return fail(why, REJECT, "could not write \"%s\": %s", part, strerror(errno));
    verdict v = export_all(e, why);
    bool closed = !fclose(e->out);
    if (v == OK && (!closed || rename(part, e->path)))
        v = fail(why, RETRY, "could not write \"%s\": %s", e->path, strerror(errno));
    if (v != OK) unlink(part);
    return v;
}

int export_run(int n, char *arguments[]) {
    json_auto_t *known = json_object();
    struct export e = {.out = stdout, .known = known};
    struct failure why;
    verdict v = cli_open(&e.cli, n, arguments, (const struct cli_option[]){{"--out", .value = &e.path}, {0}}, &why);
    if (v == OK) v = e.path ? export_to_file(&e, &why) : export_all(&e, &why);
    if (v == OK && fflush(stdout)) v = fail(&why, RETRY, "could not write: %s", strerror(errno));
    if (v == OK) fprintf(stderr, "%lld records exported\n", (long long)e.records);
    cli_close(&e.cli);
    return cli_end(v, &why);
}
