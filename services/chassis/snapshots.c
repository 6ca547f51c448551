#include "chassis/snapshots.h"

#include "chassis/assets.h"
#include "chassis/codec.h"
#include "chassis/crash.h"
#include "chassis/health.h"
#include "chassis/ids.h"
#include "chassis/kafka.h"
#include "chassis/log.h"
#include "chassis/published.h"
#include "chassis/registry.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 400, AT_ONCE = 200, PAUSE_MS = 500, TOPIC_MS = 500 };

struct snapshots {
    struct snapshots_options o;
    char topic[NAME_SIZE], subject[2 * NAME_SIZE];
    const struct asset *file;
    struct schema *schema;
    int32_t schema_id;
    bool topic_ready;
    int64_t due; /* by the clock that never steps */
    struct sent {
        char *key;
        int64_t change;
        bool done; /* delivered, or there was nothing of it */
    } batch[AT_ONCE];
    int batch_n, in_flight;
};

const char *snapshots_topic(const struct settings *s, char *out, size_t size) {
    return published_topic(&published_snapshots, s, out, size);
}

void snapshot_due(struct connection *c, const char *return_id) {
    (void)store_run(
        c,
        "INSERT INTO snapshot_due (return_id, change) VALUES (?, 1) "
        "ON CONFLICT (return_id) DO UPDATE SET change = snapshot_due.change + 1",
        value_text(return_id));
}

bool snapshot_digest(const json_t *record, char out[SNAPSHOT_DIGEST]) {
    static const char *const beside[] = {"positions", "digest", "at"};
    unsigned char hash[EVP_MAX_MD_SIZE];
    json_t *state = json_copy((json_t *)record);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) json_object_del(state, beside[i]);
    char *text = state ? json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    bool made = text && EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) == 1;
    for (int i = 0; made && i < SNAPSHOT_DIGEST / 2; i++) snprintf(out + 2L * i, 3, "%02x", hash[i]);
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
    s->file = asset_find(o->source->schema);
    snapshots_topic(o->settings, s->topic, sizeof s->topic);
    if (!s->file) return fail(why, FATAL, "there is no schema file \"%s\"", o->source->schema);
    if (schema_parse(s->file->bytes, s->file->n, &s->schema, why) != OK) return FATAL;
    snprintf(s->subject, sizeof s->subject, "%s-%s", s->topic, schema_name(s->schema));
    registry_publish(o->registry, s->subject, s->file->bytes, s->file->n);
    return OK;
}

static void batch_clear(struct snapshots *s) {
    for (int i = 0; i < s->batch_n; i++) free(s->batch[i].key);
    s->batch_n = s->in_flight = 0;
}

void snapshots_close(struct snapshots **out) {
    struct snapshots *s = *out;
    if (!s) return;
    batch_clear(s);
    schema_free(&s->schema);
    free(s);
    *out = NULL;
}

/* --- Publishing */

static void batch_read(struct snapshots *s, struct connection *c) {
    for (struct rows r =
             store_rows(c, "SELECT return_id, change FROM snapshot_due ORDER BY return_id LIMIT ?", value_int(AT_ONCE));
         rows_next(&r);) {
        char *key = strdup(rows_text(&r, 0));
        if (key) s->batch[s->batch_n++] = (struct sent){key, rows_int(&r, 1), false};
    }
}

static verdict ready(struct snapshots *s, rd_kafka_t *producer, struct failure *why) {
    registry_publish(
        s->o.registry, s->subject, s->file->bytes, s->file->n); /* once is enough, unless memory was short */
    verdict v = registry_id(s->o.registry, s->subject, s->file->bytes, &s->schema_id, why);
    const struct published *p = &published_snapshots;
    if (v == OK && !s->topic_ready)
        v = kafka_ensure_topic(producer, s->o.settings, s->topic, p->partitions, p->config, TOPIC_MS, why);
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
    return v == OK && record->failed ? fail(why, RETRY, "out of memory") : v;
}

static verdict
send_one(struct snapshots *s, rd_kafka_t *producer, struct connection *c, struct sent *sent, struct failure *why) {
    json_t *state = s->o.source->make(c, sent->key);
    if (store_state(c) != OK || !state) {
        sent->done = !state && store_state(c) == OK;
        json_decref(state);
        return sent->done ? OK : fail(why, RETRY, "%s", store_error(c));
    }
    struct buffer record = BUFFER(EVENT_BYTES_MAX);
    verdict v = record_make(s, state, &record, why);
    rd_kafka_resp_err_t error = 0;
    if (v == OK)
        error = rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(s->topic), RD_KAFKA_V_KEY(sent->key, strlen(sent->key)),
            RD_KAFKA_V_VALUE(record.data, record.length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_HEADER(published_snapshots.headers->name, "application/avro", -1), RD_KAFKA_V_OPAQUE(sent),
            RD_KAFKA_V_END);
    s->in_flight += v == OK && !error;
    buffer_free(&record);
    json_decref(state);
    return error ? fail(why, RETRY, "%s", rd_kafka_err2str(error)) : v;
}

/* What was delivered and has not changed since is due no more. */
static void batch_end(struct snapshots *s) {
    struct failure why;
    struct connection *c = store_begin(s->o.store);
    for (int i = 0; i < s->batch_n; i++)
        if (s->batch[i].done)
            (void)store_run(
                c, "DELETE FROM snapshot_due WHERE return_id = ? AND change = ?", value_text(s->batch[i].key),
                value_int(s->batch[i].change));
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not note which snapshots were published", "reason", why.text, NULL);
    batch_clear(s);
}

/* One moment of the database for all: due rows, states, and the offsets that these stand for. */
void snapshots_step(struct snapshots *s, rd_kafka_t *producer) {
    struct failure why;
    if (!s || s->in_flight || steady_ms() < s->due) return;
    s->due = steady_ms() + PAUSE_MS;
    struct connection *c = store_reader(s->o.store);
    (void)store_run(c, "BEGIN");
    batch_read(s, c);
    verdict v = store_state(c) == OK ? OK : fail(&why, RETRY, "%s", store_error(c));
    if (v == OK && s->batch_n) v = ready(s, producer, &why);
    bool any = s->batch_n > 0, may = v == OK, done = false;
    for (int i = 0; may && v != RETRY && i < s->batch_n; i++) { /* one that cannot be written holds up no other */
        verdict one = send_one(s, producer, c, &s->batch[i], &why);
        if (one != OK) v = one;
    }
    (void)store_run(c, "COMMIT");
    if (v != OK)
        health_set(s->o.health, "snapshots", HEALTH_WAITING, "not published for now: %s", why.text);
    else if (any)
        health_set(s->o.health, "snapshots", HEALTH_OK, "published to %s", s->topic);
    for (int i = 0; i < s->batch_n; i++) done |= s->batch[i].done;
    if (s->in_flight) return;
    if (done)
        batch_end(s); /* there was nothing of any */
    else
        batch_clear(s);
}

bool snapshots_delivered(struct snapshots *s, const rd_kafka_message_t *report) {
    struct sent *sent = report->_private;
    if (!s || (uintptr_t)sent < (uintptr_t)s->batch || (uintptr_t)sent >= (uintptr_t)(s->batch + AT_ONCE)) return false;
    sent->done = !report->err;
    if (report->err) s->topic_ready = false;
    if (--s->in_flight) return true;
    crash_point("after snapshots");
    batch_end(s);
    return true;
}

void snapshots_forget(struct snapshots *s) {
    if (s) batch_clear(s);
}
