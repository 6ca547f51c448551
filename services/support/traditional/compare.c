#include "support/traditional/compare.h"

#include "support/load/upstream.h"
#include "support/traditional/compare_private.h"

#include "chassis/base/wait.h"
#include "chassis/pages/call.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/team.h"
#include "chassis/web/caller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, WARM_MS = 3000, LOOK_US = 100000, CLIENTS_MAX = 256, BLOCK = 200, WARM_UP = -1 };
/* BLOCK: so many customers of each way have the devices of one order */

static void drive(void);
static struct job job = JOB("compare", drive); /* its lock guards the run */
static struct run run;

static int64_t steady_us(void) {
    return clock_us(CLOCK_MONOTONIC);
}

/* --- The clients */

static int64_t customers(void) {
    return run.amount.rate * run.amount.seconds;
}

/* The next customer's number. −1: there is none. Waits for the moment that he comes, *due. */
static int customer_next(struct way *w, int64_t *due) {
    int64_t interval = 1000000 / run.amount.rate, left;
    pthread_mutex_lock(&job.lock);
    int k = w->taken < customers() ? w->taken++ : -1;
    pthread_mutex_unlock(&job.lock);
    /* First one way, then the other half an interval later. The next time round in the other order. */
    *due = run.begun_us + k * interval + ((k & 1) == (w == &run.ways[WAY_EVENT]) ? 0 : interval / 2);
    while (k >= 0 && !job.stopping && (left = *due - steady_us()) > 0)
        usleep((useconds_t)(left < LOOK_US ? left : LOOK_US));
    return job.stopping ? -1 : k;
}

/* --- Their returns: customer k's device is one of an order of the run's */

static const char *const models[] = {"Aurora 14 laptop", "Comet router", "Dune headset"};
static const char *const places[] = {"Berlin", "Lyon", "Kraków"};

static int kind_of(int k) {
    return k < 0 ? 0 : k % 3;
}

static json_t *name_of(const char *prefix, int k) {
    return json_sprintf("%s-%s-%d", prefix, run.id + 2, k < 0 ? 0 : k / BLOCK);
}

static json_t *serial_of(int way, int k) {
    return json_sprintf("SN-%s-%c%d", run.id + 2, way == WAY_EVENT ? 'E' : 'T', k);
}

static json_t *price_of(int k) {
    return json_pack("{s:o, s:s}", "amount", json_sprintf("%d.90", 50 + k % 200), "currency", "EUR");
}

/* By its customer the run's are told from the rest. */
static char *body_make(const struct way *w, int k, const char *customer) {
    json_auto_t *body = json_pack(
        "{s:o, s:s, s:o, s:o, s:s, s:o, s:s, s:s}", "order_id", name_of("ORD", k), "model", models[kind_of(k)],
        "shipment_id", name_of("SHP", k), "serial_number", serial_of((int)(w - run.ways), k), "location",
        places[kind_of(k)], "cost", price_of(k), "customer_id", customer, "reason", "The screen stays dark.");
    return json_dumps(body, JSON_COMPACT);
}

static verdict block_place(const char *sales_url, int from, int until, struct failure *why) {
    json_auto_t *items = json_array(), *id = name_of("ORD", from), *shipment = name_of("SHP", from);
    for (int k = from ? from : WARM_UP; k < until; k++)
        for (int way = 0; way < WAYS; way++)
            json_array_append_new(items, upstream_item(models[kind_of(k)], price_of(k), serial_of(way, k)));
    return upstream_order(sales_url, json_string_value(id), run.customer, json_string_value(shipment), items, why);
}

/* Has sales take the run's orders, or it would decline every refund. run.without says why it did not. */
static void orders_place(void) {
    char url[600];
    struct failure why = {0};
    int all = (int)customers();
    upstream_url(run.rt, url, sizeof url);
    verdict v = upstream_customer(url, run.customer, "Comparison of both ways", places[0], &why);
    for (int k = 0; v == OK && k < all; k += BLOCK) v = block_place(url, k, k + BLOCK < all ? k + BLOCK : all, &why);
    lock_auto(&job.lock);
    snprintf(run.without, sizeof run.without, "%.290s", v == OK ? "" : why.text);
}

/* --- What became of them */

static void failure_note(const struct heard *heard) {
    const char *detail = json_string_value(json_object_get(heard->said, "detail"));
    const char *since = detail ? strstr(detail, ", since ") : NULL; /* the reason, without what is counted elsewhere */
    const char *reason = since ? since + strlen(", since ") : detail ? detail : heard->why;
    json_t *n = json_object_get(run.failures, reason);
    if (n || json_object_size(run.failures) < FAILURES_MAX)
        json_object_set_new(run.failures, reason, json_integer(json_integer_value(n) + 1));
}

static void customer_note(struct way *w, int64_t due, const struct heard *heard) {
    int64_t waited = steady_us() - due;
    lock_auto(&job.lock);
    w->waits[w->answered++] = (double)waited;
    if (heard->status == w->good) {
        w->accepted++;
    } else if (!job.stopping) {
        w->failed++;
        w->gave_up += !heard->status;
        failure_note(heard);
    }
}

/* A return's way from its submission to its answer. total_ms: the customer's patience. */
static void submit(const struct way *w, int k, const char *customer, int64_t total_ms, struct heard *heard) {
    text_auto body = body_make(w, k, customer);
    struct outcall o = {.url = w->url, .body = body, .connect_ms = (int)total_ms, .total_ms = (int)total_ms};
    if (body) caller_ask(runtime_caller(run.rt), &o, heard);
}

static void *client_run(void *way) {
    struct way *w = way;
    pthread_setname_np(pthread_self(), "customer");
    int64_t due;
    for (int k; (k = customer_next(w, &due)) >= 0;) {
        struct heard heard = {.why = "the customer waited 10 s in line, and left"};
        int64_t left_ms = PATIENCE_MS - (steady_us() - due) / 1000;
        if (left_ms > 0) submit(w, k, run.customer, left_ms, &heard);
        if (left_ms > 0 && !heard.status) snprintf(heard.why, sizeof heard.why, "the customer waited 10 s, and left");
        customer_note(w, due, &heard);
        json_decref(heard.said);
    }
    return NULL;
}

/* --- The run */

/* One return by each way that is not counted. */
static void warm_up(void) {
    orders_place();
    for (int i = WAYS; i-- > 0;) {
        struct heard heard = {0};
        submit(&run.ways[i], WARM_UP, "warm-up", WARM_MS, &heard);
        json_decref(heard.said);
    }
    lock_auto(&job.lock);
    run.begun_at = clock_ms();
    run.begun_us = steady_us();
    run.warm = true;
}

static void drive(void) {
    pthread_t clients[CLIENTS_MAX];
    int n = 0;
    warm_up();
    for (int i = 0; i < WAYS; i++)
        for (int k = 0; k < run.ways[i].clients && n < CLIENTS_MAX; k++)
            if (!pthread_create(&clients[n], NULL, client_run, &run.ways[i])) n++;
    while (n) pthread_join(clients[--n], NULL);
    lock_auto(&job.lock);
    run.ended_us = steady_us();
}

static void run_free(struct run *r) {
    for (int i = 0; i < WAYS; i++) free(r->ways[i].waits);
    json_decref(r->failures);
    *r = (struct run){0};
}

static bool way_begin(struct way *w, int port, const char *path, int good, int clients) {
    const char *host = runtime_core(run.rt)->settings->host;
    *w = (struct way){.good = good, .clients = clients};
    snprintf(w->url, sizeof w->url, "http://%s:%d%s", strcmp(host, "0.0.0.0") != 0 ? host : "127.0.0.1", port, path);
    w->waits = calloc((size_t)customers(), sizeof *w->waits);
    return w->waits;
}

/* The traditional way gets as many connections as support has threads for it, the other what is left beside the pages.
 */
static bool run_begin(struct exchange *x, struct amount amount) {
    int threads = (int)runtime_core(x->context)->settings->http_threads;
    lock_auto(&job.lock);
    run_free(&run);
    run = (struct run){.rt = x->context, .amount = amount, .failures = json_object(), .begun_at = clock_ms()};
    run.begun_us = run.ended_us = steady_us();
    return_id_make(run.id);
    snprintf(run.customer, sizeof run.customer, "compare-%s", run.id);
    bool begun =
        way_begin(&run.ways[WAY_CALLS], exchange_port(x), "/api/returns/traditional", 201, (threads + 1) / 2) &&
        way_begin(&run.ways[WAY_EVENT], exchange_port(x), "/api/returns", 202, threads > 4 ? threads / 4 : 1);
    if (!begun) run_free(&run);
    return begun;
}

void compare_stop(struct runtime *rt) {
    job_stop(&job, rt);
    lock_auto(&job.lock);
    run_free(&run);
}

/* Takes what is to be shown out of the run, so that nobody waits for its being worked out. */
bool run_look(struct run *out) {
    lock_auto(&job.lock);
    *out = run;
    out->running = job.running;
    out->failures = json_deep_copy(run.failures);
    for (int i = 0; i < WAYS; i++) {
        struct way *w = &out->ways[i];
        w->waits = malloc((size_t)(w->answered + 1) * sizeof *w->waits);
        if (w->waits && w->answered) memcpy(w->waits, run.ways[i].waits, (size_t)w->answered * sizeof *w->waits);
    }
    if (out->running && out->warm) out->ended_us = steady_us();
    return out->begun_at && out->ways[0].waits && out->ways[1].waits;
}

/* --- Asking for one */

static void start(struct exchange *x, struct amount amount) {
    if (!job_claim(&job, x->context))
        exchange_problem(x, 409, "A run is under way already; wait for its end.");
    else if (!job_start(&job, run_begin(x, amount)))
        exchange_problem(x, 503, "No run was started: the service is stopping, or out of memory or threads.");
    else if (!x->api)
        exchange_redirect(x, "/compare");
    else
        x->status = 202,
        x->data = json_pack("{s:I, s:I}", "rate", (json_int_t)amount.rate, "seconds", (json_int_t)amount.seconds);
}

void compare_post(struct exchange *x) {
    static const char otherwise[] = "Send the form as application/x-www-form-urlencoded.";
    struct amount amount, most = {RATE_MAX, SECONDS_MAX};
    if (!drill_allowed(x) || !comparison_on(x)) return;
    json_auto_t *asked =
        x->api ? exchange_json_object(x) : exchange_sent(x, SENT_FORM, otherwise, "No run was started");
    if (asked &&
        amount_read(
            x, asked, most, &amount, "No run was started: rate or seconds is not a number that is possible here."))
        start(x, amount);
}
