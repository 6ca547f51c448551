/* state_topic: a topic to which the relay publishes states, besides the events: its name, its one schema, and whether
 * the registry and Kafka are ready for it. The relay's thread. It lends its producer. */
#pragma once

#include "chassis/base/assets.h"
#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"
#include "chassis/base/settings.h"
#include "chassis/kafka/topic_spec.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>

struct registry;

struct state_topic {
    const struct topic_spec *spec;
    const struct settings *settings;
    struct registry *registry;
    const struct asset *file;
    struct schema *schema;
    char name[400], subject[800];
    int32_t schema_id;
    bool ready; /* Kafka has it. Set to false where it may not: it is asked again */
};

/* FATAL: there is no such schema file, or it is no schema. state_topic_close() in any case. */
MUST_CHECK verdict state_topic_open(
    struct state_topic *t, const struct topic_spec *spec, const char *schema_file, const struct settings *s,
    struct registry *registry, struct failure *why);
void state_topic_close(struct state_topic *t);

/* Sees to it that the topic is there and its schema is registered. Takes half a second at most. RETRY: not yet. REJECT:
 * the registry refuses the schema. */
MUST_CHECK verdict state_topic_ready(struct state_topic *t, rd_kafka_t *producer, struct failure *why);
/* The record of a value, once all is ready. REJECT: the value is not as the schema has it. */
MUST_CHECK verdict
state_topic_encode(const struct state_topic *t, const json_t *value, struct buffer *record, struct failure *why);
/* The record is copied. partition: RD_KAFKA_PARTITION_UA: the key's. REJECT: it can never be sent as it is. */
MUST_CHECK verdict state_topic_send(
    const struct state_topic *t, rd_kafka_t *producer, int32_t partition, const char *key, const struct buffer *record,
    void *opaque, struct failure *why);

/* The pause after one more failure: the first, or twice the last one, up to max. */
static inline int64_t pause_next(int64_t last, int64_t first, int64_t max) {
    return !last ? first : last < max / 2 ? 2 * last : max;
}
