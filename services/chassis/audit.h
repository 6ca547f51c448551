/* audit: the append-only record of what this service did, one row for each event it met and each thing a person did.
 *
 * Rows are hash-chained: one chain for each source partition ("support.events/3"), and "by-hand" for what did not come
 * from a topic. A row's hash is SHA-256 over the hash before it in its chain (32 zero bytes at the start) and the row's
 * canonical bytes: id, at, action, outcome, actor, return_id, event_id, event_type, topic, partition, offset, summary,
 * trace_id, in this order, each as `length:bytes,` (numbers in decimal), an absent one as `~,`. */
#pragma once

#include "chassis/failure.h"
#include "chassis/ids.h"
#include "chassis/store.h"

#include <jansson.h>

struct audit_row {
    const char *action;  /* what was done, in the team's words: "refund the order" */
    const char *outcome; /* handled, declined, duplicate, skipped, quarantined; by hand: accepted, refused */
    const char *actor;   /* who caused it: the service that published the event, or "form", "api" */
    const char *return_id;
    const struct uuid *event_id;
    const char *event_type; /* full name */
    const char *topic;      /* NULL: by hand, and then partition and offset do not count */
    int32_t partition;
    int64_t offset;
    const char *summary; /* one line for people */
    const char *trace_id;
};

/* In the caller's transaction; a failure is sticky there. What is NULL is stored as absent. */
void audit_append(struct connection *c, const struct audit_row *row);

/* A page of rows, newest first: {"rows":[…],"next":id or null}. Every filter may be NULL or 0. */
struct audit_filter {
    const char *return_id, *action, *outcome;
    int64_t since, until; /* ms; since ≤ at < until */
    int64_t before;       /* id: only older rows */
    int limit;            /* 1 to 1000 */
};
MUST_CHECK json_t *audit_page(struct connection *reader, const struct audit_filter *f);

/* {"intact":true,"rows":N,"chains":[{"chain","rows","head"}]}, or intact false and "broken":{"chain","id","reason"} */
MUST_CHECK json_t *audit_verify(struct connection *reader);
