/* outbox_queue: which rows of the outbox wait to be published. All rows up to a mark were published, and none behind
 * it, but for exceptions, each of which has a row of its own that says what it is:
 *
 *     sent       behind the mark: it was confirmed before one that stands in front of it
 *     waiting    up to the mark: it had been set aside, and is tried again
 *     set aside  on either side: it can never be published as it is
 *
 * So an event that is published costs no write of its own. Errors stick to the connection. */
#pragma once

#include "chassis/store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* How many wait, and the moment (ms) of the first of them in the order of decision. 0: none waits. */
int64_t outbox_waiting(struct connection *reader);
int64_t outbox_waiting_since(struct connection *reader);

/* The rows behind `after` that wait, in the order of decision, at most so many: id, event_id, type, return_id, body,
 * trace_parent, occurred_at, dead_letter, received_at, schema_row. */
struct rows outbox_rows(struct connection *reader, int64_t after, int64_t most);

/* A row that was handed to the producer. partition: of the service's topic of events. −1: it went to another topic. */
struct handed {
    int64_t row;
    bool done; /* Kafka has it, at: */
    int32_t partition;
    int64_t offset;
};
/* How many of them, from the first on, are done: the mark moves over these. */
size_t outbox_done(const struct handed *rows, size_t n);
/* Marks those, in the caller's transaction. rows: all that were handed over and are not marked yet, in the order of
 * outbox_rows(). last: those that are done behind one that is not are marked as well, as exceptions. */
void outbox_mark(struct connection *c, const struct handed *rows, size_t n, bool last);

/* Sets a row that waits aside, in the caller's transaction. */
void outbox_set_aside(struct connection *c, int64_t row, const char *reason);
/* All that are set aside wait again. Returns how many. */
int64_t outbox_again(struct connection *c);
