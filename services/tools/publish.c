/* publish: JSON as Avro, checked against its schema before anything is sent. */
#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/kafka/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 64 << 20, DELIVER_MS = 30000, KEY_MAX = ID_BYTES_MAX + 1 };

struct publish {
    struct cli cli;
    const char *key, *schema_file;
    const char *path;  /* of the input. "-": standard input */
    const char *topic; /* the reader's */
    char subject[2 * CLI_NAME];
    int32_t schema_id;
    struct schema *schema;
    struct message {
        struct buffer record;
        char key[KEY_MAX], id[UUID_TEXT], time[TIME_TEXT];
        int line;
    } * messages;
    size_t messages_n, delivered;
    struct failure failed; /* of a delivery */
};

/* --- The input */

static verdict input_read(const char *path, struct buffer *out, struct failure *why) {
    FILE *file = !strcmp(path, "-") ? stdin : fopen(path, "re");
    char chunk[1 << 16];
    if (!file) return fail(why, REJECT, "could not open \"%s\": %s", path, strerror(errno));
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) buffer_bytes(out, chunk, n);
    bool broken = ferror(file);
    if (file != stdin) fclose(file);
    if (broken) return fail(why, REJECT, "could not read \"%s\": %s", path, strerror(errno));
    return out->failed ? fail(why, REJECT, "\"%s\" has more than %d bytes", path, INPUT_MAX) : OK;
}

/* --- The schema */

/* Its last part, "RefundRequest", or all of it. */
static bool type_matches(const char *full, const char *asked) {
    const char *dot = strrchr(full, '.');
    return !strcmp(full, asked) || (dot && !strcmp(dot + 1, asked));
}

/* Which of the registry's subjects, TOPIC-TYPE, is meant. */
static verdict subject_find(struct publish *p, const char *asked, struct failure *why) {
    json_auto_t *subjects = NULL;
    buffer_auto types = BUFFER(400);
    size_t n = strlen(p->topic), found = 0;
    snprintf(p->subject, sizeof p->subject, "%s-%s", p->topic, asked);
    if (strchr(asked, '.')) return OK; /* a whole name needs no list, which registries may cut */
    verdict v =
        cli_registry(&p->cli.settings, (struct cli_request){.method = "GET", .path = "/subjects"}, &subjects, why);
    if (v != OK) return v;
    json_each(i, one, subjects) {
        const char *subject = json_string_value(one);
        if (!subject || strncmp(subject, p->topic, n) != 0 || subject[n] != '-') continue;
        buffer_format(&types, "%s%s", types.length ? ", " : "", subject + n + 1);
        if (!type_matches(subject + n + 1, asked)) continue;
        found++;
        snprintf(p->subject, sizeof p->subject, "%s", subject);
    }
    if (found == 1) return OK;
    return fail(
        why, REJECT, "\"%.100s\": %s type of %s is named so; use its full name. There are: %s", asked,
        found ? "more than one" : "no", p->topic,
        types.failed || !types.data ? "none, or too many to name" : types.data);
}

/* POST or GET of what is behind its subject. The answer is the caller's. */
static verdict
subject_ask(struct publish *p, const char *rest, const json_t *body, json_t **answer, struct failure *why) {
    struct cli_request request = {body ? "POST" : "GET", "/subjects/", p->subject, rest, body};
    verdict v = cli_registry(&p->cli.settings, request, answer, why);
    p->schema_id = (int32_t)json_get_int(*answer, "id");
    return v;
}

static verdict schema_latest(struct publish *p, const char *type, struct failure *why) {
    json_auto_t *answer = NULL;
    verdict v = subject_find(p, type, why);
    if (v == OK) v = subject_ask(p, "/versions/latest", NULL, &answer, why);
    const json_t *text = json_object_get(answer, "schema");
    return v == OK ? schema_parse(json_string_value(text), json_string_length(text), &p->schema, why) : v;
}

/* One that is not registered yet, by its file. It must be compatible with what is there. */
static verdict schema_register(struct publish *p, const char *type, struct failure *why) {
    buffer_auto text = BUFFER(SCHEMA_BYTES_MAX);
    verdict v = input_read(p->schema_file, &text, why);
    if (v == OK) v = schema_parse(text.data ? text.data : "", text.length, &p->schema, why);
    if (v != OK) return v;
    const char *name = schema_name(p->schema);
    if (!type_matches(name, type))
        return fail(why, REJECT, "the schema in \"%s\" is of %s, not of %s", p->schema_file, name, type);
    snprintf(p->subject, sizeof p->subject, "%s-%s", p->topic, name);
    json_auto_t *body = json_pack("{s:s, s:s%}", "schemaType", "AVRO", "schema", text.data, text.length),
                *answer = NULL;
    return subject_ask(p, "/versions", body, &answer, why);
}

/* --- Each event */

/* What every event has, where the schema asks for it and the input has none. */
static void fill(const struct publish *p, struct message *m, json_t *event) {
    int64_t now = clock_ms();
    json_auto_t *made = json_pack(
        "{s:s, s:I, s:i}", "event_id", uuid_text(uuid_make(), m->id), "occurred_at", (json_int_t)now, "version", 1);
    json_members(field, made) {
        if (json_object_get(event, field.name) || !schema_has(p->schema, field.name)) continue;
        json_object_set(event, field.name, field.value);
        fprintf(stderr, "%s:%d: %s was filled in\n", shown(p->path), m->line, field.name);
    }
    const char *id = json_string_value(json_object_get(event, "event_id"));
    const json_t *at = json_object_get(event, "occurred_at");
    if (id) snprintf(m->id, sizeof m->id, "%s", id);
    bool given = json_is_integer(at) && time_valid(json_integer_value(at));
    time_text(given ? json_integer_value(at) : now, m->time);
}

/* What is no id would be put aside by everybody who reads it. */
static verdict key_find(const struct publish *p, struct message *m, const json_t *event, struct failure *why) {
    static const char *const names[] = {"return_id", "order_id", "customer_id"};
    const char *key = p->key;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *id = json_object_get(event, names[i]);
        if (!json_is_string(id)) continue;
        if (input_id(json_string_value(id), json_string_length(id), why) != OK)
            return fail(why, REJECT, "%s:%d: %s %s", p->path, m->line, names[i], why->text);
        if (!key) key = json_string_value(id);
    }
    snprintf(m->key, sizeof m->key, "%s", key ? key : "");
    return OK;
}

static verdict event_add(struct publish *p, json_t *event, int line, struct failure *why) {
    struct message *grown = realloc(p->messages, (p->messages_n + 1) * sizeof *grown);
    if (!grown) return fail(why, RETRY, "out of memory");
    p->messages = grown;
    struct message *m = &grown[p->messages_n++];
    *m = (struct message){.record = BUFFER(EVENT_BYTES_MAX), .line = line};
    if (!json_is_object(event)) return fail(why, REJECT, "%s:%d: an event must be a JSON object", p->path, line);
    fill(p, m, event);
    if (key_find(p, m, event, why) != OK) return REJECT;
    frame_write(&m->record, p->schema_id);
    verdict v = codec_encode(p->schema, event, &m->record, why);
    return v == OK ? OK : fail(why, v, "%s:%d: %s", p->path, line, why->text);
}

/* One object after another, each on one line or on many. */
static verdict events_read(struct publish *p, struct failure *why) {
    buffer_auto text = BUFFER(INPUT_MAX);
    verdict v = input_read(p->path, &text, why);
    size_t at = 0, counted = 0;
    int line = 1; /* that of what was counted */
    while (v == OK) {
        json_error_t error;
        while (at < text.length && strchr(" \t\r\n", text.data[at])) at++;
        if (at == text.length) break;
        for (; counted < at; counted++) line += text.data[counted] == '\n';
        json_auto_t *event = json_loadb(
            text.data + at, text.length - at, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (!event)
            return fail(
                why, REJECT, "%s:%d: is no JSON: %s", p->path, line + (error.line > 0 ? error.line - 1 : 0),
                error.text);
        v = event_add(p, event, line, why);
        at += (size_t)error.position;
    }
    if (v == OK && !p->messages_n) v = fail(why, REJECT, "\"%s\" holds no event", p->path);
    return v;
}

/* --- Sending */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *r, void *opaque) {
    (void)rk;
    struct publish *p = opaque;
    const struct message *m = r->_private;
    p->delivered += !r->err;
    if (r->err)
        (void)!fail(&p->failed, RETRY, "%s:%d: Kafka did not take it: %s", p->path, m->line, rd_kafka_err2str(r->err));
    else
        printf("%s[%d]@%lld\n", rd_kafka_topic_name(r->rkt), r->partition, (long long)r->offset);
}

static void prepare(rd_kafka_conf_t *conf) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
}

static rd_kafka_resp_err_t send_one(struct publish *p, rd_kafka_t *rk, struct message *m) {
    char trace[TRACE_PARENT];
    rd_kafka_resp_err_t error;
    trace_make(trace);
    while ((error = rd_kafka_producev(
                rk, RD_KAFKA_V_TOPIC(p->topic), RD_KAFKA_V_KEY(*m->key ? m->key : NULL, strlen(m->key)),
                RD_KAFKA_V_VALUE(m->record.data, m->record.length), RD_KAFKA_V_HEADER("ce_specversion", "1.0", -1),
                RD_KAFKA_V_HEADER("ce_id", m->id, -1), RD_KAFKA_V_HEADER("ce_type", schema_name(p->schema), -1),
                RD_KAFKA_V_HEADER("ce_source", "returns-publish", -1), RD_KAFKA_V_HEADER("ce_time", m->time, -1),
                RD_KAFKA_V_HEADER("content-type", "application/avro", -1), RD_KAFKA_V_HEADER("traceparent", trace, -1),
                RD_KAFKA_V_OPAQUE(m), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(rk, 100);
    return error;
}

/* The services' own partitioner is librdkafka's default, and so is this one. */
static verdict send_all(struct publish *p, struct failure *why) {
    static const struct property properties[] = {
        {"enable.idempotence", "true"}, {"acks", "all"}, {"message.timeout.ms", "20000"}, {0}};
    rd_kafka_t *rk;
    verdict v = kafka_open(&rk, RD_KAFKA_PRODUCER, &p->cli.settings, prepare, p, properties, why);
    if (v != OK) return v;
    for (size_t i = 0; v == OK && i < p->messages_n; i++) {
        rd_kafka_resp_err_t error = send_one(p, rk, &p->messages[i]);
        if (error) v = fail(why, RETRY, "%s:%d: %s", p->path, p->messages[i].line, rd_kafka_err2str(error));
    }
    rd_kafka_flush(rk, DELIVER_MS);
    rd_kafka_destroy(rk);
    if (v == OK && p->delivered < p->messages_n)
        v = fail(why, RETRY, "%s", *p->failed.text ? p->failed.text : "Kafka did not answer; some may be sent");
    return v;
}

/* --- */

static verdict publish(struct publish *p, struct failure *why) {
    const char *const *words = p->cli.words;
    if (p->cli.words_n != 3)
        return fail(why, REJECT, "publish wants a topic, a type, and a file or - for standard input");
    if (p->key && strlen(p->key) >= KEY_MAX) return fail(why, REJECT, "--key has more than %d bytes", KEY_MAX - 1);
    if (strpbrk(words[0], "*?[")) return fail(why, REJECT, "\"%s\": name one topic", words[0]);
    verdict v = cli_topics(&p->cli, words[0], why);
    if (v != OK) return v;
    size_t n;
    p->topic = reader_places(p->cli.reader, &n)->topic;
    p->path = words[2];
    v = p->schema_file ? schema_register(p, words[1], why) : schema_latest(p, words[1], why);
    if (v == OK) v = events_read(p, why);
    return v == OK ? send_all(p, why) : v;
}

int publish_run(int n, char *arguments[]) {
    struct publish p = {0};
    struct failure why;
    const struct cli_option options[] = {{"--key", .value = &p.key}, {"--schema", .value = &p.schema_file}, {0}};
    verdict v = cli_open(&p.cli, n, arguments, options, &why);
    if (v == OK) v = publish(&p, &why);
    for (size_t i = 0; i < p.messages_n; i++) buffer_free(&p.messages[i].record);
    free(p.messages);
    schema_free(&p.schema);
    cli_close(&p.cli);
    int status = cli_end(v, &why);
    if (v == REJECT) fputs("Nothing was sent.\n", stderr);
    return v == REJECT ? CLI_NO : status;
}
