/* published_index: what a service has published already, by its own topic: which events it answered each event with,
 * when, and in which order it did so over all partitions (header ce_sequence), and what people decided. It is a table
 * of the database that is being built (rebuild_tables.c), so it takes no memory. All errors of the database are sticky.
 * One thread. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/ids.h"
#include "chassis/events/event.h"

#include <jansson.h>

struct connection;

/* Takes up one, which has that number in the outbox. A second time it does nothing. RETRY: no memory. */
MUST_CHECK verdict published_add(struct connection *c, const struct event *e, int64_t sequence, struct failure *why);

struct published_reaction {
    struct uuid cause;
    int64_t sequence, occurred_at; /* of its first event. 0: nothing was published in reaction */
    int64_t met;                   /* how many of its events published_next() has given */
    bool replayed;
};
struct published_reaction published_of(struct connection *c, const struct uuid *cause);

struct published_event { /* one that was published in reaction */
    struct uuid id;
    int64_t sequence;
    uint64_t content; /* of published_content() */
    int32_t partition;
    int64_t offset; /* -1: not in the topic yet */
};
/* The next event of that reaction, in the order in which they were decided. False: no more. */
bool published_next(struct connection *c, struct published_reaction *r, struct published_event *out);
/* The reaction was had once more, or its cause is known to be there. */
void published_replayed(struct connection *c, const struct uuid *cause);
/* How many answered events were not met, since what they answer is no longer in the log. */
int64_t published_not_met(struct connection *c);

/* The sequence of what was published. 0: it was not. */
int64_t published_sequence(struct connection *c, const struct uuid *id);

/* A fingerprint of type, key and all fields but the event's own id. */
uint64_t published_content(const char *type, const char *key, const json_t *data);
