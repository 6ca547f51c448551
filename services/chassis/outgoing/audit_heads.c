#include "chassis/outgoing/audit_heads.h"

#include "chassis/audit/audit_check.h"
#include "chassis/audit/counts.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/events/outbox_queue.h"
#include "chassis/kafka/reader.h"
#include "chassis/outgoing/relay.h"
#include "chassis/outgoing/state_topic.h"
#include "chassis/store/store.h"

#include <stdlib.h>

enum { UNSENT_MS = 1000, REFUSED_MS = 60000 };

struct audit_heads {
    const struct relay_options *o;
    struct state_topic topic;
    json_t *counted;   /* counts.h */
    json_t *last;      /* what this process published last, without its moment. NULL: nothing yet */
    json_t *in_flight; /* NULL: none */
};

verdict audit_heads_open(struct audit_heads **out, const struct relay_options *o, struct failure *why) {
    struct audit_heads *h = *out = calloc(1, sizeof *h);
    if (!h || !(h->counted = json_object())) return fail(why, FATAL, "out of memory");
    h->o = o;
    verdict v = state_topic_open(&h->topic, o, &topic_spec_heads, "AuditHeads.avsc", "audit heads", why);
    h->topic.due = steady_ms() + o->settings->audit_heads_ms;
    return v;
}

void audit_heads_close(struct audit_heads **out) {
    struct audit_heads *h = *out;
    if (!h) return;
    json_decref(h->in_flight);
    json_decref(h->last);
    json_decref(h->counted);
    state_topic_close(&h->topic);
    free(h);
    *out = NULL;
}

/* --- Publishing */

/* As the background's check of the log said it last. */
static json_t *broken_json(struct audit_heads *h, struct connection *c) {
    json_auto_t *said = audit_check_json(h->o->audit_check);
    const json_t *found = json_object_get(said, "broken");
    if (!json_is_object(found)) return json_null();
    json_int_t id = json_integer_value(json_object_get(found, "id"));
    int64_t offset = store_int(c, -1, "SELECT COALESCE(record_offset, -1) FROM audit WHERE id = ?", value_int(id));
    return json_pack(
        "{s:O?, s:I, s:o, s:O}", "chain", json_object_get(found, "chain"), "id", id, "offset",
        offset < 0 ? json_null() : json_integer(offset), "reason", json_object_get(found, "reason"));
}

static bool is_news(const struct audit_heads *h, const json_t *heads) {
    static const char *const of_news[] = {"rows", "partitions", "broken"};
    bool news =
        !json_integer_value(json_object_get(heads, "unsent")) && json_integer_value(json_object_get(h->last, "unsent"));
    if (!h->last) return json_integer_value(json_object_get(heads, "rows")) > 0;
    for (size_t i = 0; i < sizeof of_news / sizeof *of_news; i++)
        news |= !json_equal(json_object_get(heads, of_news[i]), json_object_get(h->last, of_news[i]));
    return news;
}

/* NULL: nothing that is not published yet, or it could not be read. All of it is of one moment. */
static json_t *heads_take(struct audit_heads *h) {
    struct connection *c = store_reader(h->o->store);
    (void)store_run(c, "BEGIN");
    json_t *broken = broken_json(h, c);
    bool afresh = h->last && !json_equal(broken, json_object_get(h->last, "broken"));
    json_auto_t *heads = json_pack(
        "{s:s, s:I, s:I, s:o, s:o, s:I, s:o}", "service", h->o->settings->service, "at", (json_int_t)clock_ms(), "rows",
        (json_int_t)store_int(c, 0, "SELECT COALESCE(MAX(id), 0) FROM audit"), "chains",
        store_json(c, "SELECT chain, rows, lower(hex(head)) AS head FROM audit_chain"), "partitions",
        counts_take(h->counted, c, afresh), "unsent", (json_int_t)outbox_waiting(c), "broken", broken);
    (void)store_run(c, "COMMIT");
    return heads && store_state(c) == OK && is_news(h, heads) ? json_incref(heads) : NULL;
}

/* While events wait to be sent there would be more to say a moment later, but not for ever. */
static bool is_due(struct audit_heads *h) {
    int64_t late = steady_ms() - h->topic.due, every = h->o->settings->audit_heads_ms;
    if (late < 0) return false;
    return late >= (every < UNSENT_MS ? every : UNSENT_MS) || !outbox_waiting(store_reader(h->o->store));
}

static verdict heads_send(struct audit_heads *h, rd_kafka_t *producer, const json_t *heads, struct failure *why) {
    verdict v = state_topic_ready(&h->topic, producer, why);
    return v == OK ? state_topic_send(&h->topic, producer, 0, h->o->settings->service, heads, NULL, why) : v;
}

/* Each is made anew, and may be smaller. So it is tried again, at long intervals. */
static void heads_refused(struct audit_heads *h, const char *why) {
    h->topic.due = steady_ms() + REFUSED_MS;
    health_set(h->o->health, "audit heads", HEALTH_FAILED, "refused, and tried again in a minute: %s", why);
}

void audit_heads_step(struct audit_heads *h, rd_kafka_t *producer) {
    struct failure why;
    if (h->in_flight || !is_due(h)) return;
    json_auto_t *heads = heads_take(h);
    h->topic.due = steady_ms() + (heads ? 0 : h->o->settings->audit_heads_ms);
    verdict v = heads ? heads_send(h, producer, heads, &why) : OK;
    if (v == OK)
        h->in_flight = json_incref(heads);
    else if (v == REJECT)
        heads_refused(h, why.text);
    else
        state_topic_wait(&h->topic, why.text);
}

/* What audit_verify() compares. Kept, so that the service's own /api/audit/verify does too. Kafka has the word: this
 * copy may be lost. */
static void heads_keep(struct audit_heads *h, int64_t offset) {
    struct failure why;
    char moment[TIME_TEXT];
    json_auto_t *kept = json_pack(
        "{s:s, s:O, s:O}", "at", time_text(json_integer_value(json_object_get(h->in_flight, "at")), moment), "rows",
        json_object_get(h->in_flight, "rows"), "chains", json_object_get(h->in_flight, "chains"));
    char *text = json_dumps(kept, JSON_COMPACT);
    struct connection *c = store_begin_relaxed(h->o->store);
    (void)store_run(
        c, "INSERT INTO audit_published (heads, record_offset) VALUES (?, ?)", value_text(text), value_int(offset));
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not keep the audit heads that were published", "reason", why.text, NULL);
    free(text);
}

void audit_heads_delivered(struct audit_heads *h, const rd_kafka_message_t *report) {
    if (!h->in_flight) return;
    verdict v = state_topic_delivered(&h->topic, report);
    if (v == REJECT) heads_refused(h, rd_kafka_err2str(report->err));
    if (v == OK) {
        h->topic.due = steady_ms() + h->o->settings->audit_heads_ms;
        heads_keep(h, report->offset);
        json_decref(h->last);
        h->last = json_incref(h->in_flight);
        health_set(h->o->health, "audit heads", HEALTH_OK, "published to %s", h->topic.name);
    }
    audit_heads_forget(h);
}

void audit_heads_forget(struct audit_heads *h) {
    if (!h) return;
    json_decref(h->in_flight);
    h->in_flight = NULL;
}

/* --- Reading them back */

verdict audit_heads_read(
    const struct settings *s, void (*each)(void *context, const json_t *heads), void *context, struct failure *why) {
    char topic[400], moment[TIME_TEXT];
    struct failure reason;
    struct reader *reader = NULL;
    rd_kafka_message_t *m = NULL;
    verdict v = reader_open(&reader, s, why);
    if (v == OK) v = reader_add(reader, topic_spec_name(&topic_spec_heads, s, topic, sizeof topic), why);
    if (v == REJECT) v = why->kind = RETRY; /* nothing was published yet */
    while (v == OK && (v = reader_next(reader, &m, why)) == OK && m) {
        json_auto_t *heads = NULL;
        v = reader_decode(reader, m, NULL, &heads, &reason);
        int64_t at = json_integer_value(json_object_get(heads, "at"));
        json_object_set_new(heads, "at", json_string(time_text(at, moment)));
        json_object_set_new(heads, "offset", json_integer(m->offset));
        if (v == OK)
            each(context, heads);
        else
            v = fail(why, v, "could not read %s[0]@%lld: %s", topic, (long long)m->offset, reason.text);
        rd_kafka_message_destroy(m);
    }
    reader_close(&reader);
    return v;
}
