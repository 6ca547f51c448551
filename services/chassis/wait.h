/* wait: conditions that are waited for until a moment of steady_ms(), which no step of the wall clock moves. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

void wait_init(pthread_cond_t *news); /* in place of pthread_cond_init(); destroyed as any */

/* Waits for a signal; the lock is held. False: the moment has come. True as well for none at all, as conditions do. */
bool wait_until(pthread_cond_t *news, pthread_mutex_t *lock, int64_t steady);
