#include "chassis/heads.h"

#include "chassis/assets.h"
#include "chassis/codec.h"
#include "chassis/health.h"
#include "chassis/ids.h"
#include "chassis/kafka.h"
#include "chassis/log.h"
#include "chassis/registry.h"
#include "chassis/scan.h"
#include "chassis/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 400, HEADS_BYTES_MAX = 1 << 18, TOPIC_MS = 500 };

struct heads {
    struct heads_options o;
    char topic[NAME_SIZE], subject[2 * NAME_SIZE];
    struct schema *schema;
    bool topic_ready;
    int64_t due;       /* by the clock that never steps */
    int64_t last_rows; /* of the log, when its heads were last published by this process */
    json_t *in_flight; /* NULL: none */
};

static const struct asset *schema_file(void) {
    return asset_find("AuditHeads.avsc");
}

static const char *topic_name(const struct settings *s, char out[NAME_SIZE]) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.audit-heads", s->service);
    return settings_scoped(s, name, out, NAME_SIZE);
}

verdict heads_open(struct heads **out, const struct heads_options *o, struct failure *why) {
    const struct asset *file = schema_file();
    struct heads *h = *out = calloc(1, sizeof *h);
    if (!h) return fail(why, FATAL, "out of memory");
    h->o = *o;
    h->due = steady_ms() + o->settings->audit_heads_ms;
    topic_name(o->settings, h->topic);
    if (schema_parse(file->bytes, file->n, &h->schema, why) != OK) return FATAL;
    snprintf(h->subject, sizeof h->subject, "%s-%s", h->topic, schema_name(h->schema));
    registry_publish(o->registry, h->subject, file->bytes, file->n);
    return OK;
}

void heads_close(struct heads **out) {
    struct heads *h = *out;
    if (!h) return;
    json_decref(h->in_flight);
    schema_free(&h->schema);
    free(h);
    *out = NULL;
}

/* --- Publishing */

/* NULL: nothing that is not published yet, or it could not be read. The log and its heads are of one moment. */
static json_t *heads_take(struct heads *h, int64_t *at) {
    struct connection *c = store_reader(h->o.store);
    json_t *chains = NULL;
    (void)store_run(c, "BEGIN");
    int64_t rows = store_int(c, 0, "SELECT COALESCE(MAX(id), 0) FROM audit");
    if (rows > h->last_rows) chains = store_json(c, "SELECT chain, rows, lower(hex(head)) AS head FROM audit_chain");
    (void)store_run(c, "COMMIT");
    if (!chains || store_state(c) != OK) {
        json_decref(chains);
        return NULL;
    }
    *at = clock_ms();
    return json_pack(
        "{s:s, s:I, s:I, s:o}", "service", h->o.settings->service, "at", (json_int_t)*at, "rows", (json_int_t)rows,
        "chains", chains);
}

static verdict heads_ready(struct heads *h, rd_kafka_t *producer, int32_t *schema_id, struct failure *why) {
    static const struct property config[] = {{"retention.ms", "-1"}, {"cleanup.policy", "delete"}, {0}};
    const struct asset *file = schema_file();
    registry_publish(h->o.registry, h->subject, file->bytes, file->n); /* once is enough, unless memory was short */
    verdict v = registry_id(h->o.registry, h->subject, schema_id, why);
    if (v == OK && !h->topic_ready) v = kafka_ensure_topic(producer, h->topic, 1, config, TOPIC_MS, why);
    h->topic_ready |= v == OK;
    return v;
}

static verdict heads_send(struct heads *h, rd_kafka_t *producer, const json_t *heads, struct failure *why) {
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
            RD_KAFKA_V_HEADER("content-type", "application/avro", -1), RD_KAFKA_V_OPAQUE(NULL), RD_KAFKA_V_END);
    buffer_free(&record);
    return error ? fail(why, RETRY, "%s", rd_kafka_err2str(error)) : v;
}

void heads_step(struct heads *h, rd_kafka_t *producer) {
    struct failure why;
    int64_t at;
    char moment[TIME_TEXT];
    if (h->in_flight || steady_ms() < h->due) return;
    h->due = steady_ms() + h->o.settings->audit_heads_ms;
    json_t *heads = heads_take(h, &at);
    if (!heads) return;
    verdict v = heads_send(h, producer, heads, &why);
    if (v == OK) {
        h->in_flight = json_deep_copy(heads);
        json_object_del(h->in_flight, "service");
        json_object_set_new(h->in_flight, "at", json_string(time_text(at, moment)));
    } else {
        health_set(h->o.health, "audit heads", HEALTH_WAITING, "not published for now: %s", why.text);
    }
    json_decref(heads);
}

/* Kept, so that the service's own /api/audit/verify compares with it. Kafka has the word: this copy may be lost. */
static void heads_keep(struct heads *h, int64_t offset) {
    struct failure why;
    char *text = json_dumps(h->in_flight, JSON_COMPACT);
    struct connection *c = store_begin(h->o.store);
    (void)store_run(
        c, "INSERT INTO audit_published (heads, record_offset) VALUES (?, ?)", value_text(text), value_int(offset));
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not keep the audit heads that were published", "reason", why.text, NULL);
    free(text);
}

void heads_delivered(struct heads *h, const rd_kafka_message_t *report) {
    if (!h->in_flight) return;
    json_int_t rows = json_integer_value(json_object_get(h->in_flight, "rows"));
    if (report->err) {
        h->topic_ready = false;
        health_set(
            h->o.health, "audit heads", HEALTH_WAITING, "not published for now: %s", rd_kafka_err2str(report->err));
    } else {
        heads_keep(h, report->offset);
        h->last_rows = rows;
        health_set(h->o.health, "audit heads", HEALTH_OK, "published to %s", h->topic);
    }
    heads_forget(h);
}

void heads_forget(struct heads *h) {
    if (!h) return;
    json_decref(h->in_flight);
    h->in_flight = NULL;
}

/* --- Reading them back */

static verdict record_read(struct scan *scan, const rd_kafka_message_t *m, json_t **out, struct failure *why) {
    struct failure reason;
    char moment[TIME_TEXT];
    verdict v = scan_decode(scan, m, NULL, out, &reason);
    if (v != OK)
        return fail(
            why, v, "could not read %s[0]@%lld: %s", rd_kafka_topic_name(m->rkt), (long long)m->offset, reason.text);
    int64_t at = json_integer_value(json_object_get(*out, "at"));
    json_object_set_new(*out, "at", json_string(time_text(at, moment)));
    json_object_set_new(*out, "offset", json_integer(m->offset));
    return OK;
}

verdict heads_read(
    const struct settings *s, void (*each)(void *context, const json_t *heads), void *context, struct failure *why) {
    char topic[NAME_SIZE];
    struct scan *scan;
    rd_kafka_message_t *m = NULL;
    verdict v = scan_open(&scan, s, NULL, why);
    if (v == OK) v = scan_add(scan, topic_name(s, topic), why);
    if (v == REJECT) v = why->kind = RETRY; /* nothing was published yet */
    while (v == OK && (v = scan_next(scan, 0, &m, why)) == OK && m) {
        json_t *heads = NULL;
        v = record_read(scan, m, &heads, why);
        if (v == OK) each(context, heads);
        json_decref(heads);
        rd_kafka_message_destroy(m);
    }
    scan_close(&scan);
    return v;
}
