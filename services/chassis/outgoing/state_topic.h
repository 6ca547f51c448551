/* state_topic: a topic to which the relay publishes states, besides the events: its name, its one schema, whether the
 * registry and Kafka are ready for it, and when to publish next. The relay's thread. It lends its producer. */
#pragma once

#include "chassis/base/assets.h"
#include "chassis/base/failure.h"
#include "chassis/kafka/topic_spec.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>

struct relay_options;

struct state_topic {
    const struct relay_options *o;
    const struct topic_spec *spec;
    const char *component; /* of the health */
    const struct asset *file;
    struct schema *schema;
    char name[400], subject[800];
    int32_t schema_id;
    bool ready;       /* Kafka has it, as far as is known */
    size_t bytes;     /* that were handed to the producer. Its owner begins anew */
    int64_t due;      /* when it is published to next, by the clock that never steps. Its owner sets it, too */
    int64_t pause_ms; /* after the last failure. 0: there was none since a record was taken */
};

/* FATAL: there is no such schema file, or it is no schema. state_topic_close() in any case. The options outlive it. */
MUST_CHECK verdict state_topic_open(
    struct state_topic *t, const struct relay_options *o, const struct topic_spec *spec, const char *schema_file,
    const char *component, struct failure *why);
void state_topic_close(struct state_topic *t);

/* Sees to it that the topic is there and its schema is registered. Takes half a second at most. RETRY: not yet. REJECT:
 * the registry refuses the schema. */
MUST_CHECK verdict state_topic_ready(struct state_topic *t, rd_kafka_t *producer, struct failure *why);
/* Hands a value to the producer, once all is ready. partition: RD_KAFKA_PARTITION_UA: the key's. REJECT: it can never
 * be sent as it is. */
MUST_CHECK verdict state_topic_send(
    struct state_topic *t, rd_kafka_t *producer, int32_t partition, const char *key, const json_t *value, void *opaque,
    struct failure *why);
/* OK: the record was taken. REJECT: it is refused as it is. RETRY: it is to be sent again: what was in the way may
 * pass, and state_topic_wait() was told, or the producer ended for another's sake. */
MUST_CHECK verdict state_topic_delivered(struct state_topic *t, const rd_kafka_message_t *report);
/* What may pass is in the way: due after a pause, and the health is told. */
void state_topic_wait(struct state_topic *t, const char *why);

/* The pause after one more failure: the first, or twice the last one, up to max. */
static inline int64_t pause_next(int64_t last, int64_t first, int64_t max) {
    return !last ? first : last < max / 2 ? 2 * last : max;
}
