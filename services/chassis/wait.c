#include "chassis/wait.h"

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
