#include "support/traditional/compare.h"

#include "support/load/upstream.h"
#include "support/traditional/compare_private.h"
#include "support/traditional/traditional.h"

#include "chassis/pages/call.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/team.h"
#include "chassis/web/caller.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATIENCE_MS = 10000, WARM_MS = 3000, CLIENTS_MAX = 256, BLOCK = 200, WARM_UP = -1 };
/* BLOCK: so many customers of each way have the devices of one order */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all of this */
static pthread_cond_t stop = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static bool joinable;
static int64_t closed; /* started_at of the service that has stopped: it starts no more */
static struct run run;

static int64_t steady_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- The clients */

/* The next customer's number; −1: there is none. Waits for the moment that he comes, *due. */
static int customer_next(struct way *w, int64_t *due) {
    int64_t interval = 1000000 / run.rate;
    pthread_mutex_lock(&lock);
    int k = w->taken < run.rate * run.seconds && !run.stopping ? w->taken++ : -1;
    /* First one way, then the other half an interval later; the next time round in the other order. */
    *due = run.begun_us + k * interval + ((k & 1) == (w == &run.ways[WAY_EVENT]) ? 0 : interval / 2);
    for (int64_t left; k >= 0 && !run.stopping && (left = *due - steady_us()) > 0;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        int64_t ns = until.tv_nsec + left * 1000;
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        pthread_cond_timedwait(&stop, &lock, &until);
    }
    if (run.stopping) k = -1;
    pthread_mutex_unlock(&lock);
    return k;
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
    json_t *body = json_pack(
        "{s:o, s:s, s:o, s:o, s:s, s:o, s:s, s:s}", "order_id", name_of("ORD", k), "model", models[kind_of(k)],
        "shipment_id", name_of("SHP", k), "serial_number", serial_of((int)(w - run.ways), k), "location",
        places[kind_of(k)], "cost", price_of(k), "customer_id", customer, "reason", "The screen stays dark.");
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

static verdict block_place(const char *sales_url, int from, int until, struct failure *why) {
    json_t *items = json_array(), *id = name_of("ORD", from), *shipment = name_of("SHP", from);
    for (int k = from ? from : WARM_UP; k < until; k++)
        for (int way = 0; way < WAYS; way++)
            json_array_append_new(items, upstream_item(models[kind_of(k)], price_of(k), serial_of(way, k)));
    verdict v = upstream_order(sales_url, json_string_value(id), run.customer, json_string_value(shipment), items, why);
    json_decref(items);
    json_decref(id);
    json_decref(shipment);
    return v;
}

/* Has sales take the run's orders, or it would decline every refund. False: it did not; run.without says why. */
static bool orders_place(void) {
    char url[600];
    struct failure why = {0};
    int all = run.rate * run.seconds;
    upstream_url(run.rt, url, sizeof url);
    verdict v = upstream_customer(url, run.customer, "Comparison of both ways", places[0], &why);
    for (int k = 0; v == OK && k < all; k += BLOCK) v = block_place(url, k, k + BLOCK < all ? k + BLOCK : all, &why);
    pthread_mutex_lock(&lock);
    snprintf(run.without, sizeof run.without, "%.290s", v == OK ? "" : why.text);
    pthread_mutex_unlock(&lock);
    return v == OK;
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
    pthread_mutex_lock(&lock);
    w->waits[w->answered++] = (int32_t)(waited < INT32_MAX ? waited : INT32_MAX);
    if (heard->status == w->good) {
        w->accepted++;
    } else if (!run.stopping) {
        w->failed++;
        w->gave_up += !heard->status;
        failure_note(heard);
    }
    pthread_mutex_unlock(&lock);
}

static void customer_serve(struct way *w, int k, int64_t due) {
    struct heard heard = {.why = "the customer waited 10 s in line, and left"};
    int64_t left_ms = PATIENCE_MS - (steady_us() - due) / 1000;
    char *body = left_ms > 0 ? body_make(w, k, run.customer) : NULL;
    struct outcall o = {.url = w->url, .body = body, .connect_ms = (int)left_ms, .total_ms = (int)left_ms};
    if (body) caller_ask(runtime_caller(run.rt), &o, &heard);
    if (body && !heard.status) snprintf(heard.why, sizeof heard.why, "the customer waited 10 s, and left");
    customer_note(w, due, &heard);
    json_decref(heard.said);
    free(body);
}

static void *client_run(void *way) {
    struct way *w = way;
    pthread_setname_np(pthread_self(), "customer");
    int64_t due;
    for (int k; (k = customer_next(w, &due)) >= 0;) customer_serve(w, k, due);
    return NULL;
}

/* --- The run */

static void warm_up_way(const struct way *w) {
    struct heard heard;
    char *body = body_make(w, WARM_UP, "warm-up");
    struct outcall o = {.url = w->url, .body = body, .connect_ms = WARM_MS, .total_ms = WARM_MS};
    if (body) {
        caller_ask(runtime_caller(run.rt), &o, &heard);
        json_decref(heard.said);
    }
    free(body);
}

/* One return by each way that is not counted. */
static void warm_up(void) {
    (void)orders_place();
    warm_up_way(&run.ways[WAY_EVENT]);
    warm_up_way(&run.ways[WAY_CALLS]);
    pthread_mutex_lock(&lock);
    run.begun_at = clock_ms();
    run.begun_us = steady_us();
    run.warm = true;
    pthread_mutex_unlock(&lock);
}

static void *run_drive(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "compare");
    warm_up();
    pthread_t clients[CLIENTS_MAX];
    int n = 0;
    for (int i = 0; i < WAYS; i++)
        for (int k = 0; k < run.ways[i].clients && n < CLIENTS_MAX; k++)
            if (!pthread_create(&clients[n], NULL, client_run, &run.ways[i])) n++;
    while (n) pthread_join(clients[--n], NULL);
    pthread_mutex_lock(&lock);
    run.running = false;
    run.ended_us = steady_us();
    pthread_mutex_unlock(&lock);
    return NULL;
}

static bool way_begin(struct way *w, int port, const char *path, int good, int clients) {
    struct runtime *rt = run.rt;
    const char *host =
        strcmp(runtime_core(rt)->settings->host, "0.0.0.0") ? runtime_core(rt)->settings->host : "127.0.0.1";
    free(w->waits);
    *w = (struct way){.good = good, .clients = clients};
    snprintf(w->url, sizeof w->url, "http://%s:%d%s", host, port, path);
    w->waits = calloc((size_t)(run.rate * run.seconds), sizeof *w->waits);
    return w->waits;
}

/* Under the lock. The traditional way gets as many connections as support has threads for it, the other what is left
 * beside the pages. */
static bool run_begin(struct exchange *x, int rate, int seconds) {
    struct runtime *rt = x->context;
    int threads = (int)runtime_core(rt)->settings->http_threads;
    if (joinable) pthread_join(thread, NULL);
    joinable = run.stopping = run.warm = false;
    run.rt = rt;
    run.rate = rate;
    run.seconds = seconds;
    json_decref(run.failures);
    run.failures = json_object();
    return_id_make(run.id);
    snprintf(run.customer, sizeof run.customer, "compare-%s", run.id);
    if (!way_begin(&run.ways[WAY_CALLS], exchange_port(x), "/api/returns/traditional", 201, (threads + 1) / 2) ||
        !way_begin(&run.ways[WAY_EVENT], exchange_port(x), "/api/returns", 202, threads > 4 ? threads / 4 : 1))
        return false;
    run.begun_at = clock_ms();
    run.begun_us = run.ended_us = steady_us();
    joinable = run.running = !pthread_create(&thread, NULL, run_drive, NULL);
    return run.running;
}

void compare_stop(struct runtime *rt) {
    pthread_mutex_lock(&lock);
    run.stopping = true;
    closed = runtime_started_at(rt);
    pthread_cond_broadcast(&stop);
    bool join = joinable;
    joinable = false;
    pthread_mutex_unlock(&lock);
    if (join) pthread_join(thread, NULL);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < WAYS; i++) free(run.ways[i].waits), run.ways[i] = (struct way){0};
    json_decref(run.failures);
    run.failures = NULL;
    run.begun_at = 0;
    pthread_mutex_unlock(&lock);
}

/* Takes what is to be shown out of the run, so that nobody waits for its being worked out. */
bool run_look(struct run *out) {
    pthread_mutex_lock(&lock);
    *out = run;
    for (int i = 0; i < WAYS; i++) {
        struct way *w = &out->ways[i];
        w->waits = malloc((size_t)(w->answered + 1) * sizeof *w->waits);
        if (w->waits && run.begun_at) memcpy(w->waits, run.ways[i].waits, (size_t)w->answered * sizeof *w->waits);
    }
    out->failures = run.failures ? json_deep_copy(run.failures) : NULL;
    pthread_mutex_unlock(&lock);
    if (out->running && out->warm) out->ended_us = steady_us();
    return out->begun_at && out->ways[0].waits && out->ways[1].waits;
}

/* --- Asking for one */

/* 0: refused, and that is a field of the problem. */
static int number_of(struct exchange *x, const json_t *asked, const char *name, int most) {
    const json_t *value = json_object_get(asked, name);
    const char *text = json_string_value(value);
    json_int_t n = json_integer_value(value);
    if (text && *text && strlen(text) < 6 && !text[strspn(text, "0123456789")]) n = atoi(text);
    if (n >= 1 && n <= most) return (int)n;
    exchange_problem_field(x, name, "must be a whole number from 1 to %d", most);
    return 0;
}

static json_t *asked_of(struct exchange *x) {
    if (x->api) return exchange_json_object(x);
    return exchange_sent(x, SENT_FORM, "Send the form as application/x-www-form-urlencoded.", "No run was started");
}

static void start(struct exchange *x, int rate, int seconds) {
    pthread_mutex_lock(&lock);
    bool busy = run.running;
    bool begun = !busy && runtime_started_at(x->context) != closed && run_begin(x, rate, seconds);
    pthread_mutex_unlock(&lock);
    if (busy)
        exchange_problem(x, 409, "A run is under way already; wait for its end.");
    else if (!begun)
        exchange_problem(x, 503, "No run was started: the service is stopping, or out of memory or threads.");
    else if (!x->api)
        exchange_redirect(x, "/compare");
    else
        x->status = 202, x->data = json_pack("{s:i, s:i}", "rate", rate, "seconds", seconds);
}

void compare_post(struct exchange *x) {
    json_t *asked = drill_allowed(x) && comparison_on(x) ? asked_of(x) : NULL;
    if (!asked) return;
    int rate = number_of(x, asked, "rate", RATE_MAX), seconds = number_of(x, asked, "seconds", SECONDS_MAX);
    if (rate && seconds)
        start(x, rate, seconds);
    else
        exchange_problem(x, 422, "No run was started: rate or seconds is not a number that is possible here.");
    json_decref(asked);
}
