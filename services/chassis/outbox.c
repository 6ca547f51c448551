#include "chassis/outbox.h"

#include "chassis/codec.h"

#include <stdlib.h>
#include <string.h>

struct outbox {
    struct own_type {
        struct schema *schema;
        const struct asset *file;
    } * types;
    size_t n;
};

static bool is_schema(const struct asset *a) {
    size_t n = strlen(a->name);
    bool snapshot = n > 13 && !strcmp(a->name + n - 13, "Snapshot.avsc"); /* snapshots.h */
    return n > 5 && !strcmp(a->name + n - 5, ".avsc") && !snapshot;
}

verdict outbox_open(struct outbox **out, const struct asset *assets, size_t n, struct failure *why) {
    struct outbox *o = *out = calloc(1, sizeof *o);
    if (!o || !(o->types = calloc(n + 1, sizeof *o->types))) return fail(why, FATAL, "out of memory");
    for (const struct asset *a = assets; a < assets + n; a++) {
        if (!is_schema(a)) continue;
        struct failure reason;
        if (schema_parse(a->bytes, a->n, &o->types[o->n].schema, &reason) != OK)
            return fail(why, FATAL, "could not read the schema file \"%s\": %s", a->name, reason.text);
        o->types[o->n++].file = a;
    }
    return OK;
}

void outbox_close(struct outbox **out) {
    struct outbox *o = *out;
    if (!o) return;
    for (size_t i = 0; o->types && i < o->n; i++) schema_free(&o->types[i].schema);
    free(o->types);
    free(o);
    *out = NULL;
}

void outbox_each(
    const struct outbox *o, void (*each)(void *context, const char *type, const char *text, size_t n), void *context) {
    for (size_t i = 0; i < o->n; i++)
        each(context, schema_name(o->types[i].schema), o->types[i].file->bytes, o->types[i].file->n);
}

static const struct schema *find_full(const struct outbox *o, const char *type) {
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(schema_name(o->types[i].schema), type)) return o->types[i].schema;
    return NULL;
}

static const struct schema *find_type(const struct outbox *o, const char *short_name) {
    for (size_t i = 0; i < o->n; i++) {
        const char *name = schema_name(o->types[i].schema), *dot = strrchr(name, '.');
        if (!strcmp(dot ? dot + 1 : name, short_name)) return o->types[i].schema;
    }
    return NULL;
}

const char *outbox_type(const struct outbox *o, const char *short_name) {
    const struct schema *schema = find_type(o, short_name);
    return schema ? schema_name(schema) : NULL;
}

const json_t *outbox_symbols(const struct outbox *o, const char *short_name, const char *field) {
    const struct schema *schema = find_type(o, short_name);
    return schema ? schema_symbols(schema, field) : NULL;
}

/* What every event has (DESIGN: Events). */
static bool add_common(json_t *fields, const struct outgoing *e, struct uuid id, int64_t now) {
    char text[UUID_TEXT], cause[UUID_TEXT];
    json_t *caused_by = e->caused_by ? json_string(uuid_text(*e->caused_by, cause)) : json_null();
    return !json_object_set_new(fields, "caused_by", caused_by) && /* first: it is made already */
           !json_object_set_new(fields, "event_id", json_string(uuid_text(id, text))) &&
           (!e->return_id || !json_object_set_new(fields, "return_id", json_string(e->return_id))) &&
           !json_object_set_new(fields, "version", json_integer(e->version)) &&
           !json_object_set_new(fields, "occurred_at", json_integer(now));
}

/* Takes e->fields. */
static verdict encode(
    const struct outbox *o, const struct outgoing *e, struct uuid id, int64_t at, const struct schema **schema,
    struct buffer *body, struct failure *why) {
    struct failure reason = {0};
    verdict v = OK;
    *schema = find_type(o, e->type);
    if (!*schema)
        v = fail(why, REJECT, "could not publish a %s: this service has no such schema", e->type);
    else if (!e->fields || !add_common(e->fields, e, id, at))
        v = fail(why, RETRY, "could not publish a %s: no memory for its fields", e->type);
    else if ((v = codec_encode(*schema, e->fields, body, &reason)) != OK)
        v = fail(why, v, "could not publish a %s: %s", e->type, reason.text);
    json_decref(e->fields);
    return v;
}

verdict
outbox_preview(const struct outbox *o, const struct outgoing *e, struct uuid id, json_t **data, struct failure *why) {
    struct buffer body = BUFFER(EVENT_BYTES_MAX);
    const struct schema *schema;
    verdict v = encode(o, e, id, e->at, &schema, &body, why);
    if (v == OK) v = codec_decode(schema, body.data, body.length, data, why);
    buffer_free(&body);
    return v;
}

verdict
outbox_read(const struct outbox *o, const char *type, const void *body, size_t n, json_t **data, struct failure *why) {
    const struct schema *schema = find_full(o, type);
    if (!schema) return fail(why, REJECT, "could not read a %s: this service has no such schema", type);
    return codec_decode(schema, body, n, data, why);
}

verdict outbox_add(
    const struct outbox *o, struct connection *c, const struct outgoing *e, struct uuid *id, struct failure *why) {
    struct uuid event_id = uuid_make();
    int64_t now = e->at ? e->at : clock_ms();
    char trace[TRACE_PARENT];
    struct buffer body = BUFFER(EVENT_BYTES_MAX);
    const struct schema *schema;
    verdict v = encode(o, e, event_id, now, &schema, &body, why);
    if (v == OK) {
        trace_child(e->trace_parent, trace);
        (void)store_run(
            c,
            "INSERT INTO outbox (event_id, type, return_id, body, trace_parent, occurred_at, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            value_blob(event_id.bytes, 16), value_text(schema_name(schema)), value_text(e->key ? e->key : e->return_id),
            value_blob(body.data, body.length), value_text(trace), value_int(now),
            e->received_at ? value_int(e->received_at) : value_text(NULL));
        if (id) *id = event_id;
    }
    buffer_free(&body);
    return v;
}
