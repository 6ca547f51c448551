/* ThreadSanitizer knows pthread's calls only, and librdkafka uses C11's. In glibc the two share their types, so in that
 * build each C11 call is sent on to its twin: the sanitizer then sees librdkafka's threads and what orders them. */
#if defined(__SANITIZE_THREAD__)

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(
    sizeof(mtx_t) == sizeof(pthread_mutex_t) && sizeof(cnd_t) == sizeof(pthread_cond_t), "glibc's C11 types");

struct start {
    thrd_start_t run;
    void *argument;
};

static void *run(void *start) {
    struct start s = *(struct start *)start;
    free(start);
    return (void *)(intptr_t)s.run(s.argument);
}

static int result(int error) {
    return !error ? thrd_success : error == EBUSY ? thrd_busy : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

int thrd_create(thrd_t *thread, thrd_start_t function, void *argument) {
    struct start *start = aligned_alloc(sizeof *start, sizeof *start); /* malloc() may be made to fail by a test */
    if (!start) return thrd_nomem;
    *start = (struct start){function, argument};
    return result(pthread_create(thread, NULL, run, start));
}

int thrd_join(thrd_t thread, int *code) {
    void *returned = NULL;
    int error = pthread_join(thread, &returned);
    if (code) *code = (int)(intptr_t)returned;
    return result(error);
}

int mtx_lock(mtx_t *m) {
    return result(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_trylock(mtx_t *m) {
    return result(pthread_mutex_trylock((pthread_mutex_t *)m));
}

int mtx_unlock(mtx_t *m) {
    return result(pthread_mutex_unlock((pthread_mutex_t *)m));
}

int cnd_signal(cnd_t *c) {
    return result(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c) {
    return result(pthread_cond_broadcast((pthread_cond_t *)c));
}

int cnd_wait(cnd_t *c, mtx_t *m) {
    return result(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until) {
    return result(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}

#else
typedef int nothing_to_do; /* ISO C forbids an empty file */
#endif
