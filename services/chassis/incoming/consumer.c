#include "chassis/incoming/consumer_private.h"

#include "chassis/base/crash.h"
#include "chassis/base/health.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/process.h"
#include "chassis/base/rates.h"
#include "chassis/base/wait.h"
#include "chassis/events/record.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    IDLE_MS = 1000,
    REOPEN_MS = 200,
    CLOSE_MS = 15000,
    COMMIT_AGAIN_MS = 1000,
    COMMIT_EVERY_MS = 250, /* each costs Kafka about as much as a record */
    ASSIGN_MS = 500,
    WANTED_MAX = 200,
    BATCH_BYTES =
        2 * DECODED_BYTES_MAX, /* of decoded records and their schemas. The one more that passes it is bounded itself */
    FETCH_IDLE_MS = 500,       /* how long a fetch waits for a first record: librdkafka's own */
    FETCH_BYTES = 100000,      /* and how much ends the waiting of one who waits for more */
    QUEUED_MUCH = 1000,        /* records that wait in librdkafka's queue */
    DENIED_MS = 5000, /* until a read that was denied is tried again: librdkafka would not say that it is allowed now */
};

/* --- Where to read */

/* After a partition's position changed: only a new assignment makes a stopped one go on. librdkafka 2.0.2 aborts when
 * one comes while partitions of the one before are still being stopped, and does not say when they are. Not
 * said to be mended in any notes up to 2.15, so ASSIGN_MS stays. */
static void assign_again(struct consumer *c) {
    if (!c->assign_again || steady_ms() < c->assign_at) return;
    c->assign_again = false;
    c->assign_at = steady_ms() + ASSIGN_MS;
    places_auto *list = rd_kafka_topic_partition_list_new((int)c->partitions_n);
    each_partition(p, c) {
        if (p->state != PARTITION_LOST) rd_kafka_topic_partition_list_add(list, p->topic, p->id)->offset = p->fetched;
    }
    partitions_unread(c);
    rd_kafka_assign(c->rk, list);
    rd_kafka_resume_partitions(c->rk, list); /* one that was held before is else paused for ever */
    each_partition(p, c)
        if (partition_is_held(p)) partition_pause(c, p);
}

/* --- Rights */

/* what: the partition's `denied`, or the consumer's. */
static void denied(struct consumer *c, bool *what, struct right right) {
    char text[DENIAL_TEXT];
    *what = true;
    c->denied_at = steady_ms();
    health_set(
        c->core->health, "kafka rights", HEALTH_WAITING, "nothing more is read: %.400s",
        denial_text(c->core->settings, right, text));
}

/* A group is joined by Read. Who coordinates it is asked for by Describe. */
static void denied_group(struct consumer *c, const char *said) {
    const char *operation = strstr(said, "FindCoordinator") ? "Describe" : "Read";
    denied(c, &c->denied, (struct right){operation, "group", c->group});
}

static void allowed(struct consumer *c) {
    c->denied = false;
    each_partition(p, c)
        if (p->denied) return;
    health_set(c->core->health, "kafka rights", HEALTH_OK, "reads what it is to read");
}

static void denied_try_again(struct consumer *c) {
    if (steady_ms() < c->denied_at + DENIED_MS) return;
    c->denied_at = steady_ms();
    each_partition(p, c)
        if (p->denied) c->assign_again = true;
}

/* --- What librdkafka calls, inside rd_kafka_consumer_poll() on the consumer's thread */

static void reads(struct consumer *c) {
    const char *what = c->core->service->subscribes;
    if (c->partitions_n || strcmp(what, "*") != 0)
        health_set(c->core->health, "kafka", HEALTH_OK, "reads %zu partitions", c->partitions_n);
    else
        health_set(
            c->core->health, "kafka", HEALTH_WAITING,
            "waiting for a topic to read: of those that end in .events none is there, or none that this service may describe");
}

static void
on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t *list, void *opaque) {
    struct consumer *c = opaque;
    struct failure why;
    if (error != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        partitions_clear(c); /* what was not committed is not ours any more */
        c->assign_again = false;
        crash_point("during rebalance");
        rd_kafka_assign(rk, NULL);
        if (!c->stopping)
            health_set(
                c->core->health, "kafka", HEALTH_WAITING, "waiting for the consumer group to share out the partitions");
        return;
    }
    metric_add(METRIC_rebalances, 1);
    denial_over();
    if (partitions_set(c, list, &why) != OK) {
        rd_kafka_assign(rk, NULL);
        process_end(why.text);
        return;
    }
    crash_point("during rebalance");
    log_report(c);
    log_clusters_compare(c);
    c->assign_again = true;
    c->assign_at = 0;
    assign_again(c);
    c->commit_wanted = true;
    allowed(c);
    reads(c);
}

static void on_error(rd_kafka_t *rk, int error, const char *text, void *opaque) {
    struct consumer *c = opaque;
    char fatal[300];
    if (kafka_lost(c->core->health, "kafka", c->core->settings, error, text)) {
        c->commit_wanted = true; /* its success will say that Kafka is back */
        c->check_again = true;
    } else if (error == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_fatal_error(rk, fatal, sizeof fatal);
        health_set(c->core->health, "kafka", HEALTH_WAITING, "joining the consumer group again: %s", fatal);
        c->broken = true;
    }
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t *list, void *opaque) {
    (void)rk, (void)list;
    struct consumer *c = opaque;
    c->commit_under_way = false;
    c->commit_failed = error && error != RD_KAFKA_RESP_ERR__NO_OFFSET;
    if (error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) denied_group(c, "");
    if (c->commit_failed) {
        c->commit_wanted = true;
        c->commit_at = steady_ms() + COMMIT_AGAIN_MS;
    } else if (c->partitions_n) {
        denial_over();
        if (c->denied) allowed(c);
        reads(c);
    }
}

static void consumer_prepare(rd_kafka_conf_t *conf) {
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
}

/* --- Telling Kafka */

/* Where this service is, in each offset's metadata: so it has an address also when it publishes nothing. */
static void position_add(const struct consumer *c, rd_kafka_topic_partition_list_t *list, const struct partition *p) {
    rd_kafka_topic_partition_t *one = rd_kafka_topic_partition_list_add(list, p->topic, p->id);
    one->offset = partition_position(p);
    one->metadata =
        strdup(c->core->settings->public_url); /* the list's to free. Without memory the next commit has it */
    one->metadata_size = one->metadata ? strlen(one->metadata) : 0;
}

/* For lag tools, and for those who ask how far this group has come. Never read back. */
static void commit_positions(struct consumer *c) {
    if (!c->commit_wanted || c->commit_under_way || !c->partitions_n || steady_ms() < c->commit_at) return;
    if (c->catching_up) return;
    places_auto *list = rd_kafka_topic_partition_list_new((int)c->partitions_n);
    each_partition(p, c) position_add(c, list, p);
    c->commit_wanted = rd_kafka_commit(c->rk, list, true);
    c->commit_under_way = !c->commit_wanted;
    c->commit_at = steady_ms() + (c->commit_wanted ? COMMIT_AGAIN_MS : COMMIT_EVERY_MS);
}

/* Else who stops right after a record would seem not to have handled it until its next start. The consumer's close
 * waits for it, so not where Kafka is away. */
static void commit_last(struct consumer *c) {
    c->commit_at = 0;
    c->commit_under_way = false;
    if (!c->commit_failed) commit_positions(c);
}

/* --- Reading */

/* "": an error that is about no topic. */
static const char *topic_of(const rd_kafka_message_t *m) {
    return m->rkt ? rd_kafka_topic_name(m->rkt) : "";
}

/* The log has no such offset. On a first run that means that it begins later. So it does when all that was read, and
 * nothing else, was deleted. Otherwise somebody must decide. */
static void offset_lost(struct consumer *c, struct partition *p, const rd_kafka_message_t *m) {
    if (!p || p->state == PARTITION_LOST) return;
    c->assign_again = true;
    if (p->fetched >= 0 && m->offset >= 0 && m->offset != p->fetched) return; /* of where it was before: asks anew */
    if (p->next == OFFSET_NONE && p->fetched == 0) {
        p->fetched = RD_KAFKA_OFFSET_BEGINNING;
    } else if (p->state == PARTITION_CHECKING) {
        partition_checked(p);
    } else {
        log_lose(c, p, "it no longer has offset %lld (it was truncated, or made anew)", (long long)partition_next(p));
    }
}

/* Nothing more can be read now: what is behind it, if anything, belongs to a transaction that is under way. */
static void take_end(struct consumer *c, struct partition *p, const rd_kafka_message_t *m) {
    if (!p || c->assign_again || p->state == PARTITION_LOST) return;
    if (p->state == PARTITION_CHECKING && m->offset >= p->next) {
        log_lose(
            c, p, "the record at offset %lld, which was read, is not there (the topic was made anew)",
            (long long)p->mark_of);
        return;
    }
    int64_t before = partition_position(p);
    partition_end(c, p, m->offset);
    if (partition_position(p) > before) c->commit_wanted = true;
}

static void take_error(struct consumer *c, struct partition *p, const rd_kafka_message_t *m) {
    const char *text = rd_kafka_message_errstr(m);
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: take_end(c, p, m); break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: offset_lost(c, p, m); break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        c->check_again = true;
        health_set(
            c->core->health, "kafka", HEALTH_WAITING,
            "waiting for the topic %s, which its owner makes when it first starts", topic_of(m));
        break;
    case RD_KAFKA_RESP_ERR__FATAL: on_error(c->rk, m->err, text, c); break;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED: denied_group(c, text); break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        denied(c, p ? &p->denied : &c->denied, (struct right){p ? "Read" : "Describe", "topic", topic_of(m)});
        break;
    default: log_line(LOG_WARNING, "Kafka reports", "reason", text, NULL);
    }
}

/* True while more may be at hand. */
static bool take_one(struct consumer *c, int timeout_ms) {
    rd_kafka_message_t *m = rd_kafka_consumer_poll(c->rk, timeout_ms);
    if (!m) return false;
    struct partition *p = partition_find(c, topic_of(m), m->partition);
    /* What comes before a new assignment is made is from the old position. It will be fetched again. */
    bool read = p && !c->assign_again && (!m->err || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF);
    if (read && p->denied) p->denied = false, allowed(c);
    if (m->err) take_error(c, p, m);
    /* Below `fetched`: a second copy of a fetch, as versions before 2.1.1 can give. Not kept for want of memory:
     * fetched again. */
    if (read && !m->err && p->state != PARTITION_LOST && m->offset >= p->fetched && !log_compare(c, p, m) &&
        throttle_keeps(c, p)) {
        pthread_mutex_lock(&c->lock);
        verdict v = partition_add(p, m);
        pthread_mutex_unlock(&c->lock);
        if (v == OK) {
            metric_add(METRIC_events_consumed, 1);
            return true;
        }
        c->assign_again = true;
    }
    rd_kafka_message_destroy(m);
    return true;
}

/* How long to wait for the first record: not at all when some wait already, else until a held partition's time comes.
 */
static int first_wait(const struct consumer *c) {
    int64_t now = steady_ms(), wait = IDLE_MS;
    if (c->commit_wanted) wait = c->commit_at > now ? c->commit_at - now : COMMIT_EVERY_MS;
    if (c->assign_again && wait > ASSIGN_MS / 5) wait = ASSIGN_MS / 5;
    each_partition(p, c) {
        if (!p->waiting_n || c->drill.mode != DRILL_NONE) continue;
        int64_t left = partition_wait(p, now);
        if (left < wait) wait = left;
    }
    return (int)throttle_wait(c, wait);
}

/* Once a partition was resumed, or the queue was full, librdkafka's thread that fetches from the broker sleeps, for up
 * to a second, however soon there is nothing more in the queue. A request to that broker wakes it: here any, whose
 * answer nobody needs. Of several brokers it wakes the coordinator's. From 2.2 on a full queue needs none:
 * `fetch.queue.backoff.ms`. */
static void fetch_wake(struct consumer *c) {
    size_t queued = rd_kafka_queue_length(c->queue);
    if (queued > c->queued_most) c->queued_most = queued;
    bool emptied = c->queued_most >= QUEUED_MUCH && queued <= c->queued_most / 2;
    if (!c->resumed && (!emptied || rd_kafka_version() >= 0x020200ff)) return;
    c->resumed = false;
    c->queued_most = queued;
    rd_kafka_ListConsumerGroupOffsets_t *request = rd_kafka_ListConsumerGroupOffsets_new(c->group, NULL);
    rd_kafka_ListConsumerGroupOffsets(c->rk, &request, 1, NULL, c->answers);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    for (rd_kafka_event_t *event; (event = rd_kafka_queue_poll(c->answers, 0));) rd_kafka_event_destroy(event);
}

/* No lingering: waits for the first record, then takes only what is there already, and what is no more than a batch
 * with those that wait. */
static void take_what_is_there(struct consumer *c) {
    int64_t n = 1, now = steady_ms();
    fetch_wake(c);
    bool more = take_one(c, first_wait(c));
    each_partition(p, c)
        if (!partition_wait(p, now)) n += (int64_t)p->waiting_n;
    while (more && n++ < c->core->settings->batch) more = take_one(c, 0);
}

/* --- Handling */

/* The ids of all that wait are asked for at once: else each would be waited for in its turn. */
static void schemas_want(struct consumer *c, const struct partition *p) {
    for (size_t i = p->taken; i < p->waiting_n && i < p->taken + WANTED_MAX; i++) {
        const rd_kafka_message_t *m = p->waiting[i];
        int32_t id;
        if (frame_schema(m->payload, m->len, &id)) registry_want(c->core->registry, id);
    }
}

/* What it takes, with its schema, unless the one before it has the same. */
static size_t record_bytes(const struct consumer *c, size_t n) {
    const struct record *r = &c->records[n];
    bool is_new = r->schema && (!n || c->records[n - 1].schema != r->schema);
    return r->written.bytes + (is_new ? schema_bytes(r->schema) : 0);
}

/* Decodes from the front of each partition until the batch is full, or takes too much memory, or one must wait for its
 * schema. */
static size_t records_decode(struct consumer *c) {
    size_t bytes = 0, n = 0, most = throttle_take(c), batch = (size_t)c->core->settings->batch;
    const struct partition *turn = throttle_turn(c, most);
    int64_t now = steady_ms();
    if (batch < most) most = batch;
    each_partition(p, c) {
        p->taken = 0;
        while (!partition_wait(p, now) && p->taken < p->waiting_n && n < most && bytes < BATCH_BYTES &&
               (!turn || p == turn)) {
            struct failure why;
            struct raw raw = raw_of(p->waiting[p->taken]);
            if (record_decode(c->core, &raw, &p->patience, &c->records[n], &why) != OK) {
                schemas_want(c, p);
                partition_hold(c, p, why.text);
                break;
            }
            bytes += record_bytes(c, n);
            n++, p->taken++;
        }
    }
    return n;
}

/* Moves the offset only from where this process left it: a second owner of the partition is noticed here. No row has
 * OFFSET_NONE. */
static bool offset_move(const struct consumer *c, struct connection *conn, const struct partition *p) {
    const rd_kafka_message_t *last = p->waiting[p->taken - 1];
    return store_run(
               conn,
               "INSERT INTO consumer_offset AS o (topic, partition, next_offset, mark, cluster) VALUES (?, ?, ?, ?, ?) "
               "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, mark = excluded.mark, "
               "cluster = COALESCE(excluded.cluster, o.cluster) WHERE o.next_offset = ?",
               value_text(p->topic), value_int(p->id), value_int(last->offset + 1), value_int(log_mark(last)),
               value_text(*c->cluster ? c->cluster : NULL), value_int(p->next)) == 1;
}

/* All at once, or, where one of them is rejected half-way, once more with each behind a savepoint. */
static struct connection *records_apply(struct consumer *c, size_t n) {
    struct connection *conn = store_begin(c->core->store);
    size_t i = 0;
    while (i < n && record_apply(c->core, conn, &c->records[i], false)) i++;
    if (i == n) return conn;
    store_rollback(conn);
    conn = store_begin(c->core->store);
    for (i = 0; i < n; i++) (void)!record_apply(c->core, conn, &c->records[i], true);
    return conn;
}

static verdict records_commit(struct consumer *c, size_t n, struct failure *why) {
    struct connection *conn = records_apply(c, n);
    each_partition(p, c) {
        if (!p->taken || offset_move(c, conn, p) || store_state(conn) != OK) continue;
        store_rollback(conn);
        return fail(
            why, FATAL, "another process moved the offset of %s/%d past %lld", p->topic, p->id,
            (long long)partition_next(p));
    }
    crash_point("before commit");
    return store_commit(conn, why);
}

static void partitions_advance(struct consumer *c) {
    pthread_mutex_lock(&c->lock);
    each_partition(p, c) {
        if (!p->taken) continue;
        p->next = p->waiting[p->taken - 1]->offset + 1;
        p->mark = log_mark(p->waiting[p->taken - 1]);
        p->mark_of = p->next - 1;
        snprintf(p->cluster, sizeof p->cluster, "%s", c->cluster);
        partition_shift(p, p->taken);
    }
    pthread_mutex_unlock(&c->lock);
    each_partition(p, c)
        if (!p->waiting_n) partition_resume(c, p);
}

/* From when each had happened, as far as it says so, else from when Kafka had it. */
static void rates_beat(struct consumer *c, size_t n) {
    int64_t now = clock_ms();
    for (size_t i = 0; i < n; i++) {
        int64_t at = c->records[i].event.occurred_at;
        if (at <= 0 || at > now) at = c->records[i].raw.at;
        rates_add(c->options.rates, now, &(int64_t){at > 0 ? now - at : 0}, 1);
    }
}

static void handle_waiting(struct consumer *c) {
    struct failure why;
    if (atomic_exchange(&c->news, false))
        each_partition(p, c) p->held_until = 0; /* each is tried again at once */
    size_t n = records_decode(c);
    if (!n) return;
    verdict v = records_commit(c, n, &why);
    for (size_t i = 0; v == OK && i < n; i++) record_count(&c->records[i]);
    for (size_t i = 0; i < n; i++) record_free(&c->records[i]);
    if (v == OK) {
        crash_point("after commit");
        rates_beat(c, n);
        partitions_advance(c);
        c->commit_wanted = true;
        metric_add(METRIC_events_handled, (int64_t)n);
        metric_add(METRIC_batches_committed, 1);
        health_set(c->core->health, "store", HEALTH_OK, "writes");
        c->options.committed(c->options.context);
        return;
    }
    metric_add(METRIC_batch_retries, 1);
    each_partition(p, c)
        if (p->taken) partition_hold(c, p, why.text);
    if (v == RETRY)
        health_set(c->core->health, "store", HEALTH_FAILED, "nothing is handled until this is mended: %s", why.text);
    else
        process_end(why.text);
}

/* --- Joining and leaving the group */

static verdict subscribe(struct consumer *c, struct failure *why) {
    const struct settings *s = c->core->settings;
    char topic[NAME_SIZE];
    if (!strcmp(c->core->service->subscribes, "*"))
        snprintf(topic, sizeof topic, "^%s%s[a-z0-9-]+\\.events$", s->namespace, *s->namespace ? "\\." : "");
    else
        topic_spec_of(&topic_spec_events, c->core->service->subscribes, s, topic, sizeof topic);
    places_auto *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(c->rk, list);
    c->subscribed = true;
    return error ? fail(why, FATAL, "could not subscribe to \"%s\": %s", topic, rd_kafka_err2str(error)) : OK;
}

static verdict consumer_open(struct consumer *c, struct failure *why) {
    settings_scoped(c->core->settings, c->core->settings->service, c->group, sizeof c->group);
    /* Static membership: a killed process that comes back gets its partitions at once, not after a session timeout. */
    bool is_static = strcmp(c->core->settings->instance, "-") != 0;
    char bytes[24], wait[24];
    int wait_ms = c->core->service->fetch_wait_ms;
    const struct property properties[] = {
        {"group.id", c->group},
        {"fetch.min.bytes", log_number(bytes, wait_ms ? FETCH_BYTES : 1)},
        {"fetch.wait.max.ms", log_number(wait, wait_ms ? wait_ms : FETCH_IDLE_MS)},
        {"heartbeat.interval.ms", "1000"},
        {"partition.assignment.strategy", "range"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"enable.partition.eof", "true"},
        {"check.crcs", "true"},
        {"queued.min.messages", "10000"},
        {"queued.max.messages.kbytes", "4096"},
        /* After a broker's crash librdkafka 2.0.2 can ask for the coordinator on a connection that waits for the
         * answer. Only this ends it, and its default is a minute. May go from 2.10 on, which asks another broker. */
        {"socket.timeout.ms", "5000"},
        {is_static ? "group.instance.id" : NULL, c->core->settings->instance},
        {0}};
    rd_kafka_t *rk;
    verdict v = kafka_open(&rk, RD_KAFKA_CONSUMER, c->core->settings, consumer_prepare, c, properties, why);
    if (v != OK) return v;
    rd_kafka_poll_set_consumer(rk);
    pthread_mutex_lock(&c->lock);
    c->rk = rk;
    c->queue = rd_kafka_queue_get_consumer(rk);
    c->answers = rd_kafka_queue_new(rk);
    pthread_mutex_unlock(&c->lock);
    c->broken = c->assign_again = c->check_again = c->commit_wanted = c->commit_under_way = false;
    health_set(c->core->health, "kafka", HEALTH_WAITING, "connecting to Kafka at %s", c->core->settings->kafka);
    c->subscribed = false;
    return c->core->held ? OK : subscribe(c, why);
}

static void consumer_close(struct consumer *c) {
    if (!c->rk) return;
    rd_kafka_consumer_close(c->rk);
    partitions_clear(c);
    pthread_mutex_lock(&c->lock);
    rd_kafka_t *rk = c->rk;
    rd_kafka_queue_destroy(c->queue);
    rd_kafka_queue_destroy(c->answers);
    c->rk = NULL;
    c->queue = NULL;
    pthread_mutex_unlock(&c->lock);
    rd_kafka_destroy(rk);
}

/* A static member whose answer to a join was lost with its broker is fenced by its own second join, as it would be by
 * another process of the same identity. Nothing is lost with the handle: all that counts is in the database. librdkafka
 * can hang as it closes one (2.0, and notes up to 2.15 tell of further such hangs that were mended). Then the process
 * ends, and is started again. A stop has its own limit (service.c). */
static void consumer_reopen(struct consumer *c) {
    struct failure why;
    struct limit limit;
    log_line(LOG_WARNING, "joining the consumer group again", NULL);
    limit_begin(&limit, CLOSE_MS, process_end, "librdkafka did not close the consumer within 15 s");
    consumer_close(c);
    limit_end(&limit);
    usleep(REOPEN_MS * 1000);
    if (consumer_open(c, &why) != OK) process_end(why.text);
}

/* --- The thread */

static void *consumer_run(void *consumer) {
    struct consumer *c = consumer;
    struct failure why;
    pthread_setname_np(pthread_self(), "consumer");
    while (!c->stopping) {
        /* One that was held (history.h) joins its group only now: a member that takes nothing would have others wait.
         */
        if (!c->subscribed && !c->core->held && subscribe(c, &why) != OK) process_end(why.text);
        take_what_is_there(c);
        if (c->broken) consumer_reopen(c);
        if (c->stopping || !c->rk) break;
        throttle_follow(c);
        log_watch(c);
        handle_waiting(c);
        catch_up_watch(c);
        commit_positions(c);
        denied_try_again(c);
        assign_again(c);
    }
    if (c->rk) commit_last(c);
    consumer_close(c);
    return NULL;
}

verdict consumer_start(struct consumer **out, const struct consumer_options *o, struct failure *why) {
    struct consumer *c = *out = calloc(1, sizeof *c);
    if (!c) return fail(why, FATAL, "out of memory");
    size_t batch = (size_t)o->core->settings->batch;
    *c = (struct consumer){
        .options = *o,
        .core = o->core,
        .catching_up = o->core->service->in_memory,
        .records = calloc(batch, sizeof *c->records)};
    pthread_mutex_init(&c->lock, NULL);
    if (!c->records) return fail(why, FATAL, "out of memory");
    verdict v = consumer_open(c, why);
    if (v != OK) return v;
    c->running = !pthread_create(&c->thread, NULL, consumer_run, c);
    return c->running ? OK : fail(why, FATAL, "could not start the consumer's thread");
}

void consumer_wake(struct consumer *c) {
    if (!c) return;
    c->news = true;
    lock_auto(&c->lock);
    if (c->queue) rd_kafka_queue_yield(c->queue);
}

void consumer_log_accepted(struct consumer *c) {
    c->log_accepted = true;
    consumer_wake(c);
}

void consumer_stop(struct consumer **out) {
    struct consumer *c = *out;
    if (!c) return;
    c->stopping = true;
    consumer_wake(c);
    if (c->running)
        pthread_join(c->thread, NULL);
    else
        consumer_close(c);
    pthread_mutex_destroy(&c->lock);
    free(c->records);
    free(c);
    *out = NULL;
}

json_t *consumer_partitions(struct consumer *c, int64_t *oldest_unhandled_ms) {
    json_t *all = json_array();
    int64_t now = clock_ms();
    *oldest_unhandled_ms = 0;
    lock_auto(&c->lock);
    each_partition(p, c) {
        int64_t low, end = -1, position = partition_position(p);
        if (rd_kafka_get_watermark_offsets(c->rk, p->topic, p->id, &low, &end)) end = -1;
        if (end >= 0 && p->ended >= 0) end = p->ended;
        /* So that the end is one past the last record. */
        if (end >= 0 && end <= position) end = position = partition_next(p);
        json_array_append_new(
            all, json_pack(
                     "{s:s, s:i, s:I, s:o, s:o, s:s?}", "topic", p->topic, "partition", p->id, "next",
                     (json_int_t)partition_next(p), "end", end < 0 ? json_null() : json_integer(end), "lag",
                     end < 0 ? json_null() : json_integer(end - position), "held", *p->lost ? p->lost : NULL));
        int64_t at = p->waiting_n ? kafka_time(p->waiting[0]) : now;
        if (at && now - at > *oldest_unhandled_ms) *oldest_unhandled_ms = now - at;
    }
    return all;
}
