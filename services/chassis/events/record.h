/* record: what becomes of one record: decoded, then applied in a transaction: its handler's effect, or a note that it
 * was seen before or is of no concern, or its quarantine, in each case with one audit row. Any thread. One at a time
 * has the transaction. */
#pragma once

#include "chassis/avro/codec.h"
#include "chassis/base/failure.h"
#include "chassis/base/ids.h"
#include "chassis/events/core.h"
#include "chassis/events/event.h"
#include "chassis/kafka/raw.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct connection;
struct outgoing;

/* What a handler says to its caller (call.h) in place of publishing it. */
struct reply {
    const char *outcome; /* as the audit row says it, which holds these three */
    char action[200], summary[1000];
    const char *event_type; /* full name of what it would have published. NULL: nothing. Lives with the outbox */
    json_t *fields;
};

/* Where the events of a reaction go that is had once more (replay.h): nothing of it is published, audited or put aside.
 */
struct replayed {
    /* Takes e->fields. REJECT: the reaction is taken back. */
    verdict (*emit)(struct replayed *r, const struct outgoing *e, struct failure *why);
};

struct record {
    struct raw raw;        /* the caller's */
    struct event event;    /* filled as far as the record could be read */
    struct schema *schema; /* its writer's. NULL: it could not be had */
    struct written written;
    bool has_id;
    char source[SOURCE_NAME], trace[TRACE_PARENT], key[256];
    verdict state; /* OK, or REJECT: to be quarantined for `why` */
    struct failure why;
    int64_t now;               /* ms: reaction.now. 0: by the clock */
    int64_t answered_at;       /* ms: what it publishes was published then, and is not again. 0: it was not */
    const char *redriven_by;   /* who asked for its redrive. NULL: it came from the topic */
    struct reply *reply;       /* NULL: nobody waits for it. Else it was called, and this is filled */
    struct replayed *replayed; /* NULL: it is had for the first time */
    const char *outcome;       /* what its audit row says */
    bool half_done;            /* it was rejected, and what it did is still there */
};

/* RETRY: its schema cannot be had yet. *out is empty then. OK otherwise, also for what will be quarantined. patience:
 * registry.h, of the caller. May be NULL. */
struct patience;
MUST_CHECK verdict record_decode(
    const struct core *core, const struct raw *raw, struct patience *patience, struct record *out, struct failure *why);
/* The same, and waits for its schema until the deadline, by steady_ms(). Any thread but the consumer's. */
MUST_CHECK verdict record_decode_wait(
    struct core *core, const struct raw *raw, int64_t deadline, struct patience *patience, struct record *out,
    struct failure *why);
void record_free(struct record *record);

/* In the caller's transaction. A failure of the database is sticky there.
 *
 * careful: a savepoint is set first, so that a record that is rejected half-way leaves nothing behind. That costs more
 * than most of what is done for a record, and hardly any is rejected. So a batch is tried without first. False, of a
 * careless one alone: it was rejected half-way, and all of the transaction must be taken back and be done carefully. */
MUST_CHECK bool record_apply(const struct core *core, struct connection *c, struct record *record, bool careful);
void record_count(const struct record *record); /* what became of it, once that is committed: metrics, and the log */

/* The same for what was asked for: a dead letter's redrive (redriven_by is set), which is audited as done by hand, a
 * call
 * (`event`, `data` and `reply` are given, and nothing is published), or a reaction that is had once more (`replayed` is
 * set, and `now` as it was then). REJECT: it has no effect, for that reason. Nothing of it is left. */
MUST_CHECK verdict
record_apply_asked(const struct core *core, struct connection *c, struct record *record, struct failure *why);
