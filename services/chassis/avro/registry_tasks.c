#include "chassis/avro/registry_private.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    REFUSED_AGAIN_MS = 10000, /* somebody may mend it on the registry's side */
    REJECTED_FOR_MS = 5000,   /* then a new ask is one more try */
    WAITING_MAX = 400,        /* lookups without an answer, besides those that hold a record up */
    KEPT_MAX = 1000,          /* answers that are kept, */
    KEPT_BYTES = 1 << 25,     /* and what they take */
};

struct task *task_add(struct registry *r, enum step step, int32_t id, const char *subject, const char *reason) {
    size_t n = subject ? strlen(subject) + 1 : 0;
    struct task *t = calloc(1, sizeof *t + n);
    if (!t) return NULL;
    *t = (struct task){.step = step, .id = id, .next = r->tasks, .subject = n ? memcpy(t + 1, subject, n) : NULL};
    (void)!fail(&t->state, RETRY, "%s", reason);
    r->tasks = t;
    curl_multi_wakeup(r->multi);
    return t;
}

void task_free(struct task *t) {
    json_decref(t->said);
    schema_free(&t->schema);
    free(t);
}

static bool too_many_wait(const struct registry *r) {
    size_t n = 0;
    for (const struct task *t = r->tasks; t; t = t->next) n += is_lookup(t) && t->state.kind == RETRY;
    return n >= WAITING_MAX;
}

struct task *task_find(const struct registry *r, enum step step, int32_t id, const char *subject) {
    struct task *t = r->tasks;
    while (t && (t->step != step || t->id != id || (subject && strcmp(t->subject, subject) != 0))) t = t->next;
    return t;
}

void task_again(struct registry *r, struct task *t) {
    t->state.kind = RETRY;
    t->due_at = 0;
    curl_multi_wakeup(r->multi);
}

struct task *task_lookup(struct registry *r, enum step step, int32_t id, const char *subject, bool must) {
    struct task *t = task_find(r, step, id, subject);
    if (!t && (must || !too_many_wait(r)))
        t = task_add(r, step, id, subject, "the schema registry is being asked");
    else if (t && t->state.kind == REJECT && steady_ms() - t->settled_at > REJECTED_FOR_MS)
        task_again(r, t);
    if (t) t->used = ++r->uses;
    return t;
}

void task_wait(struct registry *r, struct task *t, int64_t ms, const char *why) {
    int64_t now = steady_ms(), end = t->doubted_since ? t->doubted_since + r->o.unknown_id_ms : 0;
    t->due_at = end > now && end < now + ms ? end : now + ms;
    if (t->state.kind == RETRY) (void)!fail(&t->state, RETRY, "%s", why); /* a refusal stands until it is taken back */
}

int64_t task_backoff(struct registry *r, struct task *t) {
    int ms = t->attempts < 6 ? BACKOFF_MIN_MS << t->attempts : BACKOFF_MAX_MS;
    t->attempts++;
    return ms / 2 + (int)((unsigned)rand_r(&r->seed) % (unsigned)(ms / 2 + 1));
}

void task_settle(struct registry *r, struct task *t, const struct failure *state) {
    static const char *const done[] = {
        [FETCH] = "schema fetched", [VERSION] = "schema version learnt", [REGISTER] = "schema registered"};
    char id[24];
    bool news = t->state.kind != state->kind || strcmp(t->state.text, state->text) != 0;
    t->state = *state;
    t->attempts = 0;
    t->settled_at = steady_ms();
    t->due_at = t->text && state->kind == REJECT ? t->settled_at + REFUSED_AGAIN_MS : NEVER;
    if (state->kind == OK) t->doubted_since = 0;
    /* Whoever refers to a reference says so. */
    if (!news || t->step == REFERENCE || (t->step == VERSION && state->kind == REJECT)) return;
    if (state->kind == OK)
        log_line(LOG_INFO, done[t->step], "schema_id", log_number(id, t->id), "subject", t->subject, NULL);
    else
        log_line(LOG_ERROR, state->text, "subject", t->subject, NULL);
    r->news = true;
}

static size_t task_bytes(const struct task *t) {
    size_t said = json_string_length(json_object_get(t->said, "schema")) +
                  json_array_size(json_object_get(t->said, "references")) * SUBJECT_MAX;
    return sizeof *t + said + (t->schema ? schema_bytes(t->schema) : 0);
}

void tasks_bound(struct registry *r, const struct task *spared) {
    for (;;) {
        size_t n = 0, bytes = 0;
        struct task **oldest = NULL;
        for (struct task **p = &r->tasks; *p; p = &(*p)->next) {
            const struct task *t = *p;
            if (!is_lookup(t) || t->state.kind == RETRY || t->easy || t == spared) continue;
            n++;
            bytes += task_bytes(t);
            if (!oldest || t->used < (*oldest)->used) oldest = p;
        }
        if (n <= KEPT_MAX && bytes <= KEPT_BYTES) return;
        struct task *t = *oldest;
        *oldest = t->next;
        task_free(t);
    }
}
