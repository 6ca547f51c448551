#include "chassis/avro/refusal.h"
#include "chassis/avro/registry_private.h"
#include "chassis/base/format.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/metrics.h"

#include <stdlib.h>
#include <string.h>

enum { SLOW = 4 /* the part of a request's time limit that the witness may take */ };

/* --- Doubts */

static void doubt_end(struct registry *r, struct task *t) {
    t->doubted_since = 0;
    if (t->confirmations) t->due_at = steady_ms() + task_backoff(r, t);
    t->confirmations = 0;
}

/* The registry is away, or not well: what it said of ids before says nothing, as one that was away may be a while in
 * knowing again what it knew. */
static void doubts_end(struct registry *r) {
    for (struct task *t = r->tasks; t; t = t->next) doubt_end(r, t);
}

void task_failed(struct registry *r, struct task *t, const char *format, ...) {
    struct failure why;
    char reason[sizeof t->reason];
    format_arguments(reason, format);
    strcpy(t->reason, reason);
    (void)!fail(&why, RETRY, "waiting for the schema registry at %s: %s", r->shown, reason);
    metric_add(METRIC_registry_failures, 1);
    switch (t->step) {
    case FETCH:
    case REFERENCE: /* it is not due until the witness is heard */
        if (t->state.kind == RETRY && !t->doubted_since) t->state = why;
        t->confirmations = 2 + (int)((unsigned)rand_r(&r->seed) % 2);
        if (!r->witness->easy) r->witness->due_at = 0;
        return;
    case VERSION: /* whoever wants to know it asks again */
        why.kind = REJECT;
        task_settle(r, t, &why);
        return;
    case WITNESS: doubts_end(r); break;
    default: break;
    }
    health_set(r->o.health, "registry", HEALTH_WAITING, "%s", why.text);
    task_wait(r, t, t->step == WITNESS ? INT32_MAX : task_backoff(r, t), why.text);
}

void witness_set(struct registry *r, int32_t id) {
    if (r->witness->easy) return;
    r->witness->id = id;
    r->witness_known = true;
}

void task_doubt(struct registry *r, struct task *t) {
    if (t->doubted_since) return;
    t->doubted_since = t->asked_at;
    r->news = true; /* to whoever waits for it, whose patience may be at its end */
}

/* The registry answers, and not with this: once that has lasted, it is the last word. */
__attribute__((format(printf, 3, 4))) static void
task_denied(struct registry *r, struct task *t, const char *format, ...) {
    bool over =
        t->doubted_since && steady_ms() - t->doubted_since >= r->o.unknown_id_ms; /* never by its first answer */
    struct failure why = {.kind = REJECT};
    format_arguments(why.text, format);
    if (over) {
        task_settle(r, t, &why);
        return;
    }
    task_doubt(r, t);
    task_wait(r, t, task_backoff(r, t), why.text);
}

/* Registries may lag behind each other, so that an id is there a moment later. */
static void lookup_unknown(struct registry *r, struct task *t) {
    if (t->step == FETCH)
        task_denied(r, t, "the schema registry at %s does not know the schema id %d", r->shown, t->id);
    else
        task_denied(
            r, t, "the schema registry at %s does not know version %d of \"%.100s\"", r->shown, t->id, t->subject);
    if (t->step == REFERENCE) references_changed(r);
}

/* The witness was answered rightly: so what failed before failed by itself. But of a registry that has so much to do
 * that the witness waits as well, an id without an answer in time says nothing. */
static void witness_heard(struct registry *r) {
    bool more = false, slow = steady_ms() - r->witness->asked_at > r->o.timeout_ms / SLOW;
    for (struct task *t = r->tasks; t; t = t->next) {
        if (!t->confirmations) continue;
        if (slow && t->unanswered)
            doubt_end(r, t);
        else if (--t->confirmations)
            more = true;
        else
            task_denied(
                r, t, "the schema registry at %s answers others, and to %s %d: %s", r->shown,
                t->step == FETCH ? "schema id" : "a reference's version", t->id, t->reason);
    }
    references_changed(r);
    task_wait(r, r->witness, more ? 0 : INT32_MAX, "");
}

/* --- Answers */

/* What the registry says of its refusal, in its own words, without the Java class that some begin with. */
static const char *answer_message(const struct task *t, const json_t *answer) {
    const char *message = json_string_value(json_object_get(answer, "message"));
    if (!message) message = t->answer.data ? t->answer.data : "";
    const char *exception = strstr(message, "Exception: ");
    if (exception && strcspn(message, " ") > (size_t)(exception - message)) message = exception + strlen("Exception: ");
    return *message ? message : "no reason given";
}

static void answer_failed(struct registry *r, struct task *t, long status, const json_t *answer) {
    const char *hint = status == 401 || status == 403 ? " (are its user and password right?)"
                       : status == 404                ? " (is its URL right?)"
                                                      : "";
    task_failed(r, t, "it answered %ld%s: %s", status, hint, answer_message(t, answer));
}

static void witness_answered(struct registry *r, struct task *t, bool missing, long status, const json_t *answer) {
    bool given = status / 100 == 2 && json_is_string(json_object_get(answer, "schema"));
    if (given || (missing && !r->witness_known)) {
        health_set(r->o.health, "registry", HEALTH_OK, "the schema registry at %s answers", r->shown);
        witness_heard(r);
    } else if (missing) {
        task_failed(r, t, "it does not know the schema id %d any more", t->id);
    } else {
        answer_failed(r, t, status, answer);
    }
}

static void registered(struct registry *r, struct task *t, const json_t *answer) {
    const json_t *id = json_object_get(answer, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) {
        task_failed(r, t, "its answer to registering \"%s\" holds no \"id\"", t->subject);
        return;
    }
    t->id = (int32_t)json_integer_value(id);
    witness_set(r, t->id);
    task_settle(r, t, &(struct failure){0});
}

static void publish_refused(struct registry *r, struct task *t, long status, const json_t *answer) {
    struct failure why;
    buffer_auto reason = BUFFER(4000);
    refusal_write(&reason, answer_message(t, answer), t->text);
    (void)!fail(
        &why, REJECT, "the schema registry refuses the schema of \"%s\" (%ld): %s", t->subject, status,
        reason.data ? reason.data : "out of memory");
    t->step = CONFIGURE;
    task_settle(r, t, &why);
}

/* [{"subject","version"}]. One that was deleted from its subject, or is in none, has no version. */
static void version_answered(struct registry *r, struct task *t, const json_t *answer) {
    t->version = (int)json_integer_value(json_object_get(json_array_get(answer, 0), "version"));
    task_settle(r, t, &(struct failure){0});
}

static void answer_ok(struct registry *r, struct task *t, const json_t *answer) {
    switch (t->step) {
    case REGISTER: registered(r, t, answer); return;
    case CONFIGURE:
        t->step = REGISTER;
        t->attempts = 0;
        task_wait(r, t, 0, "being registered");
        return;
    default: schema_answered(r, t, answer);
    }
}

/* The status decides. A 404 is about the schema only if it says so as a registry does: a wrong URL gives one as well,
 * and must not get records quarantined. That something is there already says nothing against a schema: a registry that
 * was just started refuses so what it has not read back yet. */
void task_answered(struct registry *r, struct task *t, long status) {
    pthread_mutex_unlock(&r->worker.lock);
    json_auto_t *answer = json_loadb(t->answer.data ? t->answer.data : "", t->answer.length, JSON_ALLOW_NUL, NULL);
    pthread_mutex_lock(&r->worker.lock);
    json_int_t code = json_integer_value(json_object_get(answer, "error_code"));
    bool missing = status == 404 && !t->text && (code == 404 || code / 100 == 404);
    bool refused =
        t->step == REGISTER && (status == 409 || status == 422) && !strstr(answer_message(t, answer), "already exists");
    bool good = status / 100 == 2;
    if (t->step == WITNESS) {
        witness_answered(r, t, missing, status, answer);
        return;
    }
    if (missing || refused || good)
        health_set(r->o.health, "registry", HEALTH_OK, "the schema registry at %s answers", r->shown);
    if (t->step == VERSION && (missing || good))
        version_answered(r, t, answer);
    else if (missing)
        lookup_unknown(r, t);
    else if (refused)
        publish_refused(r, t, status, answer);
    else if (good && json_is_object(answer))
        answer_ok(r, t, answer);
    else
        answer_failed(r, t, status, answer);
}
