#include "chassis/web/load.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"
#include "chassis/web/caller.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MAX = 32 << 20, CONNECTIONS_MAX = 64, TURN_MS = 100 };

struct run {
    const struct load *l;
    struct caller *caller;
    pthread_mutex_t lock; /* guards what follows. Held while a function of the load runs */
    pthread_cond_t news;
    int64_t began_us, began_at, next;
    int busy; /* clients */
    bool enough, failed;
};

static verdict
ask(struct caller *c, const char *url, const char *body, int timeout_ms, struct heard *heard, struct buffer *answer) {
    struct outcall o = {.url = url, .body = body, .connect_ms = timeout_ms, .total_ms = timeout_ms};
    (void)caller_try(c, &o, heard, answer);
    return heard->status ? OK : RETRY;
}

/* Waits until request n is due, and sends it. Under the lock, but for the waits. */
static void request_run(struct run *r, int64_t n) {
    const struct load *l = r->l;
    buffer_auto answer = BUFFER(ANSWER_MAX);
    struct heard heard = {0};
    int64_t after_us = (int64_t)((double)n / l->rate * 1e6), due_us = r->began_us + after_us;
    struct timespec due = {due_us / 1000000, due_us % 1000000 * 1000};
    while (!r->enough && clock_us(CLOCK_MONOTONIC) < due_us)
        pthread_cond_clockwait(&r->news, &r->lock, CLOCK_MONOTONIC, &due);
    text_auto body = r->enough ? NULL : l->body(l->context, n);
    r->failed |= !body && !r->enough;
    r->enough |= r->failed;
    if (!body) return;
    pthread_mutex_unlock(&r->lock);
    bool heard_of = ask(r->caller, l->url, body, l->timeout_ms, &heard, &answer) == OK;
    double ms = (double)(clock_us(CLOCK_MONOTONIC) - due_us) / 1000;
    pthread_mutex_lock(&r->lock);
    struct load_answer a = {
        heard.status,
        !heard_of     ? heard.why
        : answer.data ? answer.data
                      : "",
        ms, r->began_at + after_us / 1000};
    if (!r->enough) l->answered(l->context, &a);
}

static void *client_run(void *run) {
    struct run *r = run;
    lock_auto(&r->lock);
    while (!r->enough && r->next < r->l->count) request_run(r, r->next++);
    r->busy--;
    pthread_cond_broadcast(&r->news);
    return NULL;
}

/* What is under way when it was enough is given up. */
verdict load_run(const struct load *l, struct failure *why) {
    struct run r = {
        .l = l, .lock = PTHREAD_MUTEX_INITIALIZER, .began_us = clock_us(CLOCK_MONOTONIC), .began_at = clock_ms()};
    pthread_t clients[CONNECTIONS_MAX];
    int n = 0;
    if (caller_start(&r.caller, why) != OK) return RETRY;
    wait_init(&r.news);
    pthread_mutex_lock(&r.lock);
    while (n < l->connections && n < CONNECTIONS_MAX && !pthread_create(&clients[n], NULL, client_run, &r)) n++;
    r.busy = n;
    r.failed = n == 0;
    while (r.busy && !r.enough) {
        r.enough = l->turn && !l->turn(l->context);
        if (!r.enough) (void)wait_until(&r.news, &r.lock, steady_ms() + TURN_MS);
    }
    if (r.enough) caller_cut(r.caller);
    pthread_cond_broadcast(&r.news);
    pthread_mutex_unlock(&r.lock);
    while (n) pthread_join(clients[--n], NULL);
    pthread_cond_destroy(&r.news);
    caller_stop(&r.caller);
    return r.failed ? fail(why, RETRY, "out of memory") : OK;
}

/* --- One request */

verdict load_ask(const char *url, const char *body, int timeout_ms, int *status, char **text, struct failure *why) {
    struct caller *c;
    struct heard heard = {0};
    buffer_auto answer = BUFFER(ANSWER_MAX);
    if (caller_start(&c, why) != OK) return RETRY;
    verdict v = ask(c, url, body, timeout_ms, &heard, &answer);
    caller_stop(&c);
    *status = heard.status;
    *text = v == OK ? strdup(answer.data ? answer.data : "") : NULL;
    return *text ? OK : fail(why, RETRY, "%s: %s", url, v == OK ? "out of memory" : heard.why);
}

/* --- Figures */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double load_percentile(double *values, size_t n, double p) {
    if (!n) return 0;
    qsort(values, n, sizeof *values, compare);
    size_t rank = (size_t)((double)n * p / 100 + 0.999999);
    return values[rank ? rank - 1 : 0];
}
