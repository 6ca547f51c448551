#include "chassis/outgoing/audit_heads.h"

#include "chassis/audit/audit_check.h"
#include "chassis/audit/counts.h"
#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/assets.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/reader.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/delivery.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_SIZE = 400,
    HEADS_BYTES_MAX = 1 << 18,
    TOPIC_MS = 500,
    UNSENT_MS = 1000,
    AGAIN_MS = 1000,
    AGAIN_MOST_MS = 60000
};

struct audit_heads {
    struct audit_heads_options o;
    char topic[NAME_SIZE], subject[2 * NAME_SIZE];
    struct schema *schema;
    bool topic_ready;
    int64_t due;       /* by the clock that never steps */
    int64_t again_ms;  /* the pause after the last failure; 0: there was none */
    json_t *counted;   /* counts.h */
    json_t *last;      /* what this process published last, without its moment; NULL: nothing yet */
    json_t *in_flight; /* NULL: none */
};

static const struct asset *schema_file(void) {
    return asset_find("AuditHeads.avsc");
}

static const char *topic_name(const struct settings *s, char out[NAME_SIZE]) {
    return topic_spec_name(&topic_spec_heads, s, out, NAME_SIZE);
}

verdict audit_heads_open(struct audit_heads **out, const struct audit_heads_options *o, struct failure *why) {
    const struct asset *file = schema_file();
    struct audit_heads *h = *out = calloc(1, sizeof *h);
    if (!h) return fail(why, FATAL, "out of memory");
    h->o = *o;
    h->due = steady_ms() + o->settings->audit_heads_ms;
    if (!(h->counted = json_object())) return fail(why, FATAL, "out of memory");
    topic_name(o->settings, h->topic);
    if (schema_parse(file->bytes, file->n, &h->schema, why) != OK) return FATAL;
    snprintf(h->subject, sizeof h->subject, "%s-%s", h->topic, schema_name(h->schema));
    registry_publish(o->registry, h->subject, file->bytes, file->n);
    return OK;
}

void audit_heads_close(struct audit_heads **out) {
    struct audit_heads *h = *out;
    if (!h) return;
    json_decref(h->in_flight);
    json_decref(h->last);
    json_decref(h->counted);
    schema_free(&h->schema);
    free(h);
    *out = NULL;
}

/* --- Publishing */

/* As the background's check of the log said it last. */
static json_t *broken_json(struct audit_heads *h, struct connection *c) {
    json_t *said = audit_check_json(h->o.audit_check), *found = json_object_get(said, "broken"), *broken = json_null();
    if (json_is_object(found)) {
        json_int_t id = json_integer_value(json_object_get(found, "id"));
        int64_t offset = store_int(c, -1, "SELECT COALESCE(record_offset, -1) FROM audit WHERE id = ?", value_int(id));
        broken = json_pack(
            "{s:O?, s:I, s:o, s:O}", "chain", json_object_get(found, "chain"), "id", id, "offset",
            offset < 0 ? json_null() : json_integer(offset), "reason", json_object_get(found, "reason"));
    }
    json_decref(said);
    return broken;
}

static bool is_news(const struct audit_heads *h, const json_t *heads) {
    bool sent = !json_integer_value(json_object_get(heads, "unsent"));
    if (!h->last) return json_integer_value(json_object_get(heads, "rows")) > 0;
    return !json_equal(json_object_get(heads, "rows"), json_object_get(h->last, "rows")) ||
           !json_equal(json_object_get(heads, "partitions"), json_object_get(h->last, "partitions")) ||
           !json_equal(json_object_get(heads, "broken"), json_object_get(h->last, "broken")) ||
           (sent && json_integer_value(json_object_get(h->last, "unsent")));
}

/* NULL: nothing that is not published yet, or it could not be read. All of it is of one moment. */
static json_t *heads_take(struct audit_heads *h) {
    struct connection *c = store_reader(h->o.store);
    (void)store_run(c, "BEGIN");
    json_t *broken = broken_json(h, c);
    bool afresh = h->last && !json_equal(broken, json_object_get(h->last, "broken"));
    json_t *heads = json_pack(
        "{s:s, s:I, s:I, s:o, s:o, s:I, s:o}", "service", h->o.settings->service, "at", (json_int_t)clock_ms(), "rows",
        (json_int_t)store_int(c, 0, "SELECT COALESCE(MAX(id), 0) FROM audit"), "chains",
        store_json(c, "SELECT chain, rows, lower(hex(head)) AS head FROM audit_chain"), "partitions",
        counts_take(h->counted, c, afresh), "unsent",
        (json_int_t)store_int(c, 0, "SELECT n FROM pile WHERE name = 'waiting'"), "broken", broken);
    (void)store_run(c, "COMMIT");
    if (heads && store_state(c) == OK && is_news(h, heads)) return heads;
    json_decref(heads);
    return NULL;
}

/* While events wait to be sent there would be more to say a moment later; but not for ever. */
static bool is_due(struct audit_heads *h) {
    int64_t late = steady_ms() - h->due, every = h->o.settings->audit_heads_ms;
    if (late < 0) return false;
    return late >= (every < UNSENT_MS ? every : UNSENT_MS) ||
           !store_int(store_reader(h->o.store), 0, "SELECT n FROM pile WHERE name = 'waiting'");
}

static verdict heads_ready(struct audit_heads *h, rd_kafka_t *producer, int32_t *schema_id, struct failure *why) {
    const struct asset *file = schema_file();
    registry_publish(h->o.registry, h->subject, file->bytes, file->n); /* once is enough, unless memory was short */
    verdict v = registry_id(h->o.registry, h->subject, file->bytes, schema_id, why);
    const struct topic_spec *p = &topic_spec_heads;
    if (v == OK && !h->topic_ready)
        v = kafka_ensure_topic(producer, h->o.settings, h->topic, p->partitions, p->config, TOPIC_MS, NULL, why);
    h->topic_ready |= v == OK;
    return v;
}

static verdict heads_send(struct audit_heads *h, rd_kafka_t *producer, const json_t *heads, struct failure *why) {
    int32_t schema_id;
    const char *key = h->o.settings->service;
    verdict v = heads_ready(h, producer, &schema_id, why);
    if (v != OK) return v;
    struct buffer record = BUFFER(HEADS_BYTES_MAX);
    frame_write(&record, schema_id);
    v = codec_encode(h->schema, heads, &record, why);
    if (v == OK && record.failed) v = fail(why, RETRY, "out of memory, or too many chains");
    rd_kafka_resp_err_t error = 0;
    if (v == OK)
        error = rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(h->topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY(key, strlen(key)),
            RD_KAFKA_V_VALUE(record.data, record.length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_HEADER(topic_spec_heads.headers->name, "application/avro", -1), RD_KAFKA_V_OPAQUE(NULL),
            RD_KAFKA_V_END);
    buffer_free(&record);
    if (error) return fail(why, delivery_refuses(error) ? REJECT : RETRY, "%s", rd_kafka_err2str(error));
    return v;
}

/* Tried again soon: what is in the way may be no more than a topic just created, which not every broker knows yet. Then
 * later and later, as each failure ends the producer that the service's events go by too. */
static void heads_wait(struct audit_heads *h, const char *why) {
    h->again_ms = !h->again_ms ? AGAIN_MS : h->again_ms < AGAIN_MOST_MS / 2 ? 2 * h->again_ms : AGAIN_MOST_MS;
    h->due = steady_ms() + h->again_ms;
    health_set(h->o.health, "audit heads", HEALTH_WAITING, "not published for now: %s", why);
}

/* Each is made anew, and may be smaller; so it is tried again, at long intervals. */
static void heads_refused(struct audit_heads *h, const char *why) {
    h->due = steady_ms() + AGAIN_MOST_MS;
    health_set(h->o.health, "audit heads", HEALTH_FAILED, "refused, and tried again in a minute: %s", why);
}

void audit_heads_step(struct audit_heads *h, rd_kafka_t *producer) {
    struct failure why;
    if (h->in_flight || !is_due(h)) return;
    h->due = steady_ms() + h->o.settings->audit_heads_ms;
    json_t *heads = heads_take(h);
    if (!heads) return;
    verdict v = heads_send(h, producer, heads, &why);
    if (v == OK)
        h->in_flight = json_incref(heads);
    else if (v == REJECT)
        heads_refused(h, why.text);
    else
        heads_wait(h, why.text);
    json_decref(heads);
}

/* What audit_verify() compares. */
static char *kept_text(const json_t *heads) {
    char moment[TIME_TEXT];
    json_t *kept = json_pack(
        "{s:s, s:O, s:O}", "at", time_text(json_integer_value(json_object_get(heads, "at")), moment), "rows",
        json_object_get(heads, "rows"), "chains", json_object_get(heads, "chains"));
    char *text = json_dumps(kept, JSON_COMPACT);
    json_decref(kept);
    return text;
}

/* Kept, so that the service's own /api/audit/verify compares with it. Kafka has the word: this copy may be lost. */
static void heads_keep(struct audit_heads *h, int64_t offset) {
    struct failure why;
    char *text = kept_text(h->in_flight);
    struct connection *c = store_begin(h->o.store);
    (void)store_run(
        c, "INSERT INTO audit_published (heads, record_offset) VALUES (?, ?)", value_text(text), value_int(offset));
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not keep the audit heads that were published", "reason", why.text, NULL);
    free(text);
}

void audit_heads_delivered(struct audit_heads *h, const rd_kafka_message_t *report) {
    if (!h->in_flight) return;
    if (report->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE) {
        h->due = steady_ms(); /* the producer ends, for another's sake */
    } else if (delivery_refuses(report->err)) {
        heads_refused(h, rd_kafka_err2str(report->err));
    } else if (report->err) {
        char reason[DENIAL_TEXT];
        const struct right right = {"Write", "topic", h->topic};
        h->topic_ready = false;
        heads_wait(h, denial_reason(h->o.settings, report->err, right, reason));
    } else {
        h->again_ms = 0;
        heads_keep(h, report->offset);
        json_decref(h->last);
        h->last = json_incref(h->in_flight);
        health_set(h->o.health, "audit heads", HEALTH_OK, "published to %s", h->topic);
    }
    audit_heads_forget(h);
}

void audit_heads_forget(struct audit_heads *h) {
    if (!h) return;
    json_decref(h->in_flight);
    h->in_flight = NULL;
}

/* --- Reading them back */

static verdict record_read(struct reader *reader, const rd_kafka_message_t *m, json_t **out, struct failure *why) {
    struct failure reason;
    char moment[TIME_TEXT];
    verdict v = reader_decode(reader, m, NULL, out, &reason);
    if (v != OK)
        return fail(
            why, v, "could not read %s[0]@%lld: %s", rd_kafka_topic_name(m->rkt), (long long)m->offset, reason.text);
    int64_t at = json_integer_value(json_object_get(*out, "at"));
    json_object_set_new(*out, "at", json_string(time_text(at, moment)));
    json_object_set_new(*out, "offset", json_integer(m->offset));
    return OK;
}

verdict audit_heads_read(
    const struct settings *s, void (*each)(void *context, const json_t *heads), void *context, struct failure *why) {
    char topic[NAME_SIZE];
    struct reader *reader;
    rd_kafka_message_t *m = NULL;
    verdict v = reader_open(&reader, s, why);
    if (v == OK) v = reader_add(reader, topic_name(s, topic), why);
    if (v == REJECT) v = why->kind = RETRY; /* nothing was published yet */
    while (v == OK && (v = reader_next(reader, &m, why)) == OK && m) {
        json_t *heads = NULL;
        v = record_read(reader, m, &heads, why);
        if (v == OK) each(context, heads);
        json_decref(heads);
        rd_kafka_message_destroy(m);
    }
    reader_close(&reader);
    return v;
}
