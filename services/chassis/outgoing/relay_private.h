/* relay_private: what relay.c shares with its helpers. All of it is the relay thread's own, but for the handle's lock.
 *
 *     relay.c           the thread: sends what waits, and marks what was delivered
 *     relay_producer.c  the producer, its delivery reports, and when it has to end
 *     relay_record.c    a row of the outbox, as a record for its topic */
#pragma once

#include "chassis/base/wait.h"
#include "chassis/outgoing/relay.h"

#include "chassis/events/outbox_queue.h"
#include "chassis/outgoing/event_schemas.h"
#include "chassis/outgoing/first_record.h"
#include "chassis/store/store.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>

enum { RELAY_WINDOW = 1000, RELAY_ASK_MS = 500 };

struct relay {
    struct relay_options o;
    char topic[400], dead_letters[400];
    struct event_schemas *schemas;
    struct audit_heads *heads;   /* published besides, by the same producer. Their opaque is NULL */
    struct snapshots *snapshots; /* and so are these, if there are any */
    struct worker worker;
    atomic_bool again; /* begin with the first row that waits, once nothing is in flight */

    pthread_mutex_t lock; /* guards the handle against relay_wake() while it is replaced */
    rd_kafka_t *producer;
    rd_kafka_queue_t *queue;

    bool topic_ready;
    bool failed;                  /* a delivery failed: start again at the first row not marked */
    int64_t drain_until;          /* then: what is in flight is waited for, so that what was taken is not sent again */
    int64_t pause_ms, not_before; /* after what may pass. 0: the last was taken */
    int64_t last_row;             /* the newest that was handed to the producer */
    struct first_record first;    /* of the topic of events */
    struct handed handed[RELAY_WINDOW]; /* to the producer, and not marked yet */
    size_t handed_n;
    int in_flight; /* of those */

    /* A batch was refused, and with it many a record that is not at fault: each is sent alone up to this row. */
    int64_t alone_until;
    bool by_size, guilty; /* why, and whether one of them was refused alone as well */
    int64_t alone, bare;  /* which row is sent alone, and which dead letter goes without what came with it */
    bool is_letter;       /* the one that is alone */
    int batch_bytes;
};

/* --- relay.c */

/* Marks what was delivered. last: also what stands behind a row that was not, since the producer ends. False: it could
 * not be written. */
MUST_CHECK bool relay_mark(struct relay *r, bool last);

/* --- relay_producer.c */

MUST_CHECK verdict relay_producer_open(struct relay *r, struct failure *why);
void relay_producer_close(struct relay *r); /* also where there is none */
/* After a failure: waits for what is in flight, and closes the producer once all of it is known. */
void relay_producer_end(struct relay *r);
/* Sees to it that both topics are there. Takes a second at most. */
void relay_topics_ask(struct relay *r);
/* What may pass: sending begins again after a pause, which doubles until something is taken again. */
void relay_try_again(struct relay *r, const char *reason);
/* That row can never be sent, for that reason: it is set aside, or else met again. */
void relay_never(struct relay *r, int64_t row, const char *reason);

/* --- relay_record.c */

/* Hands a row to the producer: id, event_id, type, return_id, body, trace_parent, occurred_at, dead_letter,
 * received_at, schema_row. RETRY: not now. REJECT: never. */
MUST_CHECK verdict relay_produce(struct relay *r, struct connection *c, const struct rows *row, struct failure *why);
