/* kafka: what every use of librdkafka in this process shares: its configuration, its log, and seeing to it that a topic
 * exists. */
#pragma once

#include "chassis/failure.h"
#include "chassis/settings.h"

#include <librdkafka/rdkafka.h>

struct health;

/* A new handle with the settings' brokers and -X properties, and these pairs (name, value, …, NULL) below them, so that a
 * user's -X wins. Callbacks are set by prepare (may be NULL). FATAL: a property is not known or has a wrong value. */
MUST_CHECK verdict kafka_open(
    rd_kafka_t **out, rd_kafka_type_t type, const struct settings *s, void (*prepare)(rd_kafka_conf_t *conf, void *opaque),
    void *opaque, const char *const *pairs, struct failure *why);

/* Creates the topic where it does not exist yet. May take up to timeout_ms: never on a thread that others wait for.
 * RETRY: the cluster cannot be reached or will not say. */
MUST_CHECK verdict kafka_ensure_topic(
    rd_kafka_t *rk, const char *topic, int partitions, const char *const *config_pairs, int timeout_ms, struct failure *why);
