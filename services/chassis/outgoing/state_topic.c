#include "chassis/outgoing/state_topic.h"

#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/kafka/client.h"
#include "chassis/outgoing/delivery.h"

#include <stdio.h>
#include <string.h>

enum { TOPIC_MS = 500 };

verdict state_topic_open(
    struct state_topic *t, const struct topic_spec *spec, const char *schema_file, const struct settings *s,
    struct registry *registry, struct failure *why) {
    *t = (struct state_topic){.spec = spec, .settings = s, .registry = registry, .file = asset_find(schema_file)};
    topic_spec_name(spec, s, t->name, sizeof t->name);
    if (!t->file) return fail(why, FATAL, "there is no schema file \"%s\"", schema_file);
    if (schema_parse(t->file->bytes, t->file->n, &t->schema, why) != OK) return FATAL;
    snprintf(t->subject, sizeof t->subject, "%s-%s", t->name, schema_name(t->schema)); /* TopicRecordNameStrategy */
    registry_publish(registry, t->subject, t->file->bytes, t->file->n);
    return OK;
}

void state_topic_close(struct state_topic *t) {
    schema_free(&t->schema);
}

verdict state_topic_ready(struct state_topic *t, rd_kafka_t *producer, struct failure *why) {
    const struct topic_spec *p = t->spec;
    registry_publish(t->registry, t->subject, t->file->bytes, t->file->n); /* once is enough, unless memory was short */
    verdict v = registry_id(t->registry, t->subject, t->file->bytes, &t->schema_id, why);
    if (v == OK && !t->ready)
        v = kafka_ensure_topic(producer, t->settings, t->name, p->partitions, p->config, TOPIC_MS, NULL, why);
    t->ready |= v == OK;
    return v;
}

verdict
state_topic_encode(const struct state_topic *t, const json_t *value, struct buffer *record, struct failure *why) {
    frame_write(record, t->schema_id);
    verdict v = codec_encode(t->schema, value, record, why);
    return v == OK && record->failed ? fail(why, RETRY, "out of memory, or too large") : v;
}

verdict state_topic_send(
    const struct state_topic *t, rd_kafka_t *producer, int32_t partition, const char *key, const struct buffer *record,
    void *opaque, struct failure *why) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(t->name), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_VALUE(record->data, record->length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_HEADER(t->spec->headers->name, "application/avro", -1), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    return error ? fail(why, delivery_refuses(error) ? REJECT : RETRY, "%s", rd_kafka_err2str(error)) : OK;
}
