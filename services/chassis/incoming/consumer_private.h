/* consumer_private: what consumer.c shares with its helpers. All on the consumer's thread.
 *
 *     consumer.c    joins the group, polls, and commits each batch in one transaction
 *     partition.h   a partition: what was fetched and waits for that commit, and what becomes of the next record
 *     log_watch.c   whether the log is still the one that was read
 *     throttle.c    how much may be taken: all that waits, or what a drill allows
 *     catch_up.c    how far a service in memory is with what there was when it started */
#pragma once

#include "chassis/events/core.h"
#include "chassis/incoming/consumer.h"
#include "chassis/incoming/drill.h"
#include "chassis/incoming/partition.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

struct consumer {
    struct consumer_options options;
    struct core *core; /* the options' */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue, *answers; /* answers: fetch_wake() */
    pthread_t thread;
    char group[NAME_SIZE];
    bool running;
    atomic_bool stopping, log_accepted, news; /* news: of the registry */

    pthread_mutex_t
        lock; /* guards `partitions` against consumer_partitions(). The consumer's thread alone changes it */
    struct partition *partitions;
    size_t partitions_n;

    char cluster[CLUSTER_SIZE]; /* the id of the cluster at hand. "" before it is known */
    int64_t watch_at;
    bool check_again;  /* what was read may be another log now: brokers were away, or a topic */
    bool denied;       /* the group, or the topic that is subscribed to. A partition has its own */
    int64_t denied_at; /* when that was tried last */
    bool subscribed;   /* false while a new database may not begin */
    bool broken;       /* a fatal error: this handle is of no more use */
    bool assign_again; /* positions changed: tell librdkafka */
    int64_t assign_at; /* but not before */
    bool catching_up;  /* in memory, and not yet at the ends: Kafka is told of no offsets, since they would go back */
    bool commit_wanted, commit_under_way, commit_failed; /* failed: the last one */
    int64_t commit_at;
    size_t queued_most;       /* that waited in librdkafka's queue since its thread was woken */
    bool resumed;             /* since then: a partition */
    struct record *records;   /* `batch` of them */
    struct drill_state drill; /* the one at hand */
    int64_t due;              /* slow: when the event that is being handled will be done. 0: none is */
};

/* each_partition(p, c) { … }: all that this process owns. */
#define each_partition(p, c)                                                                                           \
    for (struct partition *p = (c)->partitions; p && p < (c)->partitions + (c)->partitions_n; p++)

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
/* Of which partition, where only one may be taken: of the one whose first record is the oldest. NULL: of any. */
const struct partition *throttle_turn(const struct consumer *c, size_t most);
int64_t throttle_wait(const struct consumer *c, int64_t wait); /* until more may be taken, at most `wait` ms */

/* --- catch_up.c */

void catch_up_watch(struct consumer *c); /* each time round: whether that is read, and the health says how far it is */
