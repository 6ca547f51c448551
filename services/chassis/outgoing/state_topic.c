#include "chassis/outgoing/state_topic.h"

#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/buffer.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/outgoing/delivery.h"
#include "chassis/outgoing/relay.h"

#include <stdio.h>
#include <string.h>

enum { TOPIC_MS = 500, PAUSE_MS = 500, PAUSE_MAX_MS = 60000 };

verdict state_topic_open(
    struct state_topic *t, const struct relay_options *o, const struct topic_spec *spec, const char *schema_file,
    const char *component, struct failure *why) {
    *t = (struct state_topic){.o = o, .spec = spec, .component = component, .file = asset_find(schema_file)};
    topic_spec_name(spec, o->settings, t->name, sizeof t->name);
    if (!t->file) return fail(why, FATAL, "there is no schema file \"%s\"", schema_file);
    if (schema_parse(t->file->bytes, t->file->n, &t->schema, why) != OK) return FATAL;
    snprintf(t->subject, sizeof t->subject, "%s-%s", t->name, schema_name(t->schema)); /* TopicRecordNameStrategy */
    registry_publish(o->registry, t->subject, t->file->bytes, t->file->n);
    return OK;
}

void state_topic_close(struct state_topic *t) {
    schema_free(&t->schema);
}

verdict state_topic_ready(struct state_topic *t, rd_kafka_t *producer, struct failure *why) {
    const struct topic_spec *p = t->spec;
    registry_publish(
        t->o->registry, t->subject, t->file->bytes, t->file->n); /* once is enough, unless memory was short */
    verdict v = registry_id(t->o->registry, t->subject, t->file->bytes, &t->schema_id, why);
    if (v == OK && !t->ready)
        v = kafka_ensure_topic(producer, t->o->settings, t->name, p->partitions, p->config, TOPIC_MS, NULL, why);
    t->ready |= v == OK;
    return v;
}

verdict state_topic_send(
    struct state_topic *t, rd_kafka_t *producer, int32_t partition, const char *key, const json_t *value, void *opaque,
    struct failure *why) {
    buffer_auto record = BUFFER(EVENT_BYTES_MAX + FRAME_SIZE);
    frame_write(&record, t->schema_id);
    verdict v = codec_encode(t->schema, value, &record, why);
    if (v != OK) return v;
    t->bytes += record.length;
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(t->name), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_VALUE(record.data, record.length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_HEADER(t->spec->headers->name, "application/avro", -1), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    return error ? fail(why, delivery_refuses(error) ? REJECT : RETRY, "%s", rd_kafka_err2str(error)) : OK;
}

/* Soon, at first: it may be no more than a topic just created, which not every broker knows yet. Then later and later,
 * as each failure ends the producer that the service's events go by too. */
void state_topic_wait(struct state_topic *t, const char *why) {
    t->pause_ms = pause_next(t->pause_ms, PAUSE_MS, PAUSE_MAX_MS);
    t->due = steady_ms() + t->pause_ms;
    health_set(t->o->health, t->component, HEALTH_WAITING, "not published for now: %s", why);
}

verdict state_topic_delivered(struct state_topic *t, const rd_kafka_message_t *report) {
    char reason[DENIAL_TEXT];
    if (delivery_refuses(report->err)) return REJECT;
    if (report->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || delivery_unheard(report)) return RETRY;
    if (report->err) {
        t->ready = false;
        state_topic_wait(
            t, denial_reason(t->o->settings, report->err, (struct right){"Write", "topic", t->name}, reason));
        return RETRY;
    }
    t->pause_ms = 0;
    return OK;
}
