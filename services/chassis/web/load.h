/* load: posts JSON at a steady rate over a few kept-alive connections, as many clients together would. Request n is due
 * n / rate seconds after the start, whether or not the ones before it have been answered, and what is measured of it
 * begins when it was due: a server that falls behind is not spared. */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_answer {
    int status;       /* 0: none came */
    const char *body; /* "" when there is none. Why not, when no answer came */
    double ms;        /* from the moment it was due until the answer was whole */
    int64_t due_at;   /* that moment, by clock_ms() */
};

struct load {
    const char *url;
    double rate; /* requests a second */
    int64_t count;
    int connections, timeout_ms; /* a connection is a thread, at most 64 */
    void *context;
    /* Any thread, one at a time. */
    char *(*body)(void *context, int64_t n); /* the request's body, from malloc(). NULL: no memory */
    void (*answered)(void *context, const struct load_answer *a);
    bool (*turn)(void *context); /* some ten times a second. False: enough. May be NULL */
};

/* Returns once all are answered, or it was enough. RETRY: out of memory, and then not all were sent. */
MUST_CHECK verdict load_run(const struct load *l, struct failure *why);

/* One request with its answer, on a connection of its own: POST of a body, or GET where it is NULL. The text is the
 * caller's. RETRY: no answer came. */
MUST_CHECK verdict
load_ask(const char *url, const char *body, int timeout_ms, int *status, char **text, struct failure *why);

/* Nearest rank. Sorts the values. p: 0 to 100. 0 when there are none. */
double load_percentile(double *values, size_t n, double p);
