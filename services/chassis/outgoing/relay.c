#include "chassis/outgoing/relay.h"

#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/crash.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/wait.h"
#include "chassis/events/letter.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/audit_heads.h"
#include "chassis/outgoing/delivery.h"
#include "chassis/outgoing/first_record.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/outgoing/snapshots.h"
#include "chassis/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WINDOW = 1000,
    VERSIONS_MAX = 200,
    ASK_MS = 500,
    NAME_SIZE = 400,
    DRAIN_MS = 5000,
    PAUSE_MS = 100,
    PAUSE_MOST_MS = 10000,
    CLOSE_MS = 15000,
    BATCH_BYTES = 1000000, /* librdkafka's own */
};

struct delivered {
    int64_t row;
    int32_t partition;
    int64_t offset;
};

struct relay {
    struct relay_options o;
    char topic[NAME_SIZE], dead_letters[NAME_SIZE];
    struct version { /* a schema that events in the outbox were, or will be, encoded by */
        char type[NAME_SIZE], subject[2 * NAME_SIZE];
        const char *text; /* lives with the outbox, unless it is loaded */
        char *loaded;     /* of an older run */
        int64_t row;      /* of outbox_schema */
        bool given;       /* in place of the program's own */
        bool ready;       /* the registry has it, as schema_id */
        int32_t schema_id;
    } versions[VERSIONS_MAX];
    size_t versions_n;
    struct audit_heads *heads;   /* published besides, by the same producer; their opaque is NULL */
    struct snapshots *snapshots; /* and so are these, if there are any */
    pthread_t thread;
    bool running;
    atomic_bool stopping, again; /* again: begin with the first row that waits, once nothing is in flight */

    pthread_mutex_t lock; /* guards the handle against relay_wake() while it is replaced */
    rd_kafka_t *producer;
    rd_kafka_queue_t *queue;

    /* The relay thread's own. */
    bool topic_ready, schemas_ready;
    bool settled;        /* nothing is to be asked of the registry any more */
    bool failed;         /* a delivery failed: start again at the first row not marked */
    int64_t drain_until; /* then: what is in flight is waited for, so that what was taken is not sent again */
    int64_t last_row;    /* the newest that was handed to the producer */
    int in_flight;
    struct first_record first; /* of the topic of events */
    struct delivered done[WINDOW];
    int done_n;
    int64_t pause_ms, not_before; /* after what may pass; 0: the last was taken */

    /* A batch was refused, and with it many a record that is not at fault: each is sent alone up to this row. */
    int64_t alone_until;
    bool by_size, guilty; /* why; one of them was refused alone as well */
    int64_t alone, bare;  /* which row is sent alone; which dead letter goes without what came with it */
    bool is_letter;       /* the one that is alone */
    int batch_bytes;
    struct {
        int64_t row; /* 0: none */
        char reason[SET_ASIDE_REASON];
    } never; /* to be set aside */
};

/* --- What librdkafka calls, inside rd_kafka_poll() on the relay thread */

static void never_send(struct relay *r, int64_t row, const char *reason) {
    r->never.row = row;
    snprintf(r->never.reason, sizeof r->never.reason, "%.*s", SET_ASIDE_REASON - 1, reason);
}

static void refused(struct relay *r, int64_t row, rd_kafka_resp_err_t error) {
    char reason[SET_ASIDE_REASON];
    r->failed = true;
    if (row != r->alone) {
        if (r->alone_until < r->last_row) r->alone_until = r->last_row, r->guilty = false;
        r->by_size = delivery_by_size(error);
    } else if (r->is_letter && r->bare != row) {
        r->bare = row;
    } else {
        r->guilty = true;
        snprintf(reason, sizeof reason, "Kafka refused it: %s", rd_kafka_err2str(error));
        never_send(r, row, reason);
    }
}

/* What may pass: after a pause, which doubles until something is taken again. */
static void try_again(struct relay *r, const char *reason) {
    if (r->failed && r->not_before > steady_ms()) return; /* said already */
    r->failed = true;
    r->pause_ms = !r->pause_ms ? PAUSE_MS : r->pause_ms < PAUSE_MOST_MS / 2 ? 2 * r->pause_ms : PAUSE_MOST_MS;
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
    try_again(r, denial_reason(r->o.settings, error, (struct right){"Write", "topic", topic}, reason));
}

static bool is_event(const struct relay *r, const rd_kafka_message_t *m) {
    return m->rkt && !strcmp(rd_kafka_topic_name(m->rkt), r->topic);
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
        try_again(r, "Kafka took a later record, and said nothing of this one");
        return;
    }
    if (!m->err) { /* whatever failed besides: the producer leaves no gap, so nothing before it in its return did */
        if (r->pause_ms) producer_works(r);
        r->pause_ms = 0;
        if (is_event(r, m)) first_record_confirm(&r->first, m->partition);
        if (r->done_n < WINDOW) r->done[r->done_n++] = (struct delivered){row, m->partition, m->offset};
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

static void producer_prepare(rd_kafka_conf_t *conf, void *opaque) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_opaque(conf, opaque);
}

/* --- The producer */

static verdict producer_open(struct relay *r, struct failure *why) {
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
    pthread_mutex_lock(&r->lock);
    r->producer = rk;
    r->queue = rd_kafka_queue_get_main(rk);
    pthread_mutex_unlock(&r->lock);
    r->failed = r->topic_ready = false;
    r->last_row = r->alone = r->drain_until = 0;
    r->in_flight = r->done_n = 0;
    return OK;
}

static void producer_close(struct relay *r) {
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

/* --- Before the first send: the topic and every schema */

static verdict
topic_ensure(struct relay *r, const char *topic, const struct topic_spec *p, int32_t *has, struct failure *why) {
    return kafka_ensure_topic(r->producer, r->o.settings, topic, p->partitions, p->config, ASK_MS, has, why);
}

static void ask_for_topic(struct relay *r) {
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

static struct version *version_add(struct relay *r, const char *type, const char *text, int64_t row, bool given) {
    if (r->versions_n == VERSIONS_MAX) return NULL;
    struct version *v = &r->versions[r->versions_n++];
    *v = (struct version){.text = text, .row = row, .given = given};
    snprintf(v->type, sizeof v->type, "%s", type);
    snprintf(v->subject, sizeof v->subject, "%s-%s", r->topic, type); /* TopicRecordNameStrategy */
    r->settled = r->schemas_ready = false;
    return v;
}

/* One that was given comes after the program's own, so that it has to be compatible with that at least. */
static const struct version *own_of(const struct relay *r, const char *type) {
    for (size_t i = 0; i < r->versions_n; i++)
        if (!r->versions[i].given && !r->versions[i].loaded && !strcmp(r->versions[i].type, type))
            return &r->versions[i];
    return NULL;
}

static verdict version_ask(struct relay *r, struct version *v, struct failure *why) {
    registry_publish(r->o.registry, v->subject, v->text, strlen(v->text)); /* once is enough */
    verdict said = registry_id(r->o.registry, v->subject, v->text, &v->schema_id, why);
    v->ready = said == OK;
    if (v->ready && v->given) outbox_adopt(r->o.outbox, v->type);
    return said;
}

/* All that the outbox may hold; false: health tells what is waited for. */
static bool ask_for_needed(struct relay *r) {
    struct failure why;
    for (size_t i = 0; i < r->versions_n; i++) {
        struct version *v = &r->versions[i];
        verdict said = v->given || v->ready ? OK : version_ask(r, v, &why);
        if (said == OK) continue;
        if (said == RETRY)
            health_set(
                r->o.health, "schemas", HEALTH_WAITING, "waiting for the registry to take the schema of %s", v->type);
        else
            health_set(r->o.health, "schemas", HEALTH_FAILED, "nothing is published: %s", why.text);
        return false;
    }
    return true;
}

/* Meanwhile, and if it is refused, events go by the program's own. */
static bool ask_for_given(struct relay *r, size_t *given) {
    struct failure why;
    for (size_t i = *given = 0; i < r->versions_n; i++) {
        struct version *v = &r->versions[i];
        if (!v->given) continue;
        verdict said = v->ready ? OK : version_ask(r, v, &why);
        ++*given;
        if (said == OK) continue;
        if (said == RETRY)
            health_set(
                r->o.health, "schemas", HEALTH_WAITING,
                "waiting for the registry to take the schema given for %s; until then its events go by the program's own",
                v->type);
        else
            health_set(
                r->o.health, "schemas", HEALTH_FAILED,
                "the schema given for %s is not used, its events go by the program's own: %s", v->type, why.text);
        return false;
    }
    return true;
}

static void ask_for_schemas(struct relay *r) {
    size_t given;
    if (!r->schemas_ready && !(r->schemas_ready = ask_for_needed(r))) return;
    if (!(r->settled = ask_for_given(r, &given))) return;
    if (given)
        health_set(
            r->o.health, "schemas", HEALTH_OK, "%zu registered, of which %zu in use from %s", r->versions_n, given,
            r->o.settings->schemas);
    else
        health_set(r->o.health, "schemas", HEALTH_OK, "%zu registered", r->versions_n);
}

/* --- Sending */

/* What an earlier run encoded by. Its text, if the database has it, is registered like the others. */
static const struct version *version_load(struct relay *r, struct connection *c, const char *type, int64_t row) {
    char *text = NULL;
    for (struct rows found = store_rows(
             c, "SELECT text FROM outbox_schema WHERE id = ? AND type = ?", value_int(row), value_text(type));
         rows_next(&found);)
        if (!text) text = strdup(rows_text(&found, 0));
    struct version *v = text ? version_add(r, type, text, row, false) : NULL;
    if (v)
        v->loaded = text;
    else
        free(text);
    return v;
}

/* NULL: there is none. A row from before they were noted goes by the program's own. */
static const struct version *
version_of(struct relay *r, struct connection *c, const char *type, bool noted, int64_t row) {
    if (!noted) return own_of(r, type);
    for (size_t i = 0; i < r->versions_n; i++)
        if (r->versions[i].row == row) return &r->versions[i];
    return version_load(r, c, type, row);
}

static rd_kafka_headers_t *headers_of(const struct relay *r, const struct rows *row) {
    char id[UUID_TEXT], time[TIME_TEXT], received[TIME_TEXT], sequence[24];
    struct uuid event_id = {{0}};
    size_t n;
    const void *bytes = rows_blob(row, 1, &n);
    if (n == sizeof event_id.bytes) memcpy(event_id.bytes, bytes, n);
    snprintf(sequence, sizeof sequence, "%019lld", (long long)rows_int(row, 0));
    const char *const values[EVENT_HEADERS] = {
        [CE_SPECVERSION] = "1.0",
        [CE_ID] = uuid_text(event_id, id),
        [CE_TYPE] = rows_text(row, 2),
        [CE_SOURCE] = r->o.settings->public_url,
        [CE_TIME] = time_text(rows_int(row, 6), time),
        [CONTENT_TYPE] = "application/avro",
        [TRACEPARENT] = rows_text(row, 5),
        [CE_SEQUENCE] = sequence,
        [CE_RECEIVEDTIME] = rows_null(row, 8) ? NULL : time_text(rows_int(row, 8), received),
    };
    rd_kafka_headers_t *headers = rd_kafka_headers_new(EVENT_HEADERS);
    for (int i = 0; i < EVENT_HEADERS; i++)
        if (values[i]) rd_kafka_header_add(headers, topic_spec_events.headers[i].name, -1, values[i], -1);
    return headers;
}

enum sending {
    SENT,
    LATER, /* the producer takes no more for now, or the registry has to be asked first */
    NEVER, /* the text says why */
};

/* The headers are the producer's when it took the record. What does not fit into its empty queue never will. */
static enum sending produce(
    struct relay *r, const char *topic, const struct raw *raw, rd_kafka_headers_t *headers, int64_t outbox_row,
    struct failure *why) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        r->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(raw->key, raw->key_n),
        RD_KAFKA_V_VALUE((void *)raw->value, raw->value_n), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE((void *)(intptr_t)outbox_row), RD_KAFKA_V_END);
    if (!error) return SENT;
    rd_kafka_headers_destroy(headers);
    bool full = error == RD_KAFKA_RESP_ERR__QUEUE_FULL;
    if (full && rd_kafka_outq_len(r->producer) > 0) return LATER;
    (void)!fail(why, REJECT, "the producer refused it: %s", rd_kafka_err2str(error));
    if (full || delivery_refuses(error)) return NEVER;
    try_again(r, rd_kafka_err2str(error));
    return LATER;
}

static enum sending
send_dead_letter(struct relay *r, struct connection *c, int64_t outbox_row, int64_t id, struct failure *why) {
    struct dead_letter letter;
    enum sending done = NEVER;
    verdict v = dead_letter_read(c, id, &letter, why);
    for (size_t room = r->bare == outbox_row ? LETTER_BARE : LETTER_ROOM; v == OK && done == NEVER && room;
         room = room > LETTER_BARE ? LETTER_BARE : 0) {
        struct raw raw;
        rd_kafka_headers_t *headers = letter_record(&letter, r->o.settings->service, room, &raw);
        done = produce(r, r->dead_letters, &raw, headers, outbox_row, why);
    }
    dead_letter_free(&letter);
    if (v != RETRY) return done;
    try_again(r, why->text);
    return LATER;
}

static enum sending send_event(struct relay *r, struct connection *c, const struct rows *row, struct failure *why) {
    const struct version *by = version_of(r, c, rows_text(row, 2), !rows_null(row, 9), rows_int(row, 9));
    size_t body_n;
    const void *body = rows_blob(row, 4, &body_n);
    const char *key = rows_text(row, 3);
    if (!by) {
        (void)!fail(why, REJECT, "this program has no schema of a %s; run the one that decided it", rows_text(row, 2));
        return NEVER;
    }
    if (!by->ready) return LATER;
    if (body_n > EVENT_BYTES_MAX) {
        (void)!fail(why, REJECT, "its body of %zu bytes is longer than any event may be", body_n);
        return NEVER;
    }
    struct buffer record = BUFFER(EVENT_BYTES_MAX + FRAME_SIZE);
    frame_write(&record, by->schema_id);
    buffer_bytes(&record, body, body_n);
    if (record.failed) return LATER; /* without memory it would be sent without its value */
    struct raw raw = {.key = key, .key_n = strlen(key), .value = record.data, .value_n = record.length};
    enum sending done = produce(r, r->topic, &raw, headers_of(r, row), rows_int(row, 0), why);
    buffer_free(&record);
    return done;
}

/* False: no more for now. */
static bool send_row(struct relay *r, struct connection *c, const struct rows *row) {
    struct failure why;
    int64_t id = rows_int(row, 0);
    bool letter = !rows_null(row, 7), alone = id <= r->alone_until;
    bool first = !letter && !first_record_taken(&r->first, rows_text(row, 3), strlen(rows_text(row, 3)));
    if (first && r->in_flight) return false;
    if (alone || first) r->alone = id, r->is_letter = letter;
    enum sending done = letter ? send_dead_letter(r, c, id, rows_int(row, 7), &why) : send_event(r, c, row, &why);
    if (done == NEVER) never_send(r, id, why.text);
    if (done != SENT) return false;
    r->last_row = id;
    r->in_flight++;
    return !alone && !first;
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
    if (r->again && r->in_flight) return;
    if (atomic_exchange(&r->again, false)) {
        r->last_row = 0;
        snapshots_again(r->snapshots);
    }
    bool alone = r->last_row < r->alone_until;
    if (r->alone_until && !alone && !alone_ended(r)) return;
    /* In halves, so that a full window is not read row by row. */
    if (r->in_flight >= (alone ? 1 : WINDOW / 2)) return;
    struct connection *c = store_reader(r->o.store);
    struct rows row = store_rows(
        c,
        "SELECT id, event_id, type, return_id, body, trace_parent, occurred_at, dead_letter, received_at, "
        "schema_row FROM outbox WHERE sent_at IS NULL AND set_aside_at IS NULL AND id > ? ORDER BY id LIMIT ?",
        value_int(r->last_row), value_int(alone ? 1 : WINDOW - r->in_flight));
    bool any = false;
    while (rows_next(&row)) {
        any = true;
        if (!send_row(r, c, &row)) break;
    }
    rows_close(&row);
    if (store_state(c) != OK)
        log_line(LOG_ERROR, "could not read the outbox", "reason", store_error(c), NULL);
    else if (alone && !any)
        r->last_row = r->alone_until; /* the last of them was set aside */
    if (r->in_flight) crash_point("after send");
}

/* The only place where an event counts as published. */
static void mark_sent(struct relay *r) {
    if (!r->done_n) return;
    crash_point("after delivery");
    struct failure why;
    struct connection *c = store_begin(r->o.store);
    int64_t now = clock_ms();
    for (int i = 0; i < r->done_n; i++)
        (void)store_run(
            c, "UPDATE outbox SET sent_at = ?, partition = ?, record_offset = ? WHERE id = ?", value_int(now),
            value_int(r->done[i].partition), value_int(r->done[i].offset), value_int(r->done[i].row));
    if (store_commit(c, &why) != OK) {
        log_line(LOG_ERROR, "could not mark events as sent; trying again", "reason", why.text, NULL);
        return;
    }
    metric_add(METRIC_events_sent, r->done_n);
    r->done_n = 0;
}

static void mark_never(struct relay *r) {
    struct failure why;
    if (!r->never.row) return;
    if (set_aside(r->o.store, r->never.row, r->never.reason, &why) != OK) {
        log_line(LOG_ERROR, "could not set an event aside; trying again", "reason", why.text, NULL);
        return;
    }
    r->never.row = 0;
    set_aside_tell(r->o.store, r->o.health);
}

/* What is in flight is either taken, and then marked, or it is sent again. */
static void producer_end(struct relay *r) {
    if (!r->drain_until) {
        r->drain_until = steady_ms() + DRAIN_MS;
        rd_kafka_purge(r->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
    }
    if (r->done_n || r->never.row || (rd_kafka_outq_len(r->producer) && steady_ms() < r->drain_until)) return;
    struct limit limit; /* a stop has its own (service.c) */
    limit_begin(&limit, CLOSE_MS, r->o.end, "librdkafka did not close the producer within 15 s");
    producer_close(r);
    limit_end(&limit);
}

/* --- The thread */

static void relay_step(struct relay *r) {
    struct failure why;
    if (!r->producer && producer_open(r, &why) != OK) {
        health_set(r->o.health, "kafka producer", HEALTH_FAILED, "%s", why.text);
        usleep(ASK_MS * 1000);
        return;
    }
    if (!r->topic_ready) ask_for_topic(r);
    if (!r->settled) ask_for_schemas(r);
    bool held = r->o.held && *r->o.held,
         may = !held && r->topic_ready && !r->failed && !r->never.row && steady_ms() >= r->not_before;
    if (may && r->schemas_ready && !r->done_n) send_waiting(r);
    if (may && !r->failed) audit_heads_step(r->heads, r->producer);
    if (may && !r->failed) snapshots_step(r->snapshots, r->producer);
    rd_kafka_poll(r->producer, r->never.row ? 0 : may && !r->failed ? 1000 : 50);
    mark_sent(r);
    mark_never(r);
    if (r->failed) producer_end(r);
}

static void *relay_run(void *relay) {
    struct relay *r = relay;
    pthread_setname_np(pthread_self(), "relay");
    while (!r->stopping) relay_step(r);
    if (r->producer && r->topic_ready) rd_kafka_flush(r->producer, 500);
    mark_sent(r);
    producer_close(r);
    return NULL;
}

static void add_type(void *context, const char *type, const char *text, size_t n) {
    struct relay *r = context;
    (void)n;
    const struct version *own = version_add(r, type, text, outbox_schema_row(r->o.outbox, type, false), false);
    if (own) registry_publish(r->o.registry, own->subject, text, n); /* all at once */
}

static void add_given(void *context, const char *type, const char *text, size_t n) {
    struct relay *r = context;
    (void)text, (void)n;
    const char *given = outbox_given(r->o.outbox, type);
    if (given) (void)version_add(r, type, given, outbox_schema_row(r->o.outbox, type, true), true);
}

verdict relay_start(struct relay **out, const struct relay_options *o, struct failure *why) {
    struct relay *r = *out = calloc(1, sizeof *r);
    if (!r) return fail(why, FATAL, "out of memory");
    r->o = *o;
    r->batch_bytes = BATCH_BYTES;
    pthread_mutex_init(&r->lock, NULL);
    topic_spec_name(&topic_spec_events, o->settings, r->topic, sizeof r->topic);
    topic_spec_name(&topic_spec_letters, o->settings, r->dead_letters, sizeof r->dead_letters);
    verdict v = producer_open(r, why); /* a wrong -X property is said at the start */
    struct audit_heads_options heads = {o->settings, o->store, o->registry, o->health, o->audit_check};
    if (v == OK) v = audit_heads_open(&r->heads, &heads, why);
    struct snapshots_options snapshots = {o->settings, o->store, o->registry, o->health, o->snapshots};
    if (v == OK) v = snapshots_open(&r->snapshots, &snapshots, why);
    if (v != OK) return v;
    outbox_each(o->outbox, add_type, r);
    outbox_each(o->outbox, add_given, r);
    set_aside_tell(o->store, o->health);
    r->running = !pthread_create(&r->thread, NULL, relay_run, r);
    return r->running ? OK : fail(why, FATAL, "could not start the relay's thread");
}

void relay_wake(struct relay *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    if (r->queue) rd_kafka_queue_yield(r->queue);
    pthread_mutex_unlock(&r->lock);
}

void relay_again(struct relay *r) {
    if (!r) return;
    r->again = true;
    relay_wake(r);
}

void relay_stop(struct relay **out) {
    struct relay *r = *out;
    if (!r) return;
    r->stopping = true;
    relay_wake(r);
    if (r->running)
        pthread_join(r->thread, NULL);
    else
        producer_close(r);
    audit_heads_close(&r->heads);
    snapshots_close(&r->snapshots);
    for (size_t i = 0; i < r->versions_n; i++) free(r->versions[i].loaded);
    pthread_mutex_destroy(&r->lock);
    free(r);
    *out = NULL;
}
