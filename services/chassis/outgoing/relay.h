/* relay: the thread that publishes the outbox, in order, with an idempotent producer, and marks a row as sent only in
 * its delivery report. A failed delivery ends the producer (enable.gapless.guarantee). The next one starts at the
 * first row not marked, and sends one record to each partition before any more (first_record.h), so order within a
 * return holds. What Kafka took without our hearing of it is then in the topic twice, and readers know it by its
 * event_id. What can never be sent (delivery.h) is set aside (set_aside.h), and nothing waits behind it. Where it was
 * refused in a batch, each record of the batch is sent alone to find it.
 *
 *     store_commit ──relay_wake──▶ relay ──produce──▶ Kafka ──delivery report──▶ relay ──UPDATE outbox──▶ store
 *
 * It publishes nothing until its topic exists and the registry has accepted every schema of the service. A schema
 * that was given (the setting `schemas`) is registered after the program's own, and used once the registry has it. One
 * that is refused holds up nothing. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <stdatomic.h>

struct relay;
struct audit_check;
struct store;
struct outbox;
struct registry;
struct health;
struct snapshot_source;

struct relay_options {
    const struct settings *settings;
    struct store *store;
    struct outbox *outbox;
    struct registry *registry;
    struct health *health;                   /* told as components "kafka producer" and "schemas" */
    struct audit_check *audit_check;         /* for the heads of the audit log. May be NULL */
    const atomic_bool *held;                 /* while it is set no record is published. May be NULL */
    const struct snapshot_source *snapshots; /* published besides (snapshots.h). NULL: none */
    void (*end)(const char *why);            /* called when the process has to be started anew. Any thread */
};
MUST_CHECK verdict relay_start(struct relay **out, const struct relay_options *o, struct failure *why);
void relay_wake(
    struct relay *r); /* there may be new rows, or news from the registry. Any thread. Returns at once. Accepts NULL */
void relay_again(struct relay *r); /* rows that it passed by wait again (set_aside.h). Any thread. Accepts NULL */
void relay_stop(struct relay **r); /* what was sent and not yet confirmed is sent again by the next run. Accepts NULL */
