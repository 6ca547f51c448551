/* consumer: the thread that reads topics and hands each record, decoded and projected, to its handler, in one
 * transaction with the audit row, the outgoing events and the next offset of its partition. It resumes from the offset
 * in the service's own database. Kafka's committed offset is written afterwards for lag tools and never read back.
 *
 *     Kafka ─poll─▶ batch ─decode─▶ BEGIN ─▶ handler, audit, outbox, offset (a savepoint each) ─▶ COMMIT ─▶ relay_wake
 *
 * A record that cannot be decoded or that its handler rejects is quarantined in that same transaction. One whose schema
 * cannot be had yet holds its partition, and only that one.
 *
 * The log is watched: before anything behind it is taken, the last record of before must be where it was, with the
 * fingerprint it had, in the same cluster, and the log must not end before it. A partition whose log is another one, or
 * was cut, is held until somebody accepts it (log_accept.h): nothing is skipped or read twice unasked. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdint.h>

struct consumer;
struct core;
struct drill;
struct rates;

struct consumer_options {
    struct core *core;
    struct drill *drill;
    struct rates *rates;              /* told of each batch */
    void (*committed)(void *context); /* a batch was: events may wait in the outbox. On the consumer's thread */
    void *context;
};
MUST_CHECK verdict consumer_start(struct consumer **out, const struct consumer_options *o, struct failure *why);
void consumer_wake(struct consumer *c); /* news from the registry. Any thread */
/* The database says anew where to go on in the partitions that are held because their log is another one. Any thread.
 */
void consumer_log_accepted(struct consumer *c);
void consumer_stop(struct consumer **c); /* leaves the open batch to the next run. Accepts NULL */

/* [{"topic","partition","next","end","lag","held"}] (held: null, or why the log is not the one that was read) and the
 * age of the oldest unhandled record (0: none). Any thread. */
json_t *consumer_partitions(struct consumer *c, int64_t *oldest_unhandled_ms);
