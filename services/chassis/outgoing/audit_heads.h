/* heads: where the chains of the audit log stand, published to <service>.audit-heads at intervals, so that a log whose
 * tail was cut off, or that was written anew, contradicts what others can read. With them goes what the service counted
 * (counts.h), from the same moment of its database, so that others can reconcile it with the topics.
 *
 * They do not pass through the outbox: they are read from what is committed, so one that was lost is made up for by the
 * next, and the outbox stays what it is, the service's events. All functions but audit_heads_read() belong to the
 * relay's thread. It lends its producer, and gives the delivery reports whose opaque is NULL. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>

struct audit_heads;
struct relay_options;

/* Tells component "audit heads" when there is something to say. The options outlive it. */
MUST_CHECK verdict audit_heads_open(struct audit_heads **out, const struct relay_options *o, struct failure *why);
void audit_heads_close(struct audit_heads **h); /* accepts NULL */

void audit_heads_step(struct audit_heads *h, rd_kafka_t *producer); /* publishes when it is time and there is news */
void audit_heads_delivered(struct audit_heads *h, const rd_kafka_message_t *report);
void audit_heads_forget(struct audit_heads *h); /* the producer was thrown away with what was in flight. Accepts NULL */

/* Every record of the service's topic, oldest first, as AuditHeads.avsc has it, and its "offset". RETRY: Kafka or the
 * registry cannot be reached. The text says which. REJECT: a record cannot be decoded. */
MUST_CHECK verdict audit_heads_read(
    const struct settings *s, void (*each)(void *context, const json_t *heads), void *context, struct failure *why);
