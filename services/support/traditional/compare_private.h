/* compare_private: a run, for compare.c, which drives it, and compare_view.c, which says how it goes. */
#pragma once

#include "support/load/job.h"

enum { RATE_MAX = 100, SECONDS_MAX = 60, FAILURES_MAX = 20 };

struct run {
    struct runtime *rt;
    bool running;
    bool warm; /* the clock has started */
    struct amount amount;
    char id[RETURN_ID], customer[40]; /* the latter of all its returns */
    char without[300];                /* why their orders are made up. "": they are sales' */
    int64_t begun_at;                 /* 0: there was none yet */
    int64_t begun_us, ended_us;
    json_t *failures; /* {reason: how many} */
    struct way {
        char url[200];
        int good;    /* the status that says that all is well */
        int clients; /* connections */
        int taken, answered, accepted, failed, gave_up;
        double *waits; /* µs, of those that were answered */
    } ways[2];
};
enum { WAY_CALLS, WAY_EVENT, WAYS };

/* A copy of the run. Its waits and failures are the caller's. False: there was none yet, or no memory. */
MUST_CHECK bool run_look(struct run *out);
