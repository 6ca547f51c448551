#include "chassis/events/outbox.h"

#include "chassis/avro/codec.h"
#include "chassis/events/event.h"
#include "chassis/store/store.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct version {
    struct schema *schema;
    const char *text;
    int64_t row; /* of outbox_schema. 0: not noted */
    bool given;
};

struct outbox {
    struct own_type {
        struct version own, given; /* given.schema NULL: none was given */
        atomic_bool adopted;       /* given is the one in use */
    } * types;
    size_t n;
};

static bool is_schema(const struct asset *a) {
    size_t n = strlen(a->name);
    bool snapshot = n > 13 && !strcmp(a->name + n - 13, "Snapshot.avsc"); /* snapshots.h */
    return n > 5 && !strcmp(a->name + n - 5, ".avsc") && !snapshot;
}

/* By its full name, or its short one. */
static struct own_type *type_find(const struct outbox *o, const char *name) {
    for (struct own_type *t = o->types; t < o->types + o->n; t++) {
        const char *full = schema_name(t->own.schema);
        if (!strcmp(full, name) || !strcmp(event_name(full), name)) return t;
    }
    return NULL;
}

/* --- A schema that was given */

/* OK as well when there is no such file. */
static verdict given_read(struct own_type *t, const char *folder, struct failure *why) {
    char path[4000];
    struct failure reason;
    const char *type = schema_name(t->own.schema);
    snprintf(path, sizeof path, "%s/%s.avsc", folder, event_name(type));
    FILE *file = fopen(path, "re");
    if (!file && errno == ENOENT) return OK;
    if (!file) return fail(why, REJECT, "schemas: could not read \"%s\": %s", path, strerror(errno));
    char *text = malloc(SCHEMA_BYTES_MAX + 1);
    size_t n = text ? fread(text, 1, SCHEMA_BYTES_MAX + 1, file) : 0;
    bool whole = n <= SCHEMA_BYTES_MAX && !ferror(file);
    fclose(file);
    t->given = (struct version){.text = text, .given = true};
    if (!text) return fail(why, RETRY, "schemas: could not read \"%s\": out of memory", path);
    if (!whole)
        return fail(
            why, REJECT, "schemas: could not read \"%s\", or it is larger than %d bytes", path, SCHEMA_BYTES_MAX);
    text[n] = '\0';
    verdict v = schema_parse(text, n, &t->given.schema, &reason);
    if (v != OK) return fail(why, v, "schemas: \"%s\": %s", path, reason.text);
    if (!strcmp(schema_name(t->given.schema), type)) return OK;
    return fail(
        why, REJECT, "schemas: \"%s\" is the schema of \"%s\"; in this file must be that of \"%s\"", path,
        schema_name(t->given.schema), type);
}

static verdict folder_check(const char *folder, struct failure *why) {
    struct stat is;
    if (stat(folder, &is))
        return fail(why, REJECT, "schemas=\"%.300s\": there is no such folder: %s", folder, strerror(errno));
    return S_ISDIR(is.st_mode) ? OK : fail(why, REJECT, "schemas=\"%.300s\": must be a folder of .avsc files", folder);
}

const char *outbox_given(const struct outbox *o, const char *type) {
    const struct own_type *t = type_find(o, type);
    return t && t->given.schema ? t->given.text : NULL;
}

void outbox_adopt(struct outbox *o, const char *type) {
    struct own_type *t = type_find(o, type);
    if (t && t->given.schema) t->adopted = true;
}

/* --- Open and close */

verdict
outbox_open(struct outbox **out, const struct asset *assets, size_t n, const char *folder, struct failure *why) {
    struct outbox *o = *out = calloc(1, sizeof *o);
    if (!o || !(o->types = calloc(n + 1, sizeof *o->types))) return fail(why, FATAL, "out of memory");
    verdict v = *folder ? folder_check(folder, why) : OK;
    for (const struct asset *a = assets; v == OK && a < assets + n; a++) {
        if (!is_schema(a)) continue;
        struct failure reason;
        struct own_type *t = &o->types[o->n];
        t->own.text = a->bytes;
        if (schema_parse(a->bytes, a->n, &t->own.schema, &reason) != OK)
            return fail(why, FATAL, "could not read the schema file \"%s\": %s", a->name, reason.text);
        o->n++;
        if (*folder) v = given_read(t, folder, why);
    }
    return v;
}

/* The same text has one row. */
static void version_note(struct connection *c, struct version *of) {
    if (!of->schema) return;
    struct value type = value_text(schema_name(of->schema)), text = value_text(of->text);
    of->row = store_int(c, 0, "SELECT id FROM outbox_schema WHERE type = ? AND text = ?", type, text);
    if (!of->row)
        of->row = store_int(c, 0, "INSERT INTO outbox_schema (type, text) VALUES (?, ?) RETURNING id", type, text);
}

verdict outbox_note(struct outbox *o, struct store *store, struct failure *why) {
    if (!o->n) return OK;
    struct connection *c = store_begin(store);
    for (size_t i = 0; i < o->n; i++) {
        version_note(c, &o->types[i].own);
        version_note(c, &o->types[i].given);
    }
    return store_commit(c, why);
}

void outbox_close(struct outbox **out) {
    struct outbox *o = *out;
    if (!o) return;
    for (size_t i = 0; o->types && i < o->n; i++) {
        schema_free(&o->types[i].own.schema);
        schema_free(&o->types[i].given.schema);
        free((char *)o->types[i].given.text);
    }
    free(o->types);
    free(o);
    *out = NULL;
}

/* --- The types */

void outbox_each(
    const struct outbox *o, void (*each)(void *context, const char *type, const char *text, size_t n), void *context) {
    for (size_t i = 0; i < o->n; i++)
        each(context, schema_name(o->types[i].own.schema), o->types[i].own.text, strlen(o->types[i].own.text));
}

int64_t outbox_schema_row(const struct outbox *o, const char *type, bool given) {
    const struct own_type *t = type_find(o, type);
    return !t ? 0 : given ? t->given.row : t->own.row;
}

/* The one in use. */
static const struct version *find_version(const struct outbox *o, const char *name) {
    const struct own_type *t = type_find(o, name);
    return !t ? NULL : t->adopted ? &t->given : &t->own;
}

const char *outbox_type(const struct outbox *o, const char *short_name) {
    const struct version *found = find_version(o, short_name);
    return found ? schema_name(found->schema) : NULL;
}

const json_t *outbox_symbols(const struct outbox *o, const char *short_name, const char *field) {
    const struct version *found = find_version(o, short_name);
    return found ? schema_symbols(found->schema, field) : NULL;
}

/* What every event has (DESIGN: Events). */
static bool add_common(json_t *fields, const struct outgoing *e, struct uuid id, int64_t now) {
    char text[UUID_TEXT], cause[UUID_TEXT];
    json_t *caused_by = e->caused_by ? json_string(uuid_text(*e->caused_by, cause)) : json_null();
    return !json_object_set_new(fields, "caused_by", caused_by) &&
           !json_object_set_new(fields, "event_id", json_string(uuid_text(id, text))) &&
           !json_object_set_new(fields, "version", json_integer(e->version)) &&
           !json_object_set_new(fields, "occurred_at", json_integer(now)) &&
           (!e->return_id || !json_object_set_new(fields, "return_id", json_string(e->return_id)));
}

/* Takes e->fields. */
static verdict encode(
    const struct outbox *o, const struct outgoing *e, struct uuid id, int64_t at, const struct version **by,
    struct buffer *body, struct failure *why) {
    struct failure reason;
    json_auto_t *fields = e->fields;
    *by = find_version(o, e->type);
    if (!*by) return fail(why, REJECT, "could not publish a %s: this service has no such schema", e->type);
    if (!fields || !add_common(fields, e, id, at))
        return fail(why, RETRY, "could not publish a %s: no memory for its fields", e->type);
    if ((*by)->given) schema_prune((*by)->schema, fields);
    verdict v = codec_encode((*by)->schema, fields, body, &reason);
    return v == OK ? OK : fail(why, v, "could not publish a %s: %s", e->type, reason.text);
}

verdict
outbox_preview(const struct outbox *o, const struct outgoing *e, struct uuid id, json_t **data, struct failure *why) {
    buffer_auto body = BUFFER(EVENT_BYTES_MAX);
    const struct version *by;
    verdict v = encode(o, e, id, e->at, &by, &body, why);
    return v == OK ? codec_decode(by->schema, body.data, body.length, data, why) : v;
}

verdict outbox_read(
    const struct outbox *o, const char *type, const char *text, const void *body, size_t n, json_t **data,
    struct failure *why) {
    struct schema *noted = NULL;
    const struct own_type *t = type_find(o, type);
    verdict v = OK;
    if (text)
        v = schema_parse(text, strlen(text), &noted, why);
    else if (!t)
        v = fail(why, REJECT, "could not read a %s: this service has no such schema", type);
    if (v == OK) v = codec_decode(noted ? noted : t->own.schema, body, n, data, why);
    schema_free(&noted);
    return v;
}

verdict outbox_add(
    const struct outbox *o, struct connection *c, const struct outgoing *e, struct uuid *id, struct failure *why) {
    struct uuid event_id = uuid_make();
    int64_t now = e->at ? e->at : clock_ms();
    char trace[TRACE_PARENT];
    buffer_auto body = BUFFER(EVENT_BYTES_MAX);
    const struct version *by;
    verdict v = encode(o, e, event_id, now, &by, &body, why);
    if (v != OK) return v;
    trace_child(e->trace_parent, trace);
    (void)store_run(
        c,
        "INSERT INTO outbox (event_id, type, return_id, body, trace_parent, occurred_at, received_at, "
        "schema_row) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        value_blob(event_id.bytes, 16), value_text(schema_name(by->schema)), value_text(e->key ? e->key : e->return_id),
        value_blob(body.data, body.length), value_text(trace), value_int(now),
        e->received_at ? value_int(e->received_at) : value_text(NULL), by->row ? value_int(by->row) : value_text(NULL));
    if (id) *id = event_id;
    return OK;
}
