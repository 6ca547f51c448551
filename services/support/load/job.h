/* job: what runs in a thread of its own while somebody has asked for it, one at a time: a run of load, of both ways, of
 * reconciliation. Any thread.
 *
 *     free ─job_claim()─▶ claimed ─job_start()─▶ running ─▶ free
 *                            └─ it is not wanted after all ─▲
 *
 * Who has claimed it, or runs it, changes what it is about. Who shows that takes the lock. */
#pragma once

#include "chassis/events/service.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

struct exchange;

struct job {
    pthread_mutex_t lock;
    pthread_t thread;
    const char *name; /* of the thread */
    void (*run)(void);
    bool running, started; /* started: the thread has not been joined yet */
    atomic_bool stopping;  /* the run is to end soon */
    int64_t closed;        /* when the service had started that has stopped: it starts no more */
};
#define JOB(thread_name, function)                                                                                     \
    { .lock = PTHREAD_MUTEX_INITIALIZER, .name = thread_name, .run = function }

MUST_CHECK bool job_claim(struct job *j, const struct runtime *rt); /* false: one is under way, or the service stops */
/* What was claimed. False: it was not wanted, or the service stops, or has no thread for it. Then it is free again. */
MUST_CHECK bool job_start(struct job *j, bool wanted);
void job_stop(struct job *j, const struct runtime *rt); /* ends the run at hand, and waits for its thread */

/* How much load is asked for: whole numbers, as JSON or as a form's text. False: they are none, or too large, which was
 * answered with 422 and `outcome`, a whole sentence. */
struct amount {
    int64_t rate, seconds;
};
MUST_CHECK bool
amount_read(struct exchange *x, const json_t *sent, struct amount most, struct amount *out, const char *outcome);
