#include "support/load/simulate.h"

#include "support/load/job.h"
#include "support/load/sample.h"
#include "support/load/upstream.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/wait.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/team.h"
#include "chassis/web/load.h"

#include <stdio.h>
#include <string.h>

enum { RATE_MAX = 500, SECONDS_MAX = 60, CONNECTIONS = 4, ANSWER_MS = 10000, RATE = 50, SECONDS = 20 };

/* One for the process, as there is one support in it. */
static void simulate(void);
static struct job job = JOB("simulate", simulate);
static struct {
    struct sample sample;
    struct amount amount;
    char url[64], sales_url[600];
    char without[300]; /* why its orders are made up. "": they are sales' */
    int64_t sent, accepted, held, invalid, errors;
} run;

/* --- The thread */

static void answered(void *unused, const struct load_answer *a) {
    (void)unused;
    lock_auto(&job.lock);
    run.sent++;
    ++*(a->status == 202   ? &run.accepted
        : a->status == 409 ? &run.held
        : a->status == 422 ? &run.invalid
                           : &run.errors);
}

static bool turn(void *unused) {
    (void)unused;
    return !job.stopping;
}

static bool place_turn(void *unused, int64_t done) {
    (void)done;
    return turn(unused);
}

/* Without its orders sales would decline the refunds, so a run says so. */
static void simulate(void) {
    struct failure why;
    int64_t count = run.amount.rate * run.amount.seconds;
    bool placed = sample_place(&run.sample, run.sales_url, count, place_turn, NULL, &why) == OK;
    pthread_mutex_lock(&job.lock);
    snprintf(run.without, sizeof run.without, "%.290s", placed ? "" : why.text);
    pthread_mutex_unlock(&job.lock);
    struct load load = {
        .url = run.url,
        .rate = (double)run.amount.rate,
        .count = count,
        .connections = CONNECTIONS,
        .timeout_ms = ANSWER_MS,
        .context = &run.sample,
        .body = sample_text,
        .answered = answered,
        .turn = turn};
    verdict v = load_run(&load, &why);
    lock_auto(&job.lock);
    run.errors += v != OK;
}

void simulate_stop(struct runtime *rt) {
    job_stop(&job, rt);
}

/* --- Asking for one */

static void run_prepare(const struct runtime *rt, struct amount amount) {
    const char *host = runtime_core(rt)->settings->host;
    lock_auto(&job.lock);
    memset(&run, 0, sizeof run);
    run.amount = amount;
    run.sample = (struct sample){.seed = (uint64_t)clock_ms() % 1000000, .duplicates = 5, .bad = 3};
    sample_run_name(run.sample.run);
    upstream_url(rt, run.sales_url, sizeof run.sales_url);
    snprintf(
        run.url, sizeof run.url, "http://%.20s:%d/api/returns", strcmp(host, "0.0.0.0") != 0 ? host : "127.0.0.1",
        runtime_port(rt));
}

static verdict start_audit(struct exchange *x, struct amount amount, struct failure *why) {
    struct connection *c = store_begin(runtime_core(x->context)->store);
    char summary[100], trace[TRACE_ID];
    snprintf(
        summary, sizeof summary, "%lld returns a second for %lld s", (long long)amount.rate, (long long)amount.seconds);
    audit_append(
        c, &(struct audit_row){
               .action = "simulate",
               .outcome = "accepted",
               .actor = x->api ? "api" : "form",
               .summary = summary,
               .trace_id = trace_id(x->trace_parent, trace)});
    return store_commit(c, why);
}

static void start(struct exchange *x, const json_t *sent) {
    struct failure why;
    struct amount amount, most = {RATE_MAX, SECONDS_MAX};
    if (!amount_read(x, sent, most, &amount, "Nothing was started: how much load is not clear.")) return;
    if (!job_claim(&job, x->context)) {
        exchange_problem(x, 409, "Nothing was started: one is running. /api/simulate says how far it is.");
        return;
    }
    verdict v = start_audit(x, amount, &why);
    if (v == OK) run_prepare(x->context, amount);
    if (!job_start(&job, v == OK))
        exchange_problem(x, 503, "Nothing was started: %s.", v == OK ? "the service has no thread for it" : why.text);
    else if (x->api)
        x->status = 202, simulate_get(x);
    else
        exchange_redirect(x, "/#simulate");
}

void simulate_post(struct exchange *x) {
    if (!drill_allowed(x)) return;
    json_auto_t *sent = exchange_sent(
        x, x->api ? SENT_FORM | SENT_JSON : SENT_FORM,
        "Send it as application/x-www-form-urlencoded, or under /api as JSON.", "Nothing was started");
    if (sent) start(x, sent);
}

/* --- Showing it */

static json_t *run_look(void) {
    lock_auto(&job.lock);
    return json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s?}", "running", job.running, "rate",
        (json_int_t)run.amount.rate, "seconds", (json_int_t)run.amount.seconds, "of",
        (json_int_t)(run.amount.rate * run.amount.seconds), "submitted", (json_int_t)run.sent, "accepted",
        (json_int_t)run.accepted, "duplicates_refused", (json_int_t)run.held, "bad_refused", (json_int_t)run.invalid,
        "errors", (json_int_t)run.errors, "orders_made_up", *run.without ? run.without : NULL);
}

void simulate_get(struct exchange *x) {
    if (!drill_allowed(x)) return;
    if (x->api)
        x->data = run_look();
    else
        exchange_redirect(x, "/#simulate");
}

json_t *simulate_view(const struct exchange *x) {
    if (!runtime_core(x->context)->settings->drills) return NULL;
    json_t *view = run_look();
    bool any = json_get_int(view, "rate");
    json_add(view, "{s:b, s:i, s:i}", "any", any, "rate_max", RATE_MAX, "seconds_max", SECONDS_MAX);
    if (!any) json_add(view, "{s:i, s:i}", "rate", RATE, "seconds", SECONDS);
    return view;
}
