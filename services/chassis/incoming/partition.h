/* partition: a partition that this process owns. It keeps the records that were fetched and wait for their transaction,
 * the offset to go on from, and one state, which says what becomes of the next record. Private to this room.
 *
 *         start ── with a mark ──▶ CHECKING        start ── without one ──▶ READING
 *
 *         CHECKING ── the record is the one that was read, or was deleted since ──▶ READING
 *
 *         READING ───────────── a record has to wait ─────────────▶ HELD
 *          │    ▲ ◀─────────── all that waited is done ──────────── │    ▲
 *          │(1) │(2)                                                │(1) │(2)
 *          ▼    │ ───────────── a record has to wait ─────────────▶ ▼    │
 *         PASSING_OVER ◀─────── all that waited is done ─────────── HELD_PASSING_OVER
 *
 *         (1) a drill is on, and enough wait: what comes is let go     (2) that is fetched again
 *
 *         CHECKING, READING, PASSING_OVER ── Kafka was away, and there is a mark ──▶ CHECKING
 *         CHECKING, READING, PASSING_OVER ── the log is another one ──▶ LOST ── accepted ──▶ CHECKING, READING
 *
 * Being held is about the records that wait, passing over is about those that come: a drill can let records go behind
 * one that waits for its schema, and each ends without the other. So their combination is a state. A partition that is
 * held is not lost or checked at once: its records are let go first, which ends the holding (partition_drop). While one
 * is checked nothing waits, so nothing can be held, and no record is kept that could be passed over.
 *
 * No state, since they stop nothing here: `denied`, which Kafka says of the topic (what waits is handled, held or
 * passed over all the same, and what was passed over must not be forgotten when reading is allowed again), what the
 * database holds (`next`, `mark_of`), what was seen of the log (`ended`, `read_to`, `short_since`, `end_first`).
 *
 * All on the consumer's thread. What another thread reads is under consumer.lock. `state` is not, and
 * consumer_partitions() looks at `lost` instead. */
#pragma once

#include "chassis/avro/registry.h"
#include "chassis/base/failure.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

enum { NAME_SIZE = 400, CLUSTER_SIZE = 64, LOST_TEXT = 200, OFFSET_NONE = -1 };

struct consumer;

enum partition_state {
    PARTITION_CHECKING,          /* the last record that was read is fetched again and compared before anything else */
    PARTITION_READING,           /* what comes waits for the next transaction */
    PARTITION_HELD,              /* the record in front waits for its schema, or for the store. Fetching pauses */
    PARTITION_PASSING_OVER,      /* a drill: what comes is let go. Nothing is kept before all that is fetched again */
    PARTITION_HELD_PASSING_OVER, /* both */
    PARTITION_LOST, /* the log is not the one that was read. Nothing of it is taken. People are told that it is held */
    PARTITION_STATES
};

/* Records wait here until a transaction has them. Only a commit takes them away. */
struct partition {
    char topic[NAME_SIZE];
    int32_t id;
    enum partition_state state; /* changed by partition_move() alone */
    char lost[LOST_TEXT];       /* why it is LOST. "": it is not */
    bool denied;                /* Kafka did not let us read it when that was last tried */

    int64_t next;    /* the stored offset: all before it had their effect. OFFSET_NONE: none is stored yet */
    int64_t mark_of; /* the offset just before next, whose record has the fingerprint mark. OFFSET_NONE: no mark */
    int64_t mark;
    char cluster[CLUSTER_SIZE]; /* in which that was read. "": not known */
    int64_t fetched;            /* one past the last record that came */
    int64_t short_since;        /* when the log was first seen to end before next. 0: it does not */
    /* Marks of transactions, and records of those that were given up, have offsets and never come. */
    int64_t ended;   /* where the log ended when nothing more could be read. OFFSET_NONE: there is more */
    int64_t read_to; /* all before it was kept here or is no record */
    int64_t begin_first, end_first; /* in memory: the log when it was assigned. end_first OFFSET_NONE: not known yet */

    rd_kafka_message_t **waiting;
    size_t waiting_n, waiting_size;
    size_t taken;                 /* how many of them are in the transaction at hand */
    int64_t held_for, held_until; /* ms: how long the record in front waits this time, and until when. 0: it does not */
    struct patience patience;     /* with doubted schema ids, until all that waits was handled */
};

/* --- Its state */

/* The one way to change the state. An illegal move is a fault of this program: a build for tests ends there (assert).
 * Any other logs the first such move as an error, leaves the state as it was, and answers false. That does no harm: a
 * partition that is CHECKING or LOST keeps no record, and one that is held or passes over stays so. */
bool partition_move(struct partition *p, enum partition_state to);
bool partition_may_move(enum partition_state from, enum partition_state to); /* as drawn above */
bool partition_is_held(const struct partition *p);
bool partition_passes_over(const struct partition *p);

/* --- Those that are owned */

struct partition *partition_find(struct consumer *c, const char *topic, int32_t id); /* NULL: not ours */
/* Reads where the service's own database says to go on: CHECKING or READING. FATAL: the database cannot be read. */
MUST_CHECK verdict
partition_init(struct consumer *c, struct partition *p, const char *topic, int32_t id, struct failure *why);
/* Takes over these partitions instead of those at hand. */
MUST_CHECK verdict partitions_set(struct consumer *c, rd_kafka_topic_partition_list_t *list, struct failure *why);
void partitions_clear(struct consumer *c);

/* --- What comes */

/* CHECKING: fetches from the record that has the mark. It has one, nothing waits, and librdkafka has to be told. */
void partition_check(struct partition *p);
/* READING: that record is the one that was read, or was deleted since. */
void partition_checked(struct partition *p);
/* Takes over the record. RETRY: no memory, it is still the caller's. Under the lock. */
MUST_CHECK verdict partition_add(struct partition *p, rd_kafka_message_t *m);
void partition_shift(struct partition *p, size_t n); /* lets go the first n that wait. Under the lock */
/* A record came that is not kept: none is, until all that were let go are fetched again (partitions_unread). */
void partition_pass_over(struct consumer *c, struct partition *p);
void partition_drop(struct consumer *c, struct partition *p); /* what waits is let go, to be fetched again */
/* All that can be read before this offset came. */
void partition_end(struct consumer *c, struct partition *p, int64_t offset);
void partitions_unread(struct consumer *c); /* each is read anew from `fetched` on */

/* --- Where it is */

int64_t partition_next(const struct partition *p); /* the stored offset, or 0 */
/* How far it is: the stored offset, or behind what follows it and is no record. Under the lock, or on its thread. */
int64_t partition_position(const struct partition *p);

/* --- Holding */

void partition_pause(struct consumer *c, const struct partition *p); /* nothing new is fetched for it */
/* Its records stay where they are and are tried again later. Nothing new is fetched for it meanwhile. */
void partition_hold(struct consumer *c, struct partition *p, const char *why);
int64_t partition_wait(const struct partition *p, int64_t now); /* ms until they are tried again. 0: they may be now */
void partition_resume(struct consumer *c, struct partition *p); /* all that waited was handled, or was let go */
