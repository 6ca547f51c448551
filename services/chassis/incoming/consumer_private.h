/* consumer_private: what consumer.c shares with its helpers. All on the consumer's thread.
 *
 *     consumer.c    joins the group, polls, and commits each batch in one transaction
 *     partition.c   a partition's queue: what was fetched and waits for that commit, and when it is held
 *     log_watch.c   whether the log is still the one that was read
 *     throttle.c        how much may be taken: all that waits, or what a drill allows
 *     catch_up.c      how far a service in memory is with what there was when it started */
#pragma once

#include "chassis/avro/registry.h"
#include "chassis/events/core.h"
#include "chassis/incoming/consumer.h"
#include "chassis/incoming/drill.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

enum { NAME_SIZE = 400, CLUSTER_SIZE = 64, LOST_TEXT = 200 };

/* A partition that this process owns. Records wait here until a transaction has them; only a commit takes them away. */
struct partition {
    char topic[NAME_SIZE];
    int32_t id;
    bool fresh;           /* no offset is stored yet */
    char lost[LOST_TEXT]; /* not "": why the log is not the one that was read; nothing of it is taken */
    bool marked;          /* mark and cluster say which log it was */
    int64_t mark;         /* fingerprint of the record just before next */
    char cluster[CLUSTER_SIZE];
    bool checking;       /* that record was asked for, and is compared before anything behind it is taken */
    int64_t short_since; /* when the log was first seen to end before next; 0: it does not */
    int64_t next;        /* the stored offset: all before it had their effect */
    int64_t fetched;     /* one past the last record that came */
    bool end_known;      /* in memory: begin_first and end_first say what there was when it was assigned */
    int64_t begin_first, end_first;
    /* Marks of transactions, and records of those that were given up, have offsets and never come. */
    int64_t ended;   /* where the log ended when nothing more could be read; −1: there is more */
    int64_t read_to; /* all before it was kept here or is no record */
    rd_kafka_message_t **waiting;
    size_t waiting_n, waiting_size;
    bool denied;                  /* Kafka does not let us read it */
    bool passed_over;             /* records behind them came and were not kept: they have to be fetched again */
    size_t taken;                 /* how many of them are in the transaction at hand */
    int64_t held_until, held_for; /* ms; held_for 0: not held */
    struct patience patience;     /* with doubted schema ids, until all that waits was handled */
};

struct consumer {
    struct consumer_options options;
    struct core *core; /* the options' */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    pthread_t thread;
    bool running;
    atomic_bool stopping, log_accepted, news; /* news: of the registry */

    pthread_mutex_t
        lock; /* guards `partitions` against consumer_partitions(); the consumer's thread alone changes it */
    struct partition *partitions;
    size_t partitions_n;

    char cluster[CLUSTER_SIZE]; /* the id of the cluster at hand; "" before it is known */
    int64_t watch_at;
    bool check_again;  /* what was read may be another log now: brokers were away, or a topic */
    bool denied;       /* the group, or the topic that is subscribed to; a partition has its own */
    int64_t denied_at; /* when that was tried last */
    bool subscribed;   /* false while a new database may not begin */
    bool broken;       /* a fatal error: this handle is of no more use */
    bool assign_again; /* positions changed: tell librdkafka */
    int64_t assign_at; /* but not before */
    bool catching_up;  /* in memory, and not yet at the ends: Kafka is told of no offsets, since they would go back */
    bool commit_wanted, commit_under_way;
    int64_t commit_at;
    struct record *records;   /* `batch` of them */
    struct drill_state drill; /* the one at hand */
    int64_t due;              /* slow: when the event that is being handled will be done; 0: none is */
    int64_t *delays;          /* and as many */
};

/* --- partition.c */

struct partition *partition_find(struct consumer *c, const char *topic, int32_t id); /* NULL: not ours */
/* From where to fetch: where the log has to be shown to be the one that was read, from its last record that was. */
void partition_start(struct partition *p);
/* Reads where the service's own database says to go on. FATAL: it cannot be read. */
MUST_CHECK verdict
partition_init(struct consumer *c, struct partition *p, const char *topic, int32_t id, struct failure *why);
/* Takes over these partitions instead of those at hand. */
MUST_CHECK verdict partitions_set(struct consumer *c, rd_kafka_topic_partition_list_t *list, struct failure *why);
void partitions_clear(struct consumer *c);
/* Takes over the record; RETRY: no memory, it is still the caller's. Under the lock. */
MUST_CHECK verdict partition_add(struct partition *p, rd_kafka_message_t *m);
void partition_drop(struct consumer *c, struct partition *p); /* what waits is let go, to be fetched again */
/* All that can be read before this offset came. */
void partition_end(struct consumer *c, struct partition *p, int64_t offset);
void partitions_unread(struct consumer *c); /* each is read anew from `fetched` on */
/* How far it is: the stored offset, or behind what follows it and is no record. Under the lock, or on its thread. */
int64_t partition_position(const struct partition *p);
void partition_pause(struct consumer *c, const struct partition *p);
/* Its records stay where they are and are tried again later; nothing new is fetched for it meanwhile. */
void partition_hold(struct consumer *c, struct partition *p, const char *why);
/* Each is tried again at once. */
void partitions_try(struct consumer *c);
void partition_resume(struct consumer *c, struct partition *p);

/* --- log_watch.c */

/* True: the record is not to be taken. It was the last one of before, or it shows that the log is another one. */
bool log_compare(struct consumer *c, struct partition *p, const rd_kafka_message_t *m);
void log_clusters_compare(struct consumer *c);
/* The partition's log is not the one that was read, for this reason: it is held until somebody decides. */
void log_lose(struct consumer *c, struct partition *p, const char *format, ...) __attribute__((format(printf, 3, 4)));
void log_report(struct consumer *c); /* tells the health which partitions are held so, and what ends it */
void log_watch(struct consumer *c);  /* each time round: looks once a second */

/* --- throttle.c. While a drill is on, what comes beyond a few records is let go, and fetched again later: so that
 * memory is bounded, and the end of the log, and with it the lag, are known all the time. */

void throttle_follow(struct consumer *c); /* each time round: takes over the drill that was asked for */
bool throttle_keeps(struct consumer *c, struct partition *p); /* false: let this record go */
/* How many records may be taken now. SIZE_MAX: all. */
size_t throttle_take(struct consumer *c);
/* Of which partition, where only one may be taken: of the one whose first record is the oldest; NULL: of any. */
const struct partition *throttle_turn(const struct consumer *c, size_t most);
int64_t throttle_wait(const struct consumer *c, int64_t wait); /* until more may be taken, at most `wait` ms */

/* --- catch_up.c */

void catch_up_watch(struct consumer *c); /* each time round: whether that is read, and the health says how far it is */
