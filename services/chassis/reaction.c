#include "chassis/reaction.h"

#include "chassis/codec.h"
#include "chassis/log.h"
#include "chassis/metrics.h"
#include "chassis/registry.h"
#include "chassis/utf8.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUMMARY_MAX = 1000 };

struct reaction_private {
    const struct runtime *rt;
    struct failure failure; /* of an emit; kind OK while there is none */
    const char *outcome, *action;
    char summary[SUMMARY_MAX];
};

/* --- Decoding */

static void read_place(const struct runtime *rt, struct record *r) {
    const rd_kafka_message_t *m = r->message;
    const char *topic = rd_kafka_topic_name(m->rkt), *namespace = rt->settings->namespace;
    r->event.topic = topic;
    r->event.partition = m->partition;
    r->event.offset = m->offset;
    if (*namespace) topic += strlen(namespace) + 1;
    snprintf(r->source, sizeof r->source, "%.*s", (int)(strlen(topic) - strlen(".events")), topic);
    r->event.source = r->source;
    /* The key is the return's id; should it be something else, the audit row goes without one. */
    if (!m->key || m->key_len >= sizeof r->key || !utf8_valid(m->key, m->key_len) || memchr(m->key, 0, m->key_len))
        return;
    memcpy(r->key, m->key, m->key_len);
    r->event.return_id = r->key;
}

/* The header's text, or "" when it is absent or does not fit. */
static void read_header(const struct record *r, const char *name, char *out, size_t size) {
    rd_kafka_headers_t *headers;
    const void *value = NULL;
    size_t n = 0;
    if (!rd_kafka_message_headers(r->message, &headers)) rd_kafka_header_get_last(headers, name, &value, &n);
    if (!value || n >= size || memchr(value, 0, n)) n = 0;
    if (n) memcpy(out, value, n);
    out[n] = '\0';
}

static void read_headers(struct record *r) {
    read_header(r, "traceparent", r->trace, sizeof r->trace);
    if (!trace_valid(r->trace)) trace_make(r->trace);
    r->event.trace_parent = r->trace;
    /* Pages link to it, so nothing but a web address will do. */
    read_header(r, "ce_source", r->source_url, sizeof r->source_url);
    bool is_url = !strncmp(r->source_url, "http://", 7) || !strncmp(r->source_url, "https://", 8);
    if (!is_url || !utf8_valid(r->source_url, strlen(r->source_url))) r->source_url[0] = '\0';
    r->event.source_url = r->source_url;
}

/* What every event has (DESIGN: Events). */
static verdict read_common(struct record *r) {
    struct common {
        const char *event_id, *return_id;
        int64_t version, occurred_at;
    } common;
    static const struct field fields[] = {
        FIELD_TEXT(struct common, event_id),
        FIELD_TEXT(struct common, return_id),
        FIELD_INT(struct common, version),
        FIELD_INT(struct common, occurred_at),
    };
    if (project(r->data, fields, sizeof fields / sizeof *fields, &common, &r->why) != OK) return REJECT;
    if (!uuid_parse(common.event_id, &r->event.id))
        return fail(&r->why, REJECT, "event_id \"%.60s\" is not a UUID", common.event_id);
    r->has_id = true;
    if (!*common.return_id) return fail(&r->why, REJECT, "return_id is empty");
    r->event.return_id = common.return_id;
    r->event.version = common.version;
    r->event.occurred_at = common.occurred_at;
    r->event.data = r->data;
    return OK;
}

static verdict read_value(const struct runtime *rt, struct record *r) {
    int32_t id;
    const void *body;
    size_t n;
    const struct schema *schema;
    verdict v = frame_read(r->message->payload, r->message->len, &id, &body, &n, &r->why);
    if (v != OK) return v;
    v = registry_schema(rt->registry, id, &schema, &r->why);
    if (v != OK) return v;
    r->event.type = schema_name(schema);
    v = codec_decode(schema, body, n, &r->data, &r->why);
    return v == OK ? read_common(r) : v;
}

verdict
record_decode(const struct runtime *rt, const rd_kafka_message_t *message, struct record *out, struct failure *why) {
    *out = (struct record){.message = message};
    read_place(rt, out);
    read_headers(out);
    out->state = read_value(rt, out);
    if (out->state != RETRY) return OK;
    record_free(out);
    return fail(why, RETRY, "%s", out->why.text);
}

void record_free(struct record *record) {
    json_decref(record->data);
    record->data = NULL;
}

/* --- What a handler calls */

void reaction_emit(struct reaction *r, const char *type, json_t *fields) {
    struct reaction_private *p = r->private;
    struct outgoing e = {
        .type = type,
        .return_id = r->event->return_id,
        .version = r->event->version,
        .caused_by = &r->event->id,
        .trace_parent = r->event->trace_parent,
        .fields = fields,
    };
    struct failure why;
    if (outbox_add(p->rt->outbox, r->store, &e, NULL, &why) != OK && p->failure.kind == OK) p->failure = why;
}

void reaction_audit(struct reaction *r, const char *outcome, const char *action, const char *summary_format, ...) {
    struct reaction_private *p = r->private;
    p->outcome = outcome;
    p->action = action;
    va_list arguments;
    va_start(arguments, summary_format);
    vsnprintf(p->summary, sizeof p->summary, summary_format, arguments);
    va_end(arguments);
}

/* --- Applying */

static void audit_record(
    struct connection *c, const struct record *r, const char *outcome, const char *action, const char *summary) {
    char trace[TRACE_ID];
    audit_append(
        c, &(struct audit_row){
               .action = action,
               .outcome = outcome,
               .actor = r->source,
               .return_id = r->event.return_id,
               .event_id = r->has_id ? &r->event.id : NULL,
               .event_type = r->event.type,
               .topic = r->event.topic,
               .partition = r->event.partition,
               .offset = r->event.offset,
               .summary = summary,
               .trace_id = trace_id(r->trace, trace)});
}

/* Values are text where they are UTF-8, else {"hex":…}. NULL: out of memory. */
static char *headers_json(const rd_kafka_message_t *m) {
    json_t *all = json_array();
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t n;
    bool whole = all != NULL;
    for (size_t i = 0;
         whole && !rd_kafka_message_headers(m, &headers) && !rd_kafka_header_get_all(headers, i, &name, &value, &n);
         i++) {
        bool is_text = !value || utf8_valid(value, n);
        struct buffer hex = BUFFER(2 * EVENT_BYTES_MAX);
        if (!is_text) buffer_hex(&hex, value, n);
        json_t *shown = !value    ? json_null()
                        : is_text ? json_stringn(value, n)
                                  : json_pack("{s:s}", "hex", hex.data ? hex.data : "");
        whole = !hex.failed && !json_array_append_new(all, json_pack("[s, o]", name, shown));
        buffer_free(&hex);
    }
    char *text = whole ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    return text;
}

static void quarantine(struct connection *c, const struct record *r, const char *reason) {
    const rd_kafka_message_t *m = r->message;
    char *headers = headers_json(m);
    if (!headers) {
        store_spoil(c, RETRY, "could not keep a record's headers: out of memory");
        return;
    }
    (void)store_run(
        c,
        "INSERT INTO dead_letter (at, topic, partition, record_offset, record_key, headers, value, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        value_int(clock_ms()), value_text(r->event.topic), value_int(m->partition), value_int(m->offset),
        value_blob(m->key, m->key_len), value_text(headers), value_blob(m->payload, m->len), value_text(reason));
    free(headers);
    audit_record(c, r, "quarantined", "quarantine", reason);
    metric_add(METRIC_events_quarantined, 1);
    char trace[TRACE_ID];
    log_line(
        LOG_WARNING, "record quarantined", "topic", r->event.topic, "reason", reason, "trace",
        trace_id(r->trace, trace), NULL);
}

static const struct handler *handler_of(const struct service *s, const char *type) {
    const struct handler *any = NULL;
    for (const struct handler *h = s->handlers; h && h->type; h++) {
        if (!strcmp(h->type, type)) return h;
        if (!strcmp(h->type, "*")) any = h;
    }
    return any;
}

static bool first_time(struct connection *c, const struct uuid *id) {
    return store_run(
               c, "INSERT INTO event_seen (event_id) VALUES (?) ON CONFLICT DO NOTHING", value_blob(id->bytes, 16)) ==
           1;
}

/* The handler's effect and its audit row. REJECT: the caller takes back what was done. */
static verdict handle(
    const struct runtime *rt, struct connection *c, const struct record *r, const struct handler *h,
    struct failure *why) {
    struct reaction_private private = {.rt = rt, .outcome = "handled", .action = "handle"};
    struct reaction reaction = {&r->event, c, &private};
    _Alignas(max_align_t) char fields[1024];
    if (h->size > sizeof fields)
        return fail(why, FATAL, "the projection of %s is larger than %zu bytes", h->type, sizeof fields);
    snprintf(private.summary, sizeof private.summary, "%s", r->event.type);
    verdict v = h->fields ? project(r->data, h->fields, h->fields_n, fields, why) : OK;
    if (v == OK) v = h->handle(&reaction, h->fields ? fields : NULL, why);
    if (v == OK && private.failure.kind != OK) v = fail(why, private.failure.kind, "%s", private.failure.text);
    if (v == OK) audit_record(c, r, private.outcome, private.action, private.summary);
    if (v == OK && store_state(c) == REJECT) v = fail(why, REJECT, "%s", store_error(c));
    return v;
}

static void
handle_or_quarantine(const struct runtime *rt, struct connection *c, const struct record *r, const struct handler *h) {
    struct failure why;
    store_savepoint(c);
    if (!first_time(c, &r->event.id)) {
        audit_record(c, r, "duplicate", "ignore", "this event had its effect before");
        metric_add(METRIC_events_duplicate, 1);
    } else {
        verdict v = handle(rt, c, r, h, &why);
        if (v == RETRY || v == FATAL) store_spoil(c, v, why.text); /* not the event's fault: nothing is kept */
        if (store_state(c) == RETRY || store_state(c) == FATAL) return;
        if (v == REJECT) {
            store_undo(c);
            quarantine(c, r, why.text);
            return;
        }
    }
    store_release(c);
}

void record_apply(const struct runtime *rt, struct connection *c, const struct record *r) {
    const struct handler *h = r->state == OK ? handler_of(rt->service, r->event.type) : NULL;
    if (h) {
        handle_or_quarantine(rt, c, r, h);
    } else if (r->state == OK) {
        audit_record(c, r, "skipped", "skip", "an event of no concern to this service");
        metric_add(METRIC_events_skipped, 1);
    } else {
        quarantine(c, r, r->why.text);
    }
}
