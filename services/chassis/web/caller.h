/* caller: calls other services, the traditional way: sends JSON and waits for the answer. Connections are kept and used
 * again. A call that found no answer, or one of 5xx, or a 409 with Retry-After, is made again, under the same
 * Idempotency-Key. */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>

struct caller;

MUST_CHECK verdict caller_start(struct caller **out, struct failure *why);
void caller_cut(struct caller *c);   /* ends the calls in flight within a second, and all later ones. Accepts NULL */
void caller_stop(struct caller **c); /* after the last call. Accepts NULL */

struct outcall {
    const char *url;
    const char *body;         /* JSON to post. NULL: it is a GET */
    const char *key;          /* Idempotency-Key. NULL: none */
    const char *trace_parent; /* NULL: none */
    int connect_ms, total_ms; /* of one try */
    int retries, backoff_ms;  /* the first of the pauses between tries, which double */
};

struct heard {
    int status;    /* of HTTP. 0: no answer */
    bool in_doubt; /* a try was sent and not answered: what it asked for may have been done, or be done yet */
    int tries;
    json_t *said;  /* the answer's JSON, or NULL. The caller's */
    char why[300]; /* why there is no answer. "" when there is one */
};

/* Blocks for as long as that takes. Any thread. */
void caller_ask(struct caller *c, const struct outcall *o, struct heard *out);

/* One try, for whoever wants the answer as it came: fills status, in_doubt and why. Returns whether another may help.
 */
bool caller_try(struct caller *c, const struct outcall *o, struct heard *out, struct buffer *answer);
