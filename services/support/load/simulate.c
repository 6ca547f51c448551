#include "support/load/simulate.h"

#include "support/load/sample.h"
#include "support/load/upstream.h"

#include "chassis/audit/audit.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/team.h"
#include "chassis/web/load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RATE_MAX = 500, SECONDS_MAX = 60, CONNECTIONS = 4, ANSWER_MS = 10000, RATE = 50, SECONDS = 20 };

/* One for the process, as there is one support in it. */
static struct {
    pthread_mutex_t lock; /* guards all that follows */
    pthread_t thread;
    bool started, running, stopping; /* started: the thread has not been joined yet */
    struct sample sample;
    char url[64], sales_url[600];
    char without[300]; /* why its orders are made up; "": they are sales' */
    int64_t rate, seconds, sent, accepted, held, invalid, errors;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- The thread */

static char *body_make(void *unused, int64_t n) {
    (void)unused;
    json_t *body = sample_body(&run.sample, n);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

static void answered(void *unused, const struct load_answer *a) {
    (void)unused;
    pthread_mutex_lock(&run.lock);
    run.sent++;
    ++*(a->status == 202   ? &run.accepted
        : a->status == 409 ? &run.held
        : a->status == 422 ? &run.invalid
                           : &run.errors);
    pthread_mutex_unlock(&run.lock);
}

static bool turn(void *unused) {
    (void)unused;
    pthread_mutex_lock(&run.lock);
    bool go_on = !run.stopping;
    pthread_mutex_unlock(&run.lock);
    return go_on;
}

static bool place_turn(void *unused, int64_t done) {
    (void)done;
    return turn(unused);
}

/* Without its orders sales would decline the refunds, so a run says so. */
static void orders_place(void) {
    struct failure why;
    if (sample_place(&run.sample, run.sales_url, run.rate * run.seconds, place_turn, NULL, &why) == OK) return;
    pthread_mutex_lock(&run.lock);
    snprintf(run.without, sizeof run.without, "%.290s", why.text);
    pthread_mutex_unlock(&run.lock);
}

static void *simulate(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "simulate");
    struct failure why;
    orders_place();
    struct load load = {
        .url = run.url,
        .rate = (double)run.rate,
        .count = run.rate * run.seconds,
        .connections = CONNECTIONS,
        .timeout_ms = ANSWER_MS,
        .body = body_make,
        .answered = answered,
        .turn = turn};
    verdict v = load_run(&load, &why);
    pthread_mutex_lock(&run.lock);
    if (v != OK) run.errors++;
    run.running = false;
    pthread_mutex_unlock(&run.lock);
    return NULL;
}

/* --- Starting and stopping */

static bool run_claim(void) {
    pthread_mutex_lock(&run.lock);
    bool claimed = !run.running;
    run.running = true;
    pthread_mutex_unlock(&run.lock);
    return claimed;
}

static void run_prepare(const struct runtime *rt, int64_t rate, int64_t seconds) {
    bool anywhere = !strcmp(runtime_core(rt)->settings->host, "0.0.0.0");
    run.rate = rate;
    run.seconds = seconds;
    run.sent = run.accepted = run.held = run.invalid = run.errors = 0;
    run.sample = (struct sample){.seed = (uint64_t)clock_ms() % 1000000, .duplicates = 5, .bad = 3};
    sample_run_name(run.sample.run);
    *run.without = '\0';
    upstream_url(rt, run.sales_url, sizeof run.sales_url);
    snprintf(
        run.url, sizeof run.url, "http://%.20s:%d/api/returns",
        anywhere ? "127.0.0.1" : runtime_core(rt)->settings->host, runtime_port(rt));
}

/* What was claimed. Without a rate it is given back. */
static bool run_start(const struct runtime *rt, int64_t rate, int64_t seconds) {
    pthread_mutex_lock(&run.lock);
    run.running = false;
    if (rate && !run.stopping) {
        if (run.started) pthread_join(run.thread, NULL); /* it has ended */
        run_prepare(rt, rate, seconds);
        run.running = run.started = !pthread_create(&run.thread, NULL, simulate, NULL);
    }
    bool running = run.running;
    pthread_mutex_unlock(&run.lock);
    return running;
}

void simulate_stop(struct runtime *rt) {
    (void)rt;
    pthread_mutex_lock(&run.lock);
    bool started = run.started;
    run.stopping = true;
    run.started = false;
    pthread_mutex_unlock(&run.lock);
    if (started) pthread_join(run.thread, NULL);
}

/* --- Asking for one */

static json_t *run_json(void) {
    return json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s?}", "running", run.running, "rate", (json_int_t)run.rate,
        "seconds", (json_int_t)run.seconds, "of", (json_int_t)(run.rate * run.seconds), "submitted",
        (json_int_t)run.sent, "accepted", (json_int_t)run.accepted, "duplicates_refused", (json_int_t)run.held,
        "bad_refused", (json_int_t)run.invalid, "errors", (json_int_t)run.errors, "orders_made_up",
        *run.without ? run.without : NULL);
}

static int64_t number_of(struct exchange *x, const json_t *sent, const char *name, int64_t most) {
    const json_t *value = json_object_get(sent, name);
    const char *text = json_string_value(value);
    int64_t number = json_integer_value(value);
    if (text && *text && strlen(text) <= 9 && !text[strspn(text, "0123456789")]) number = atoi(text);
    if (number >= 1 && number <= most) return number;
    char *given = json_dumps(value, JSON_ENCODE_ANY);
    exchange_problem_field(
        x, name, "%.60s is not a whole number from 1 to %lld", given ? given : "(nothing)", (long long)most);
    free(given);
    return 0;
}

static verdict start_audit(struct exchange *x, int64_t rate, int64_t seconds, struct failure *why) {
    struct runtime *rt = x->context;
    struct connection *c = store_begin(runtime_core(rt)->store);
    char summary[100], trace[TRACE_ID];
    snprintf(summary, sizeof summary, "%lld returns a second for %lld s", (long long)rate, (long long)seconds);
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
    struct runtime *rt = x->context;
    struct failure why;
    int64_t rate = number_of(x, sent, "rate", RATE_MAX), seconds = number_of(x, sent, "seconds", SECONDS_MAX);
    if (exchange_problem_fields(x)) {
        exchange_problem(x, 422, "Nothing was started: how much load is not clear.");
        return;
    }
    if (!run_claim()) {
        exchange_problem(x, 409, "Nothing was started: one is running. /api/simulate says how far it is.");
        return;
    }
    verdict v = start_audit(x, rate, seconds, &why);
    if (!run_start(rt, v == OK ? rate : 0, seconds))
        exchange_problem(x, 503, "Nothing was started: %s.", v == OK ? "the service has no thread for it" : why.text);
    else if (x->api)
        x->status = 202, simulate_get(x);
    else
        exchange_redirect(x, "/#simulate");
}

void simulate_post(struct exchange *x) {
    if (!drill_allowed(x)) return;
    json_t *sent = exchange_sent(
        x, x->api ? SENT_FORM | SENT_JSON : SENT_FORM,
        "Send it as application/x-www-form-urlencoded, or under /api as JSON.", "Nothing was started");
    if (sent) start(x, sent);
    json_decref(sent);
}

/* --- Showing it */

void simulate_get(struct exchange *x) {
    if (!drill_allowed(x)) return;
    if (!x->api) {
        exchange_redirect(x, "/#simulate");
        return;
    }
    pthread_mutex_lock(&run.lock);
    x->data = run_json();
    pthread_mutex_unlock(&run.lock);
}

json_t *simulate_view(const struct exchange *x) {
    const struct runtime *rt = x->context;
    if (!runtime_core(rt)->settings->drills) return NULL;
    pthread_mutex_lock(&run.lock);
    json_t *view = run_json();
    bool any = run.rate;
    pthread_mutex_unlock(&run.lock);
    json_object_set_new(view, "any", json_boolean(any));
    json_object_set_new(view, "rate_max", json_integer(RATE_MAX));
    json_object_set_new(view, "seconds_max", json_integer(SECONDS_MAX));
    if (any) return view;
    json_object_set_new(view, "rate", json_integer(RATE));
    json_object_set_new(view, "seconds", json_integer(SECONDS));
    return view;
}
