/* snapshots: the state of each thing that a service's events are about, published to <service>.snapshots, a compacted
 * topic, so that who comes late need not read every event from the first one on. A record says for which offsets it
 * stands (its positions). What was made of the events up to there lies in the same moment of the database.
 *
 *     handler ─▶ snapshot_due ─▶ relay: make, produce ─▶ Kafka ─▶ delivery report ─▶ the row of snapshot_due goes
 *
 * A row goes only once its snapshot is delivered, and only if nothing changed since. So a crash loses none, and many
 * changes in a short time make one snapshot. One that can never be published as it is (delivery.h) is set aside until
 * its return changes: its row says why, and the others have their turn. All but the first and the last two belong to
 * the relay's thread. It lends its producer. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>

struct connection;
struct relay_options;
struct snapshots;

/* What a service declares that publishes snapshots, and keeps the table snapshot_due (return_id, change, refused). */
struct snapshot_source {
    const char *schema; /* the asset's name, which ends in "Snapshot.avsc" */
    /* All fields but digest and at, as they are in the reader's moment. NULL: there is nothing of it. The caller's. */
    json_t *(*make)(struct connection *reader, const char *return_id);
};

/* In the transaction that changes it. */
void snapshot_due(struct connection *c, const char *return_id);

/* Tells component "snapshots". *out is NULL when there is no source. All others take that. The options outlive it. */
MUST_CHECK verdict snapshots_open(struct snapshots **out, const struct relay_options *o, struct failure *why);
void snapshots_close(struct snapshots **s);

void snapshots_step(struct snapshots *s, rd_kafka_t *producer); /* publishes when it is time and some are due */
bool snapshots_delivered(struct snapshots *s, const rd_kafka_message_t *report); /* false: the report is not of these */
void snapshots_again(struct snapshots *s);                                       /* what was set aside is tried again */
void snapshots_forget(struct snapshots *s); /* the producer was thrown away with what was in flight */

const char *snapshots_topic(const struct settings *s, char *out, size_t size); /* returns out */

/* SHA-256 in hexadecimal of the record's JSON without positions, digest and at. False: no memory. */
enum { SNAPSHOT_DIGEST = 65 };
MUST_CHECK bool snapshot_digest(const json_t *record, char out[SNAPSHOT_DIGEST]);
