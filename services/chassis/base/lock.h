/* lock: a mutex that is held from where it is named to the end of its block, whichever way the block is left. */
#pragma once

#include <pthread.h>

static inline pthread_mutex_t *lock_begin(pthread_mutex_t *mutex) {
    pthread_mutex_lock(mutex);
    return mutex;
}

static inline void lock_end(pthread_mutex_t **mutex) {
    pthread_mutex_unlock(*mutex);
}

#define lock_auto(mutex) pthread_mutex_t *held __attribute__((cleanup(lock_end), unused)) = lock_begin(mutex)
