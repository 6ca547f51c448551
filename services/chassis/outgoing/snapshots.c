#include "chassis/outgoing/snapshots.h"

#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/assets.h"
#include "chassis/base/crash.h"
#include "chassis/base/hash.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/delivery.h"
#include "chassis/store/store.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_SIZE = 400,
    AT_ONCE = 200,
    BYTES_AT_ONCE = 4 << 20, /* so that large ones leave the producer and the relay's thread to events */
    BYTES_MAX = 64 << 20,
    PAUSE_MS = 500,
    PAUSE_MOST_MS = 60000,
    TOPIC_MS = 500,
};

struct snapshots {
    struct snapshots_options o;
    char topic[NAME_SIZE], subject[2 * NAME_SIZE];
    const struct asset *file;
    struct schema *schema;
    int32_t schema_id;
    bool topic_ready;
    int64_t due;      /* by the clock that never steps */
    int64_t pause_ms; /* grows while it cannot be published */
    struct sent {
        char *key;
        int64_t change;
        bool done;     /* delivered, or there was nothing of it */
        char *refused; /* why it can never be published as it is */
    } batch[AT_ONCE];
    int batch_n, in_flight;
    size_t bytes;           /* of the batch, also of those that were refused */
    char *after, *before;   /* the keys behind `after` are next, so that each has its turn; NULL: all. The last one */
    int alone;              /* so many are sent alone: one of them made the broker refuse all */
    const char *refused_as; /* not NULL: this batch was, for that */
};

const char *snapshots_topic(const struct settings *s, char *out, size_t size) {
    return topic_spec_name(&topic_spec_snapshots, s, out, size);
}

void snapshot_due(struct connection *c, const char *return_id) {
    (void)store_run(
        c,
        "INSERT INTO snapshot_due (return_id, change) VALUES (?, 1) "
        "ON CONFLICT (return_id) DO UPDATE SET change = snapshot_due.change + 1, refused = NULL",
        value_text(return_id));
}

bool snapshot_digest(const json_t *record, char out[SNAPSHOT_DIGEST]) {
    static const char *const beside[] = {"positions", "digest", "at"};
    unsigned char hash[EVP_MAX_MD_SIZE];
    json_t *state = json_copy((json_t *)record);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) json_object_del(state, beside[i]);
    char *text = state ? json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    bool made = text && EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) == 1;
    if (made) hex_text(hash, SNAPSHOT_DIGEST / 2, out);
    free(text);
    json_decref(state);
    return made;
}

verdict snapshots_open(struct snapshots **out, const struct snapshots_options *o, struct failure *why) {
    *out = NULL;
    if (!o->source) return OK;
    struct snapshots *s = calloc(1, sizeof *s);
    if (!s) return fail(why, FATAL, "out of memory");
    *out = s;
    s->o = *o;
    s->pause_ms = PAUSE_MS / 2;
    s->file = asset_find(o->source->schema);
    snapshots_topic(o->settings, s->topic, sizeof s->topic);
    if (!s->file) return fail(why, FATAL, "there is no schema file \"%s\"", o->source->schema);
    if (schema_parse(s->file->bytes, s->file->n, &s->schema, why) != OK) return FATAL;
    snprintf(s->subject, sizeof s->subject, "%s-%s", s->topic, schema_name(s->schema));
    registry_publish(o->registry, s->subject, s->file->bytes, s->file->n);
    return OK;
}

static void batch_clear(struct snapshots *s) {
    for (int i = 0; i < s->batch_n; i++) {
        free(s->batch[i].key);
        free(s->batch[i].refused);
    }
    s->batch_n = s->in_flight = 0;
    s->bytes = 0;
    s->refused_as = NULL;
}

void snapshots_close(struct snapshots **out) {
    struct snapshots *s = *out;
    if (!s) return;
    batch_clear(s);
    schema_free(&s->schema);
    free(s->after);
    free(s->before);
    free(s);
    *out = NULL;
}

/* --- Publishing */

static void batch_read(struct snapshots *s, struct connection *c) {
    for (
        struct rows r = store_rows(
            c,
            "SELECT return_id, change FROM snapshot_due WHERE refused IS NULL AND return_id > ? ORDER BY return_id LIMIT ?",
            value_text(s->after ? s->after : ""), value_int(s->alone ? 1 : AT_ONCE));
        rows_next(&r);) {
        char *key = strdup(rows_text(&r, 0));
        if (key) s->batch[s->batch_n++] = (struct sent){.key = key, .change = rows_int(&r, 1)};
    }
}

/* Those after this one are next; NULL: all anew. */
static void go_on_after(struct snapshots *s, const char *key) {
    free(s->before);
    s->before = s->after;
    s->after = key ? strdup(key) : NULL;
}

static verdict ready(struct snapshots *s, rd_kafka_t *producer, struct failure *why) {
    registry_publish(
        s->o.registry, s->subject, s->file->bytes, s->file->n); /* once is enough, unless memory was short */
    verdict v = registry_id(s->o.registry, s->subject, s->file->bytes, &s->schema_id, why);
    const struct topic_spec *p = &topic_spec_snapshots;
    if (v == OK && !s->topic_ready)
        v = kafka_ensure_topic(producer, s->o.settings, s->topic, p->partitions, p->config, TOPIC_MS, NULL, why);
    s->topic_ready |= v == OK;
    return v;
}

static verdict record_make(struct snapshots *s, json_t *state, struct buffer *record, struct failure *why) {
    char digest[SNAPSHOT_DIGEST];
    if (!snapshot_digest(state, digest)) return fail(why, RETRY, "out of memory");
    json_object_set_new(state, "digest", json_string(digest));
    json_object_set_new(state, "at", json_integer(clock_ms()));
    frame_write(record, s->schema_id);
    verdict v = codec_encode(s->schema, state, record, why);
    if (v == OK && record->failed) v = fail(why, RETRY, "out of memory");
    if (v == OK && record->length > EVENT_BYTES_MAX + FRAME_SIZE)
        v = fail(why, REJECT, "%zu bytes are more than any reader takes", record->length);
    return v;
}

static verdict produce(
    struct snapshots *s, rd_kafka_t *producer, struct sent *sent, const struct buffer *record, struct failure *why) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(s->topic), RD_KAFKA_V_KEY(sent->key, strlen(sent->key)),
        RD_KAFKA_V_VALUE(record->data, record->length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_HEADER(topic_spec_snapshots.headers->name, "application/avro", -1), RD_KAFKA_V_OPAQUE(sent),
        RD_KAFKA_V_END);
    if (error) return fail(why, delivery_refuses(error) ? REJECT : RETRY, "%s", rd_kafka_err2str(error));
    s->in_flight++;
    return OK;
}

/* REJECT is the snapshot's own: it is set aside. */
static verdict
send_one(struct snapshots *s, rd_kafka_t *producer, struct connection *c, struct sent *sent, struct failure *why) {
    json_t *state = s->o.source->make(c, sent->key);
    if (store_state(c) != OK || !state) {
        sent->done = !state && store_state(c) == OK;
        json_decref(state);
        return sent->done ? OK : fail(why, RETRY, "%s", store_error(c));
    }
    struct buffer record = BUFFER(BYTES_MAX);
    verdict v = record_make(s, state, &record, why);
    s->bytes += record.length;
    if (v == OK) v = produce(s, producer, sent, &record, why);
    if (v == REJECT) sent->refused = strdup(why->text);
    buffer_free(&record);
    json_decref(state);
    return v;
}

/* Only so many as fit; the rest is read again. */
static verdict batch_send(struct snapshots *s, rd_kafka_t *producer, struct connection *c, struct failure *why) {
    verdict v = OK;
    int i = 0;
    for (; v != RETRY && i < s->batch_n && s->bytes < BYTES_AT_ONCE; i++)
        v = send_one(s, producer, c, &s->batch[i], why);
    go_on_after(s, i ? s->batch[i - 1].key : NULL); /* behind one that failed too: it has its turn again */
    if (v != RETRY && i < s->batch_n) s->due = steady_ms();
    if (v == RETRY) i--;
    for (int k = i; k < s->batch_n; k++) free(s->batch[k].key);
    s->batch_n = i;
    return v == RETRY ? RETRY : OK;
}

static void tell(struct snapshots *s) {
    int64_t n = store_int(
        store_reader(s->o.store), 0,
        "SELECT COUNT(*) FROM (SELECT 1 FROM snapshot_due WHERE refused IS NOT NULL LIMIT 1000)");
    if (n)
        health_set(
            s->o.health, "snapshots", HEALTH_FAILED,
            "%lld cannot be published to %s as they are, and were set aside until their return changes: table "
            "snapshot_due has the reasons",
            (long long)n, s->topic);
    else
        health_set(s->o.health, "snapshots", HEALTH_OK, "published to %s", s->topic);
}

/* What was delivered and has not changed since is due no more. */
static void batch_end(struct snapshots *s) {
    struct failure why;
    struct connection *c = store_begin(s->o.store);
    for (int i = 0; i < s->batch_n; i++) {
        const struct sent *one = &s->batch[i];
        if (one->done)
            (void)store_run(
                c, "DELETE FROM snapshot_due WHERE return_id = ? AND change = ?", value_text(one->key),
                value_int(one->change));
        else if (one->refused)
            (void)store_run(
                c, "UPDATE snapshot_due SET refused = ? WHERE return_id = ? AND change = ?", value_text(one->refused),
                value_text(one->key), value_int(one->change));
    }
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not note which snapshots were published", "reason", why.text, NULL);
    batch_clear(s);
    tell(s);
}

static void put_off(struct snapshots *s, const char *why) {
    s->pause_ms = s->pause_ms < PAUSE_MOST_MS / 2 ? 2 * s->pause_ms : PAUSE_MOST_MS;
    s->due = steady_ms() + s->pause_ms;
    health_set(s->o.health, "snapshots", HEALTH_WAITING, "not published for now: %s", why);
}

/* One moment of the database for all: due rows, states, and the offsets that these stand for. */
void snapshots_step(struct snapshots *s, rd_kafka_t *producer) {
    struct failure why;
    if (!s || s->in_flight || (!s->alone && steady_ms() < s->due)) return;
    s->due = steady_ms() + PAUSE_MS;
    struct connection *c = store_reader(s->o.store);
    (void)store_run(c, "BEGIN");
    batch_read(s, c);
    verdict v = store_state(c) == OK ? OK : fail(&why, RETRY, "%s", store_error(c));
    bool any = s->batch_n > 0;
    if (v == OK && any) v = ready(s, producer, &why);
    if (v == OK)
        v = batch_send(s, producer, c, &why);
    else
        batch_clear(s);
    (void)store_run(c, "COMMIT");
    if (v != OK) put_off(s, why.text);
    if (!any) go_on_after(s, NULL), s->alone = 0;
    if (s->alone) s->alone--;
    if (!s->in_flight && s->batch_n) batch_end(s); /* there was nothing of any, or they were refused */
}

/* All of a batch are refused together: each is then sent alone, to find which is at fault. */
static void batch_refused(struct snapshots *s) {
    if (s->batch_n == 1) {
        s->batch[0].refused = strdup(s->refused_as);
        return;
    }
    s->alone = s->batch_n;
    free(s->after);
    s->after = s->before;
    s->before = NULL;
}

bool snapshots_delivered(struct snapshots *s, const rd_kafka_message_t *report) {
    struct sent *sent = report->_private;
    if (!s || (uintptr_t)sent < (uintptr_t)s->batch || (uintptr_t)sent >= (uintptr_t)(s->batch + AT_ONCE)) return false;
    sent->done = !report->err && !delivery_unheard(report); /* else it stays due */
    if (delivery_refuses(report->err)) {
        s->refused_as = rd_kafka_err2str(report->err);
    } else if (report->err && report->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE) {
        s->topic_ready = false;
        put_off(s, rd_kafka_err2str(report->err));
    } else if (!report->err) {
        s->pause_ms = PAUSE_MS / 2;
    }
    if (--s->in_flight) return true;
    crash_point("after snapshots");
    if (s->refused_as) batch_refused(s);
    batch_end(s);
    return true;
}

void snapshots_again(struct snapshots *s) {
    struct failure why;
    if (!s) return;
    struct connection *c = store_begin(s->o.store);
    (void)store_run(c, "UPDATE snapshot_due SET refused = NULL WHERE refused IS NOT NULL");
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not take up the snapshots that were set aside", "reason", why.text, NULL);
}

void snapshots_forget(struct snapshots *s) {
    if (s) batch_clear(s);
}
