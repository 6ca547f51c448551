#include "chassis/outgoing/relay_private.h"

#include "chassis/base/crash.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/wait.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/audit_heads.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/outgoing/snapshots.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_BYTES = 1000000 /* librdkafka's own */ };

/* --- Sending */

/* RETRY: no more for now. REJECT: it can never be sent. */
static verdict send_row(struct relay *r, struct connection *c, const struct rows *row, struct failure *why) {
    int64_t id = rows_int(row, 0);
    const char *key = rows_text(row, 3);
    bool letter = !rows_null(row, 7), alone = id <= r->alone_until;
    bool first = !letter && !first_record_taken(&r->first, key, strlen(key));
    if (first && r->in_flight) return RETRY;
    if (alone || first) {
        r->alone = id;
        r->is_letter = letter;
    }
    verdict v = relay_produce(r, c, row, why);
    if (v != OK) return v;
    r->handed[r->handed_n++] = (struct handed){.row = id};
    r->last_row = id;
    r->in_flight++;
    return alone || first ? RETRY : OK;
}

/* All that were refused together were taken one by one: it was their batch that was too large. Batches are smaller
 * from now on, until the next start. False: the last one is still under way, or the producer is to be another one. */
static bool alone_ended(struct relay *r) {
    if (r->in_flight) return false;
    r->alone_until = r->alone = 0;
    if (!r->by_size || r->guilty || r->batch_bytes <= 1) return true;
    r->batch_bytes = r->batch_bytes > 4 ? r->batch_bytes / 4 : 1;
    r->failed = true;
    return false;
}

static void send_waiting(struct relay *r) {
    if (r->again && r->handed_n) return; /* what it has is marked first: else it would be handed over twice */
    if (atomic_exchange(&r->again, false)) {
        r->last_row = 0;
        snapshots_again(r->snapshots);
    }
    bool alone = r->last_row < r->alone_until;
    if (r->alone_until && !alone && !alone_ended(r)) return;
    /* In halves, so that a full window is not read row by row. */
    if (r->handed_n >= (alone ? 1 : RELAY_WINDOW / 2)) return;
    struct connection *c = store_reader(r->o.store);
    struct rows row = outbox_rows(c, r->last_row, alone ? 1 : RELAY_WINDOW - (int64_t)r->handed_n);
    struct failure why;
    int64_t id = 0;
    verdict v = OK;
    while (v == OK && rows_next(&row)) {
        id = rows_int(&row, 0);
        v = send_row(r, c, &row, &why);
    }
    rows_close(&row);
    if (v == REJECT) relay_never(r, id, why.text);
    if (store_state(c) != OK)
        log_line(LOG_ERROR, "could not read the outbox", "reason", store_error(c), NULL);
    else if (alone && !id)
        r->last_row = r->alone_until; /* the last of them was set aside */
    if (r->in_flight) crash_point("after send");
}

/* The only place where an event counts as published. After a power cut what is not on the disk is sent again, as after
 * a kill right before. */
bool relay_mark(struct relay *r, bool last) {
    size_t all = last ? r->handed_n : outbox_done(r->handed, r->handed_n), done = 0;
    struct failure why;
    for (size_t i = 0; i < all; i++) done += r->handed[i].done;
    if (done) {
        crash_point("after delivery");
        struct connection *c = store_begin_relaxed(r->o.store);
        outbox_mark(c, r->handed, r->handed_n, last);
        if (store_commit(c, &why) != OK) {
            log_line(LOG_ERROR, "could not mark events as sent; trying again", "reason", why.text, NULL);
            return false;
        }
        metric_add(METRIC_events_sent, (int64_t)done);
    }
    r->handed_n -= all;
    memmove(r->handed, r->handed + all, r->handed_n * sizeof *r->handed);
    return true;
}

/* --- The thread */

static void relay_step(struct relay *r) {
    struct failure why;
    if (!r->producer && relay_producer_open(r, &why) != OK) {
        health_set(r->o.health, "kafka producer", HEALTH_FAILED, "%s", why.text);
        usleep(RELAY_ASK_MS * 1000);
        return;
    }
    if (!r->topic_ready) relay_topics_ask(r);
    bool encodable = event_schemas_ready(r->schemas), held = r->o.held && *r->o.held,
         may = !held && r->topic_ready && !r->failed && steady_ms() >= r->not_before;
    if (may && encodable && !outbox_done(r->handed, r->handed_n)) send_waiting(r);
    if (may && !r->failed) audit_heads_step(r->heads, r->producer);
    if (may && !r->failed) snapshots_step(r->snapshots, r->producer);
    rd_kafka_poll(r->producer, may && !r->failed ? 1000 : 50);
    (void)!relay_mark(r, false);
    if (r->failed) relay_producer_end(r);
}

static void *relay_run(void *relay) {
    struct relay *r = relay;
    while (worker_pause(&r->worker, 0)) relay_step(r);
    if (r->producer && r->topic_ready) rd_kafka_flush(r->producer, 500);
    (void)!relay_mark(r, true);
    relay_producer_close(r);
    return NULL;
}

verdict relay_start(struct relay **out, const struct relay_options *o, struct failure *why) {
    struct relay *r = *out = calloc(1, sizeof *r);
    if (!r) return fail(why, FATAL, "out of memory");
    r->o = *o;
    r->batch_bytes = BATCH_BYTES;
    pthread_mutex_init(&r->lock, NULL);
    topic_spec_name(&topic_spec_events, o->settings, r->topic, sizeof r->topic);
    topic_spec_name(&topic_spec_letters, o->settings, r->dead_letters, sizeof r->dead_letters);
    verdict v = relay_producer_open(r, why); /* a wrong -X property is said at the start */
    if (v == OK) v = audit_heads_open(&r->heads, &r->o, why);
    if (v == OK) v = snapshots_open(&r->snapshots, &r->o, why);
    if (v != OK) return v;
    if (!(r->schemas = event_schemas_new(&r->o, r->topic))) return fail(why, FATAL, "out of memory");
    set_aside_tell(o->store, o->health);
    return worker_start(&r->worker, "relay", relay_run, r) ? OK
                                                           : fail(why, FATAL, "could not start the relay's thread");
}

void relay_wake(struct relay *r) {
    if (!r) return;
    lock_auto(&r->lock);
    if (r->queue) rd_kafka_queue_yield(r->queue);
}

void relay_again(struct relay *r) {
    if (!r) return;
    r->again = true;
    relay_wake(r);
}

void relay_stop(struct relay **out) {
    struct relay *r = *out;
    if (!r) return;
    worker_end(&r->worker);
    relay_wake(r);
    worker_stop(&r->worker);
    relay_producer_close(r); /* of one that never ran */
    audit_heads_close(&r->heads);
    snapshots_close(&r->snapshots);
    event_schemas_free(&r->schemas);
    pthread_mutex_destroy(&r->lock);
    free(r);
    *out = NULL;
}
