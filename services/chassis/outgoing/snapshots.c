#include "chassis/outgoing/snapshots.h"

#include "chassis/base/crash.h"
#include "chassis/base/hash.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/outgoing/relay.h"
#include "chassis/outgoing/state_topic.h"
#include "chassis/store/store.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ONCE = 200,
    BYTES_AT_ONCE = 4 << 20, /* so that large ones leave the producer and the relay's thread to events */
    PAUSE_MS = 500,
};

struct snapshots {
    const struct relay_options *o;
    struct state_topic topic;
    struct sent {
        char *key;
        int64_t change;
        bool done;     /* delivered, or there was nothing of it */
        char *refused; /* why it can never be published as it is */
    } batch[AT_ONCE];
    int batch_n, in_flight;
    bool failed;            /* what may pass is in the way of this batch, and said so */
    char *after;            /* the keys behind it are next, so that each has its turn. NULL: all */
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
    unsigned char hash[EVP_MAX_MD_SIZE];
    json_auto_t *state = json_copy((json_t *)record);
    json_object_del(state, "positions");
    json_object_del(state, "digest");
    json_object_del(state, "at");
    char *text = json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS);
    bool made = text && EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) == 1;
    if (made) hex_text(hash, SNAPSHOT_DIGEST / 2, out);
    free(text);
    return made;
}

verdict snapshots_open(struct snapshots **out, const struct relay_options *o, struct failure *why) {
    *out = NULL;
    if (!o->snapshots) return OK;
    struct snapshots *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, FATAL, "out of memory");
    s->o = o;
    return state_topic_open(&s->topic, o, &topic_spec_snapshots, o->snapshots->schema, "snapshots", why);
}

static void batch_clear(struct snapshots *s) {
    for (int i = 0; i < s->batch_n; i++) {
        free(s->batch[i].key);
        free(s->batch[i].refused);
    }
    s->batch_n = s->in_flight = 0;
    s->topic.bytes = 0;
    s->refused_as = NULL;
}

void snapshots_close(struct snapshots **out) {
    struct snapshots *s = *out;
    if (!s) return;
    batch_clear(s);
    state_topic_close(&s->topic);
    free(s->after);
    free(s);
    *out = NULL;
}

/* --- Publishing */

static void go_on_after(struct snapshots *s, const char *key) {
    free(s->after);
    s->after = key ? strdup(key) : NULL;
}

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

/* REJECT is the snapshot's own: it is set aside. */
static verdict
send_one(struct snapshots *s, rd_kafka_t *producer, struct connection *c, struct sent *sent, struct failure *why) {
    char digest[SNAPSHOT_DIGEST];
    json_auto_t *state = s->o->snapshots->make(c, sent->key);
    if (store_state(c) != OK) return fail(why, RETRY, "%s", store_error(c));
    if ((sent->done = !state)) return OK;
    if (!snapshot_digest(state, digest)) return fail(why, RETRY, "out of memory");
    json_object_set_new(state, "digest", json_string(digest));
    json_object_set_new(state, "at", json_integer(clock_ms()));
    verdict v = state_topic_send(&s->topic, producer, RD_KAFKA_PARTITION_UA, sent->key, state, sent, why);
    if (v == OK) s->in_flight++;
    if (v == REJECT) sent->refused = strdup(why->text);
    return v;
}

/* Only so many as fit. The rest is read again. */
static verdict batch_send(struct snapshots *s, rd_kafka_t *producer, struct connection *c, struct failure *why) {
    verdict v = OK;
    int i = 0;
    while (v != RETRY && i < s->batch_n && s->topic.bytes < BYTES_AT_ONCE)
        v = send_one(s, producer, c, &s->batch[i++], why);
    if (v != RETRY && i < s->batch_n) s->topic.due = steady_ms();
    for (int k = i; k < s->batch_n; k++) free(s->batch[k].key);
    s->batch_n = i;
    return v == RETRY ? RETRY : OK;
}

static void tell(struct snapshots *s) {
    int64_t n = store_int(
        store_reader(s->o->store), 0,
        "SELECT COUNT(*) FROM (SELECT 1 FROM snapshot_due WHERE refused IS NOT NULL LIMIT 1000)");
    if (n)
        health_set(
            s->o->health, "snapshots", HEALTH_FAILED,
            "%lld cannot be published to %s as they are, and were set aside until their return changes: table "
            "snapshot_due has the reasons",
            (long long)n, s->topic.name);
    else
        health_set(s->o->health, "snapshots", HEALTH_OK, "published to %s", s->topic.name);
}

/* What was delivered and has not changed since is due no more. What was neither has its turn again, behind the others.
 * All of a batch are refused together: each is then sent alone, to find which is at fault. */
static void batch_end(struct snapshots *s) {
    struct failure why;
    struct connection *c = store_begin(s->o->store);
    bool together = s->refused_as && s->batch_n > 1;
    if (s->refused_as && !together) s->batch[0].refused = strdup(s->refused_as);
    for (const struct sent *one = s->batch; one < s->batch + s->batch_n; one++)
        if (one->done)
            (void)store_run(
                c, "DELETE FROM snapshot_due WHERE return_id = ? AND change = ?", value_text(one->key),
                value_int(one->change));
        else if (one->refused)
            (void)store_run(
                c, "UPDATE snapshot_due SET refused = ? WHERE return_id = ? AND change = ?", value_text(one->refused),
                value_text(one->key), value_int(one->change));
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not note which snapshots were published", "reason", why.text, NULL);
    if (together) s->alone = s->batch_n;
    if (!together) go_on_after(s, s->batch[s->batch_n - 1].key);
    batch_clear(s);
    if (!s->failed) tell(s);
}

/* One moment of the database for all: due rows, states, and the offsets that these stand for. */
void snapshots_step(struct snapshots *s, rd_kafka_t *producer) {
    struct failure why;
    if (!s || s->in_flight || (!s->alone && steady_ms() < s->topic.due)) return;
    s->topic.due = steady_ms() + PAUSE_MS;
    struct connection *c = store_reader(s->o->store);
    (void)store_run(c, "BEGIN");
    batch_read(s, c);
    verdict v = store_state(c) == OK ? OK : fail(&why, RETRY, "%s", store_error(c));
    bool any = s->batch_n > 0;
    if (v == OK && any) v = state_topic_ready(&s->topic, producer, &why);
    if (v == OK)
        v = batch_send(s, producer, c, &why);
    else
        batch_clear(s);
    (void)store_run(c, "COMMIT");
    s->failed = v != OK;
    if (s->failed) state_topic_wait(&s->topic, why.text);
    if (!any) go_on_after(s, NULL);
    s->alone = any && s->alone ? s->alone - 1 : 0;
    if (!s->in_flight && s->batch_n) batch_end(s); /* there was nothing of any, or they were refused */
}

bool snapshots_delivered(struct snapshots *s, const rd_kafka_message_t *report) {
    struct sent *sent = report->_private;
    if (!s || (uintptr_t)sent < (uintptr_t)s->batch || (uintptr_t)sent >= (uintptr_t)(s->batch + AT_ONCE)) return false;
    verdict v = state_topic_delivered(&s->topic, report);
    sent->done = v == OK; /* else it stays due */
    if (v == RETRY) s->failed = true;
    if (v == REJECT) s->refused_as = rd_kafka_err2str(report->err);
    if (--s->in_flight) return true;
    crash_point("after snapshots");
    batch_end(s);
    return true;
}

void snapshots_again(struct snapshots *s) {
    struct failure why;
    if (!s) return;
    struct connection *c = store_begin(s->o->store);
    (void)store_run(c, "UPDATE snapshot_due SET refused = NULL WHERE refused IS NOT NULL");
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not take up the snapshots that were set aside", "reason", why.text, NULL);
}

void snapshots_forget(struct snapshots *s) {
    if (s) batch_clear(s);
}
