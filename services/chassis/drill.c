#include "chassis/drill.h"

#include "chassis/audit.h"
#include "chassis/consumer.h"
#include "chassis/idempotency.h"
#include "chassis/log.h"
#include "chassis/page.h"
#include "chassis/wait.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct drill {
    pthread_mutex_t change; /* one at a time, so that the audit log has them in the order in which they held */
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t news;
    struct drill_state state;
    bool ended;
};

struct drill *drill_new(void) {
    struct drill *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    pthread_mutex_init(&d->change, NULL);
    pthread_mutex_init(&d->lock, NULL);
    wait_init(&d->news);
    return d;
}

void drill_free(struct drill **out) {
    struct drill *d = *out;
    if (!d) return;
    pthread_cond_destroy(&d->news);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->change);
    free(d);
    *out = NULL;
}

static struct drill_state state_make(enum drill_mode mode, int64_t ms) {
    return (struct drill_state){mode, mode == DRILL_SLOW ? ms : 0, clock_ms()};
}

static void state_set(struct drill *d, struct drill_state state) {
    pthread_mutex_lock(&d->lock);
    d->state = state;
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->lock);
}

void drill_set(struct drill *d, enum drill_mode mode, int64_t ms) {
    state_set(d, state_make(mode, ms));
}

struct drill_state drill_now(struct drill *d) {
    if (!d) return (struct drill_state){0};
    pthread_mutex_lock(&d->lock);
    struct drill_state state = d->state;
    pthread_mutex_unlock(&d->lock);
    return state;
}

static json_t *state_json(struct drill_state s) {
    char since[TIME_TEXT];
    if (s.mode == DRILL_NONE) return json_null();
    return json_pack(
        "{s:s, s:I, s:s}", "mode", s.mode == DRILL_PAUSED ? "paused" : "slow", "ms", (json_int_t)s.ms, "since",
        time_text(s.since, since));
}

json_t *drill_json(struct drill *d) {
    return state_json(drill_now(d));
}

/* --- Waiting */

bool drill_delay(struct drill *d, int64_t most_ms) {
    int64_t began = steady_ms(), now = began;
    if (!d) return true;
    pthread_mutex_lock(&d->lock);
    for (; !d->ended && d->state.mode != DRILL_NONE; now = steady_ms()) {
        int64_t until = began + (d->state.mode == DRILL_SLOW ? d->state.ms : most_ms);
        if (now >= until) break;
        (void)wait_until(&d->news, &d->lock, until);
    }
    bool go_on = !d->ended && d->state.mode != DRILL_PAUSED;
    pthread_mutex_unlock(&d->lock);
    return go_on;
}

void drill_end(struct drill *d) {
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->ended = true;
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->lock);
}

/* --- Asking for one */

struct wish {
    const char *word;
    enum drill_mode mode;
    bool crash;
    int64_t ms;
};

bool drill_allowed(struct exchange *x) {
    struct runtime *rt = x->context;
    if (rt->core.settings->drills) return true;
    exchange_problem(
        x, 403, "Drills are not allowed here: %s was started without --drills (or RETURNS_DRILLS=1).",
        rt->core.settings->service);
    return false;
}

/* A number, or a form's text of one; −1: neither. */
static int64_t whole_number(const json_t *value) {
    const char *text = json_string_value(value);
    if (json_is_integer(value)) return json_integer_value(value);
    return text && *text && strlen(text) <= 9 && !text[strspn(text, "0123456789")] ? atoi(text) : -1;
}

/* False: refused. */
static bool wish_read(struct exchange *x, const json_t *sent, struct wish *w) {
    static const struct wish wishes[] = {
        {"pause", DRILL_PAUSED, false, 0},
        {"slow", DRILL_SLOW, false, 0},
        {"crash", DRILL_NONE, true, 0},
        {"go-on", DRILL_NONE, false, 0}};
    const char *word = json_string_value(json_object_get(sent, "mode"));
    *w = (struct wish){0};
    for (size_t i = 0; word && i < sizeof wishes / sizeof *wishes; i++)
        if (!strcmp(wishes[i].word, word)) *w = wishes[i];
    if (!w->word)
        exchange_problem_field(
            x, "mode", "\"%.60s\" is not one of pause, slow, crash, go-on", word ? word : "(nothing)");
    if (w->mode == DRILL_SLOW) w->ms = whole_number(json_object_get(sent, "ms"));
    if (w->mode == DRILL_SLOW && (w->ms < 1 || w->ms > DRILL_MS_MAX)) {
        char *given = json_dumps(json_object_get(sent, "ms"), JSON_ENCODE_ANY);
        exchange_problem_field(
            x, "ms", "%.60s is not a whole number from 1 to %d", given ? given : "(nothing)", DRILL_MS_MAX);
        free(given);
    }
    if (!exchange_problem_fields(x)) return true;
    exchange_problem(x, 422, "Nothing was changed: this drill cannot be understood.");
    return false;
}

static void audit_wish(struct exchange *x, struct connection *c, const struct wish *w) {
    char summary[100], trace[TRACE_ID];
    snprintf(summary, sizeof summary, "slow: %lld ms an event", (long long)w->ms);
    if (w->mode != DRILL_SLOW)
        snprintf(
            summary, sizeof summary, "%s",
            w->crash  ? "crash: the process ends at once"
            : w->mode ? "pause: nothing more is taken"
                      : "go on as usual");
    audit_append(
        c, &(struct audit_row){
               .action = "drill",
               .outcome = "accepted",
               .actor = x->api ? "api" : "form",
               .summary = summary,
               .trace_id = trace_id(x->trace_parent, trace)});
}

static void crash(struct exchange *x) {
    (void)x;
    log_line(LOG_WARNING, "crashing, as a drill", NULL);
    (void)raise(SIGKILL); /* no handler, no destructor, no flush */
}

static void answer(struct exchange *x, const struct wish *w, struct drill_state state) {
    if (!x->api && !w->crash) {
        exchange_redirect(x, "/status#drill");
        return;
    }
    x->data = json_pack("{s:o}", "drill", state_json(state));
    if (w->crash) json_object_set_new(x->data, "crashed", json_true());
    if (!x->api) json_object_set_new(x->data, "heading", json_string("Crashed, as asked"));
}

static verdict wish_grant(struct exchange *x, const struct wish *w, struct failure *why) {
    struct runtime *rt = x->context;
    pthread_mutex_lock(&rt->drill->change);
    struct drill_state state = w->crash ? drill_now(rt->drill) : state_make(w->mode, w->ms);
    struct connection *c = store_begin(rt->core.store);
    audit_wish(x, c, w);
    answer(x, w, state);
    verdict v = exchange_commit(x, c, why);
    if (v == OK && w->crash) x->after = crash;
    if (v == OK && !w->crash) state_set(rt->drill, state);
    pthread_mutex_unlock(&rt->drill->change);
    if (v == OK) consumer_wake(rt->consumer);
    return v;
}

/* NULL: answered. */
static json_t *body_of(struct exchange *x) {
    json_t *sent = NULL;
    struct failure why;
    bool form = exchange_type_is(x, "application/x-www-form-urlencoded");
    if (!form && !(x->api && exchange_type_is(x, "application/json"))) {
        exchange_problem(x, 415, "Send the drill as application/x-www-form-urlencoded, or under /api as JSON.");
        return NULL;
    }
    if ((form ? exchange_form(x, &sent, &why) : exchange_json(x, &sent, &why)) == OK) return sent;
    exchange_problem(x, why.kind == REJECT ? 400 : 503, "Nothing was changed: %s.", why.text);
    return NULL;
}

void drill_post(struct exchange *x) {
    struct wish w;
    struct failure why;
    json_t *sent = drill_allowed(x) ? body_of(x) : NULL;
    if (!sent) return;
    if (wish_read(x, sent, &w) && wish_grant(x, &w, &why) != OK)
        exchange_problem(x, 503, "Nothing was changed, since it could not be audited: %s.", why.text);
    json_decref(sent);
}

/* --- Showing it */

void drill_get(struct exchange *x) {
    struct runtime *rt = x->context;
    if (!drill_allowed(x)) return;
    x->data = json_pack("{s:o}", "drill", drill_json(rt->drill));
    if (x->api) return;
    json_object_set_new(x->data, "heading", json_string("Drills"));
    drill_decorate(x, x->data);
}

void drill_decorate(const struct exchange *x, json_t *data) {
    struct runtime *rt = x->context;
    if (!rt->core.settings->drills) return;
    struct drill_state s = drill_now(rt->drill);
    json_t *shown = json_pack(
        "{s:b, s:b, s:I, s:I}", "paused", s.mode == DRILL_PAUSED, "slow", s.mode == DRILL_SLOW, "ms",
        (json_int_t)(s.mode == DRILL_SLOW ? s.ms : 1000), "ms_max", (json_int_t)DRILL_MS_MAX);
    char since[TIME_TEXT];
    json_object_set_new(shown, "since", json_string(time_text(s.since, since)));
    page_add_moment(shown, "since", "since_text");
    json_object_set_new(data, "drills", shown);
}
