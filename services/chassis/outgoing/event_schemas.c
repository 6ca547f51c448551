#include "chassis/outgoing/event_schemas.h"

#include "chassis/avro/registry.h"
#include "chassis/base/health.h"
#include "chassis/events/outbox.h"
#include "chassis/outgoing/relay.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSIONS_MAX = 200, NAME_SIZE = 400 };

struct event_schemas {
    const struct relay_options *o;
    const char *topic;
    struct version {
        char type[NAME_SIZE], subject[2 * NAME_SIZE];
        const char *text; /* lives with the outbox, unless it is loaded */
        char *loaded;     /* of an older run */
        int64_t row;      /* of outbox_schema */
        bool given;       /* in place of the program's own */
        bool ready;       /* the registry has it, as id */
        int32_t id;
    } versions[VERSIONS_MAX];
    size_t n;
    bool needed, settled; /* the registry has all but those that were given, and those too */
};

/* NULL: there are too many. */
static struct version *version_add(struct event_schemas *s, const char *type, const char *text, int64_t row) {
    if (s->n == VERSIONS_MAX) return NULL;
    struct version *v = &s->versions[s->n++];
    *v = (struct version){.text = text, .row = row};
    snprintf(v->type, sizeof v->type, "%s", type);
    snprintf(v->subject, sizeof v->subject, "%s-%s", s->topic, type); /* TopicRecordNameStrategy */
    s->needed = s->settled = false;
    return v;
}

static void add_type(void *context, const char *type, const char *text, size_t n) {
    struct event_schemas *s = context;
    const char *given = outbox_given(s->o->outbox, type);
    struct version *v = version_add(s, type, text, outbox_schema_row(s->o->outbox, type, false));
    if (v) registry_publish(s->o->registry, v->subject, text, n);
    v = given ? version_add(s, type, given, outbox_schema_row(s->o->outbox, type, true)) : NULL;
    if (v) v->given = true;
}

struct event_schemas *event_schemas_new(const struct relay_options *o, const char *topic) {
    struct event_schemas *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->o = o;
    s->topic = topic;
    outbox_each(o->outbox, add_type, s);
    return s;
}

void event_schemas_free(struct event_schemas **s) {
    for (size_t i = 0; *s && i < (*s)->n; i++) free((*s)->versions[i].loaded);
    free(*s);
    *s = NULL;
}

/* --- The registry */

static void tell_missing(const struct event_schemas *s, const struct version *v, verdict said, const char *why) {
    if (said == RETRY)
        health_set(
            s->o->health, "schemas", HEALTH_WAITING, "waiting for the registry to take the schema %s %s%s",
            v->given ? "given for" : "of", v->type, v->given ? "; until then its events go by the program's own" : "");
    else if (v->given)
        health_set(
            s->o->health, "schemas", HEALTH_FAILED,
            "the schema given for %s is not used, its events go by the program's own: %s", v->type, why);
    else
        health_set(s->o->health, "schemas", HEALTH_FAILED, "nothing is published: %s", why);
}

/* True: the registry has all of them. */
static bool ask_for(struct event_schemas *s, bool given) {
    struct failure why;
    for (struct version *v = s->versions; v < s->versions + s->n; v++) {
        if (v->ready || v->given != given) continue;
        registry_publish(s->o->registry, v->subject, v->text, strlen(v->text)); /* once is enough */
        verdict said = registry_id(s->o->registry, v->subject, v->text, &v->id, &why);
        v->ready = said == OK;
        if (!v->ready) {
            tell_missing(s, v, said, why.text);
            return false;
        }
        if (given) outbox_adopt(s->o->outbox, v->type);
    }
    return true;
}

bool event_schemas_ready(struct event_schemas *s) {
    size_t given = 0;
    if (s->settled) return true;
    if (!s->needed) s->needed = ask_for(s, false);
    if (!s->needed || !(s->settled = ask_for(s, true))) return s->needed;
    for (size_t i = 0; i < s->n; i++) given += s->versions[i].given;
    if (given)
        health_set(
            s->o->health, "schemas", HEALTH_OK, "%zu registered, of which %zu in use from %s", s->n, given,
            s->o->settings->schemas);
    else
        health_set(s->o->health, "schemas", HEALTH_OK, "%zu registered", s->n);
    return true;
}

/* --- Of a row */

/* What an earlier run encoded by. Its text, if the database has it, is registered like the others. */
static struct version *version_load(struct event_schemas *s, struct connection *c, const char *type, int64_t row) {
    char *text = NULL;
    for (struct rows found = store_rows(
             c, "SELECT text FROM outbox_schema WHERE id = ? AND type = ?", value_int(row), value_text(type));
         rows_next(&found);)
        if (!(text = strdup(rows_text(&found, 0)))) store_spoil(c, RETRY, "out of memory");
    struct version *v = text ? version_add(s, type, text, row) : NULL;
    if (v)
        v->loaded = text;
    else
        free(text);
    return v;
}

verdict event_schemas_id(
    struct event_schemas *s, struct connection *c, const char *type, bool named, int64_t schema_row, int32_t *id,
    struct failure *why) {
    struct version *v = s->versions, *end = v + s->n;
    while (v < end && (named ? v->row != schema_row : v->given || v->loaded || strcmp(v->type, type) != 0)) v++;
    if (v == end) v = named ? version_load(s, c, type, schema_row) : NULL;
    if (!v && store_check(c, why) != OK) return RETRY;
    if (!v) return fail(why, REJECT, "this program has no schema of a %s; run the one that decided it", type);
    *id = v->id;
    return v->ready ? OK : fail(why, RETRY, "its schema is not registered yet");
}
