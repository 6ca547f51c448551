#include "chassis/outgoing/relay_private.h"

#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/wait.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/audit_heads.h"
#include "chassis/outgoing/delivery.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/outgoing/snapshots.h"
#include "chassis/outgoing/state_topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAIN_MS = 5000, PAUSE_MS = 100, PAUSE_MAX_MS = 10000, CLOSE_MS = 15000 };

/* --- What librdkafka calls, inside rd_kafka_poll() on the relay thread */

void relay_never(struct relay *r, int64_t row, const char *reason) {
    struct failure why;
    if (set_aside(r->o.store, row, reason, &why) != OK)
        log_line(LOG_ERROR, "could not set an event aside; trying again", "reason", why.text, NULL);
    else
        relay_wake(r); /* what stands behind goes on at once */
    set_aside_tell(r->o.store, r->o.health);
}

static void refused(struct relay *r, int64_t row, rd_kafka_resp_err_t error) {
    char reason[SET_ASIDE_REASON];
    r->failed = true;
    if (row != r->alone) {
        if (r->alone_until < r->last_row) r->guilty = false;
        if (r->alone_until < r->last_row) r->alone_until = r->last_row;
        r->by_size = delivery_by_size(error);
    } else if (r->is_letter && r->bare != row) {
        r->bare = row;
    } else {
        r->guilty = true;
        snprintf(reason, sizeof reason, "Kafka refused it: %s", rd_kafka_err2str(error));
        relay_never(r, row, reason);
    }
}

/* What may pass: after a pause, which doubles until something is taken again. */
void relay_try_again(struct relay *r, const char *reason) {
    if (r->failed && r->not_before > steady_ms()) return; /* said already */
    r->failed = true;
    r->pause_ms = pause_next(r->pause_ms, PAUSE_MS, PAUSE_MAX_MS);
    r->not_before = steady_ms() + r->pause_ms;
    /* At first, and then at most once a second. */
    bool loud = r->pause_ms == PAUSE_MS || r->pause_ms >= 1000;
    log_line(
        loud ? LOG_WARNING : LOG_DEBUG, "delivery failed; sending again from the first event not confirmed", "reason",
        reason, NULL);
    health_set(
        r->o.health, "kafka producer", HEALTH_WAITING,
        "Kafka does not take what is published to %s, and is tried again: %s", r->topic, reason);
}

static void producer_works(struct relay *r) {
    health_set(r->o.health, "kafka producer", HEALTH_OK, "publishes to %s", r->topic);
}

/* Kafka gives a producer its number when it may write to any topic at all. */
static void try_again_since(struct relay *r, rd_kafka_resp_err_t error, const char *topic) {
    char reason[DENIAL_TEXT];
    relay_try_again(r, denial_reason(r->o.settings, error, (struct right){"Write", "topic", topic}, reason));
}

static int handed_compare(const void *a, const void *b) {
    int64_t left = ((const struct handed *)a)->row, right = ((const struct handed *)b)->row;
    return (left > right) - (left < right);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk;
    struct relay *r = opaque;
    if (!m->_private) {
        audit_heads_delivered(r->heads, m);
        return;
    }
    if (snapshots_delivered(r->snapshots, m)) return;
    r->in_flight--;
    int64_t row = (int64_t)(intptr_t)m->_private;
    if (delivery_unheard(m)) {
        relay_try_again(r, "Kafka took a later record, and said nothing of this one");
        return;
    }
    if (!m->err) { /* whatever failed besides: the producer leaves no gap, so nothing before it in its return did */
        if (r->pause_ms) producer_works(r);
        r->pause_ms = 0;
        bool event = m->rkt && !strcmp(rd_kafka_topic_name(m->rkt), r->topic);
        struct handed *h = bsearch(&(struct handed){.row = row}, r->handed, r->handed_n, sizeof *h, handed_compare);
        if (event) first_record_confirm(&r->first, m->partition);
        if (h) *h = (struct handed){row, true, event ? m->partition : -1, m->offset};
        return;
    }
    if (m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE) return;
    metric_add(METRIC_send_failures, 1);
    if (delivery_refuses(m->err))
        refused(r, row, m->err);
    else
        try_again_since(r, m->err, m->rkt ? rd_kafka_topic_name(m->rkt) : r->topic);
}

static void on_error(rd_kafka_t *rk, int error, const char *text, void *opaque) {
    struct relay *r = opaque;
    char fatal[300];
    rd_kafka_resp_err_t cause = error == RD_KAFKA_RESP_ERR__FATAL ? rd_kafka_fatal_error(rk, fatal, sizeof fatal) : 0;
    if (denial_is(cause)) try_again_since(r, cause, r->topic);
    if (cause) r->failed = true; /* any other is in the delivery report */
    if (kafka_lost(r->o.health, "kafka producer", r->o.settings, error, text))
        r->topic_ready = false; /* ask again: the answer says when Kafka is back */
}

static void producer_prepare(rd_kafka_conf_t *conf) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_error_cb(conf, on_error);
}

/* --- Its life */

verdict relay_producer_open(struct relay *r, struct failure *why) {
    char batch_bytes[24];
    const struct property properties[] = {
        {"enable.idempotence", "true"},
        /* What is refused ends this producer: else it would close the gap itself, and what stands behind in the same
         * return would be sent before what was refused with others and is sent again. */
        {"enable.gapless.guarantee", "true"},
        {"acks", "all"},
        {"batch.size", log_number(batch_bytes, r->batch_bytes)},
        {"linger.ms", "1"},
        /* A dead letter may be larger than an event of our own. */
        {"message.max.bytes", "9000000"},
        {"queue.buffering.max.kbytes", "32768"},
        /* Never given up by time: a message that timed out would let a later one of its return overtake it. */
        {"message.timeout.ms", "0"},
        {0}};
    rd_kafka_t *rk;
    verdict v = kafka_open(&rk, RD_KAFKA_PRODUCER, r->o.settings, producer_prepare, r, properties, why);
    if (v != OK) return v;
    lock_auto(&r->lock);
    r->producer = rk;
    r->queue = rd_kafka_queue_get_main(rk);
    r->failed = r->topic_ready = false;
    r->last_row = r->alone = r->drain_until = 0;
    r->in_flight = 0;
    r->handed_n = 0;
    return OK;
}

void relay_producer_close(struct relay *r) {
    pthread_mutex_lock(&r->lock);
    rd_kafka_t *rk = r->producer;
    if (r->queue) rd_kafka_queue_destroy(r->queue);
    r->producer = NULL;
    r->queue = NULL;
    pthread_mutex_unlock(&r->lock);
    if (!rk) return;
    rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_destroy(rk);
    first_record_end(&r->first);
    audit_heads_forget(r->heads);
    snapshots_forget(r->snapshots);
}

/* What is in flight is either taken, and then marked, or it is sent again. */
void relay_producer_end(struct relay *r) {
    if (!r->drain_until) {
        r->drain_until = steady_ms() + DRAIN_MS;
        rd_kafka_purge(r->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
    }
    if ((rd_kafka_outq_len(r->producer) && steady_ms() < r->drain_until) || !relay_mark(r, true)) return;
    struct limit limit; /* a stop has its own (service.c) */
    limit_begin(&limit, CLOSE_MS, r->o.end, "librdkafka did not close the producer within 15 s");
    relay_producer_close(r);
    limit_end(&limit);
}

/* --- The topics */

static verdict
topic_ensure(struct relay *r, const char *topic, const struct topic_spec *p, int32_t *has, struct failure *why) {
    return kafka_ensure_topic(r->producer, r->o.settings, topic, p->partitions, p->config, RELAY_ASK_MS, has, why);
}

void relay_topics_ask(struct relay *r) {
    struct failure why;
    int32_t partitions;
    r->topic_ready = topic_ensure(r, r->topic, &topic_spec_events, &partitions, &why) == OK &&
                     topic_ensure(r, r->dead_letters, &topic_spec_letters, NULL, &why) == OK;
    if (r->topic_ready && !first_record_begin(&r->first, r->producer, partitions))
        log_line(LOG_WARNING, "without memory, events are sent one by one", NULL);
    if (r->topic_ready && !r->pause_ms)
        producer_works(r);
    else if (!r->topic_ready)
        health_set(
            r->o.health, "kafka producer", HEALTH_WAITING, "waiting for Kafka at %s: %s", r->o.settings->kafka,
            why.text);
}
