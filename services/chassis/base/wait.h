/* wait: locks, and conditions that are waited for until a moment of steady_ms(), which no step of the wall clock moves.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

static inline pthread_mutex_t *lock_begin(pthread_mutex_t *mutex) {
    pthread_mutex_lock(mutex);
    return mutex;
}

static inline void lock_end(pthread_mutex_t **mutex) {
    pthread_mutex_unlock(*mutex);
}

/* Holds the mutex from here to the end of the block, whichever way the block is left. */
#define lock_auto(mutex) pthread_mutex_t *held __attribute__((cleanup(lock_end), unused)) = lock_begin(mutex)

void wait_init(pthread_cond_t *news); /* in place of pthread_cond_init(). Destroyed as any */

/* Waits for a signal. The lock is held. False: the moment has come. True as well for none at all, as conditions do. */
bool wait_until(pthread_cond_t *news, pthread_mutex_t *lock, int64_t steady);

/* A thread of its own, with a lock, that is told to end. */
struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;    /* for the thread: something to do, or the end */
    bool running, stopping; /* stopping: under the lock */
};
/* The lock is there before the thread. False: no thread could be made, and there is nothing to stop. */
bool worker_start(struct worker *w, const char *name, void *(*run)(void *argument), void *argument);
/* By the thread, under the lock: waits until that moment of steady_ms(). False: it is told to end. */
bool worker_rest(struct worker *w, int64_t until);
bool worker_pause(struct worker *w, int64_t until); /* the same, without the lock */
void worker_end(struct worker *w);  /* tells it to end, and does not wait. Nothing where none was started */
void worker_stop(struct worker *w); /* waits for the thread. Nothing where none was started */

/* A limit on a call that nobody can interrupt, such as one into a library: `over` is called, on a thread of the limit's
 * own, when limit_end() did not come in time. Without a thread there is no limit. */
struct limit {
    struct worker worker;
    int64_t until;
    void (*over)(const char *why); /* any thread. Must not wait for the call */
    const char *why;
};
void limit_begin(struct limit *l, int64_t ms, void (*over)(const char *why), const char *why);
void limit_end(struct limit *l);
