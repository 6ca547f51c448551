#include "chassis/pages/drill_view.h"

#include "chassis/audit/audit.h"
#include "chassis/base/log.h"
#include "chassis/incoming/consumer.h"
#include "chassis/incoming/drill.h"
#include "chassis/pages/page.h"
#include "chassis/web/idempotency.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

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

/* False: refused. */
static bool wish_read(struct exchange *x, const json_t *sent, struct wish *w) {
    static const struct wish wishes[] = {
        {"pause", DRILL_PAUSED, false, 0},
        {"slow", DRILL_SLOW, false, 0},
        {"crash", DRILL_NONE, true, 0},
        {"go-on", DRILL_NONE, false, 0}};
    const char *word = json_string_value(json_object_get(sent, "mode"));
    const json_t *ms = json_object_get(sent, "ms"); /* a number, or a form's text of one */
    *w = (struct wish){0};
    for (size_t i = 0; word && i < sizeof wishes / sizeof *wishes; i++)
        if (!strcmp(wishes[i].word, word)) *w = wishes[i];
    if (!w->word)
        exchange_problem_field(
            x, "mode", "\"%.60s\" is not one of pause, slow, crash, go-on", word ? word : "(nothing)");
    if (w->mode == DRILL_SLOW) w->ms = json_is_string(ms) ? page_id(json_string_value(ms)) : json_integer_value(ms);
    if (w->mode == DRILL_SLOW && (w->ms < 1 || w->ms > DRILL_MS_MAX)) {
        text_auto given = json_dumps(ms, JSON_ENCODE_ANY);
        exchange_problem_field(
            x, "ms", "%.60s is not a whole number from 1 to %d", given ? given : "(nothing)", DRILL_MS_MAX);
    }
    return exchange_fields_ok(x, 422, "Nothing was changed: this drill cannot be understood.");
}

static void audit_wish(struct exchange *x, struct connection *c, const struct wish *w) {
    char summary[100], trace[TRACE_ID];
    snprintf(
        summary, sizeof summary,
        w->mode == DRILL_SLOW ? "slow: %lld ms an event"
        : w->crash            ? "crash: the process ends at once"
        : w->mode             ? "pause: nothing more is taken"
                              : "go on as usual",
        (long long)w->ms);
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
    if (!x->api && !w->crash)
        exchange_redirect(x, "/status#drill");
    else
        x->data = json_pack(
            "{s:o, s:o*, s:o*}", "drill", drill_json(state), "crashed", w->crash ? json_true() : NULL, "heading",
            x->api ? NULL : json_string("Crashed, as asked"));
}

struct granting {
    struct exchange *x;
    const struct wish *wish;
};

static verdict wish_commit(void *granting, struct drill_state state, struct failure *why) {
    const struct granting *g = granting;
    struct runtime *rt = g->x->context;
    struct connection *c = store_begin(rt->core.store);
    audit_wish(g->x, c, g->wish);
    answer(g->x, g->wish, state);
    return exchange_commit(g->x, c, why);
}

void drill_post(struct exchange *x) {
    struct runtime *rt = x->context;
    struct wish w;
    struct failure why;
    if (!drill_allowed(x)) return;
    json_auto_t *sent = exchange_sent(
        x, x->api ? SENT_FORM | SENT_JSON : SENT_FORM,
        "Send the drill as application/x-www-form-urlencoded, or under /api as JSON.", "Nothing was changed");
    if (!sent || !wish_read(x, sent, &w)) return;
    struct drill_change change = {
        .stays = w.crash, .mode = w.mode, .ms = w.ms, .commit = wish_commit, .context = &(struct granting){x, &w}};
    if (drill_change(rt->drill, &change, &why) != OK) {
        exchange_problem(x, 503, "Nothing was changed, since it could not be audited: %s.", why.text);
        return;
    }
    if (w.crash) x->after = crash;
    consumer_wake(rt->consumer);
}

/* --- Showing it */

void drill_get(struct exchange *x) {
    struct runtime *rt = x->context;
    if (!drill_allowed(x)) return;
    x->data = json_pack("{s:o}", "drill", drill_json(drill_now(rt->drill)));
    if (x->api) return;
    json_object_set_new(x->data, "heading", json_string("Drills"));
    drill_decorate(x, x->data);
}

void drill_decorate(const struct exchange *x, json_t *data) {
    struct runtime *rt = x->context;
    if (!rt->core.settings->drills) return;
    struct drill_state s = drill_now(rt->drill);
    json_object_set_new(
        data, "drills",
        json_pack(
            "{s:b, s:b, s:I, s:I, s:o}", "paused", s.mode == DRILL_PAUSED, "slow", s.mode == DRILL_SLOW, "ms",
            (json_int_t)(s.mode == DRILL_SLOW ? s.ms : 1000), "ms_max", (json_int_t)DRILL_MS_MAX, "since",
            time_json(s.since)));
}
