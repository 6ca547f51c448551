#include "chassis/avro/registry_private.h"
#include "chassis/base/json_get.h"

#include <string.h>

enum { REFERENCES_MAX = 64, REFERENCES_DEEP = 16 };

/* The texts of a schema, each behind those that it refers to. */
struct gathered {
    struct registry *r;
    struct schema_text texts[REFERENCES_MAX + 1];
    const struct task *of[REFERENCES_MAX + 1];
    const struct task *path[REFERENCES_DEEP]; /* from the schema to where the search is */
    size_t n, deep, bytes;
    bool missing, doubted;
};

static verdict references_gather(struct gathered *g, const json_t *answer, struct failure *why);

static void text_add(struct gathered *g, const struct task *t, const json_t *text) {
    g->of[g->n] = t;
    g->texts[g->n++] = (struct schema_text){json_string_value(text), json_string_length(text)};
    g->bytes += json_string_length(text);
}

/* With all that it refers to. */
static verdict reference_gather(struct gathered *g, const json_t *reference, struct failure *why) {
    const char *subject = json_get_text(reference, "subject");
    long long version = json_get_int(reference, "version");
    verdict v = OK;
    if (!*subject || version < 1 || version > INT32_MAX)
        return fail(why, REJECT, "one of its references names no subject and version");
    const struct task *t = task_lookup(g->r, REFERENCE, (int32_t)version, subject, true);
    if (!t) return fail(why, RETRY, "out of memory");
    for (size_t i = 0; i < g->n; i++)
        if (g->of[i] == t) return OK; /* two refer to it */
    for (size_t i = 0; i < g->deep; i++)
        if (g->path[i] == t) return fail(why, REJECT, "its reference \"%.100s\" refers to itself", subject);
    if (t->state.kind == REJECT) return fail(why, REJECT, "its reference \"%.100s\": %s", subject, t->state.text);
    if (t->state.kind == OK && g->deep == REFERENCES_DEEP)
        return fail(why, REJECT, "its references are nested deeper than %d", REFERENCES_DEEP);
    if (t->state.kind == OK) {
        g->path[g->deep++] = t;
        v = references_gather(g, t->said, why);
        g->deep--;
    }
    if (v == OK && g->n == REFERENCES_MAX) v = fail(why, REJECT, "it has more than %d references", REFERENCES_MAX);
    if (v != OK) return v;
    g->missing |= t->state.kind != OK;
    g->doubted |= t->doubted_since != 0;
    text_add(g, t, t->state.kind == OK ? json_object_get(t->said, "schema") : NULL);
    return g->bytes <= SCHEMA_BYTES_MAX
               ? OK
               : fail(why, REJECT, "its references have more than the %d bytes that are read", (int)SCHEMA_BYTES_MAX);
}

/* Asks for all that are missing before it returns. */
static verdict references_gather(struct gathered *g, const json_t *answer, struct failure *why) {
    const json_t *references = json_object_get(answer, "references");
    verdict v = OK;
    if (json_array_size(references) > REFERENCES_MAX)
        return fail(why, REJECT, "it has more than %d references", REFERENCES_MAX);
    json_each(i, one, references)
        if (v == OK) v = reference_gather(g, one, why);
    return v;
}

/* --- Answers */

/* What is needed of it. Nothing larger is kept. */
static verdict answer_keep(const json_t *answer, json_t **out, struct failure *why) {
    json_t *text = json_object_get(answer, "schema"), *all = json_object_get(answer, "references");
    const json_t *type = json_object_get(answer, "schemaType");
    json_auto_t *references = json_array();
    if (type && !json_is_null(type) && strcmp(json_get_text(answer, "schemaType"), "AVRO") != 0)
        return fail(why, REJECT, "it is no Avro schema");
    if (json_string_length(text) > SCHEMA_BYTES_MAX)
        return fail(
            why, REJECT, "the schema has %zu bytes; at most %d are read", json_string_length(text),
            (int)SCHEMA_BYTES_MAX);
    json_each(i, one, all) {
        const char *subject = json_get_text(one, "subject");
        json_int_t version = json_get_int(one, "version");
        if (i > REFERENCES_MAX) break;
        if (strlen(subject) > SUBJECT_MAX) subject = "";
        if (json_array_append_new(references, json_pack("{s:s, s:I}", "subject", subject, "version", version)))
            return fail(why, RETRY, "out of memory");
    }
    *out = json_pack("{s:O, s:O}", "schema", text, "references", references);
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static void schema_settle(struct registry *r, struct task *t, verdict v, const struct failure *why) {
    struct failure state = {0};
    if (v == RETRY) {
        task_wait(r, t, task_backoff(r, t), why->text);
        return;
    }
    if (v == REJECT && t->step == FETCH)
        (void)!fail(&state, REJECT, "schema id %d: %s", t->id, why->text);
    else if (v == REJECT)
        state = *why;
    task_settle(r, t, &state);
}

/* With all that it refers to, or as soon as that is there. */
static void schema_read(struct registry *r, struct task *t) {
    struct gathered g = {.r = r};
    struct failure why;
    verdict v = references_gather(&g, t->said, &why);
    if (v == OK && g.missing) {
        if (g.doubted)
            task_doubt(r, t);
        else
            t->doubted_since = 0;
        return;
    }
    text_add(&g, t, json_object_get(t->said, "schema"));
    pthread_mutex_unlock(&r->worker.lock);
    if (v == OK) v = schema_parse_all(g.texts, g.n, &t->schema, &why);
    pthread_mutex_lock(&r->worker.lock);
    json_decref(t->said);
    t->said = NULL;
    if (v == OK) witness_set(r, t->id);
    schema_settle(r, t, v, &why);
}

void references_changed(struct registry *r) {
    for (struct task *t = r->tasks, *next; t; t = next) {
        next = t->next;
        if (t->step != FETCH || !t->said) continue;
        schema_read(r, t);
        tasks_bound(r, next);
    }
}

void schema_answered(struct registry *r, struct task *t, const json_t *answer) {
    struct failure why;
    if (!json_is_string(json_object_get(answer, "schema"))) {
        task_failed(r, t, "its answer holds no \"schema\"");
        return;
    }
    verdict v = answer_keep(answer, &t->said, &why);
    if (v == OK && t->step == FETCH)
        schema_read(r, t);
    else
        schema_settle(r, t, v, &why);
    if (v != RETRY && t->step == REFERENCE) references_changed(r);
}
