#include "chassis/base/wait.h"

#include "chassis/base/ids.h"

#include <errno.h>
#include <time.h>

void wait_init(pthread_cond_t *news) {
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(news, &steady);
    pthread_condattr_destroy(&steady);
}

bool wait_until(pthread_cond_t *news, pthread_mutex_t *lock, int64_t steady) {
    struct timespec until = {steady / 1000, steady % 1000 * 1000000};
    return pthread_cond_timedwait(news, lock, &until) != ETIMEDOUT;
}

bool worker_start(struct worker *w, const char *name, void *(*run)(void *argument), void *argument) {
    *w = (struct worker){0};
    pthread_mutex_init(&w->lock, NULL);
    wait_init(&w->news);
    w->running = !pthread_create(&w->thread, NULL, run, argument);
    if (w->running) pthread_setname_np(w->thread, name);
    return w->running;
}

bool worker_rest(struct worker *w, int64_t until) {
    while (!w->stopping && wait_until(&w->news, &w->lock, until)) continue;
    return !w->stopping;
}

bool worker_pause(struct worker *w, int64_t until) {
    lock_auto(&w->lock);
    return worker_rest(w, until);
}

void worker_end(struct worker *w) {
    if (!w->running) return;
    lock_auto(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->news);
}

void worker_stop(struct worker *w) {
    if (!w->running) return;
    worker_end(w);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->lock);
    w->running = false;
}

static void *limit_watch(void *limit) {
    struct limit *l = limit;
    if (worker_pause(&l->worker, l->until)) l->over(l->why);
    return NULL;
}

void limit_begin(struct limit *l, int64_t ms, void (*over)(const char *why), const char *why) {
    *l = (struct limit){.until = steady_ms() + ms, .over = over, .why = why};
    (void)worker_start(&l->worker, "limit", limit_watch, l);
}

void limit_end(struct limit *l) {
    worker_stop(&l->worker);
}
