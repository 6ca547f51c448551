/* kafka: what every use of librdkafka in this process shares: its configuration, its log, and seeing to it that a topic
 * exists. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>

struct health;

/* [["name", value],…], each as bytes_json() has it. headers: NULL: none. The caller's. NULL: no memory. */
json_t *kafka_headers_json(rd_kafka_headers_t *headers);

/* Destroyed at the end of its block: places_auto *list = rd_kafka_topic_partition_list_new(n),
 * metadata_auto *all = NULL. */
#define places_auto __attribute__((cleanup(places_destroy))) rd_kafka_topic_partition_list_t
#define metadata_auto __attribute__((cleanup(metadata_destroy))) const rd_kafka_metadata_t
void places_destroy(rd_kafka_topic_partition_list_t **places);
void metadata_destroy(const rd_kafka_metadata_t **metadata);

/* A new handle with the settings' brokers and -X properties, and these ones (up to a {0}) below them, so that a user's
 * -X wins. Callbacks are set by prepare (may be NULL), and get opaque. REJECT: a property is not known, or its value is
 * wrong. FATAL: no memory, or no threads. */
MUST_CHECK verdict kafka_open(
    rd_kafka_t **out, rd_kafka_type_t type, const struct settings *s, void (*prepare)(rd_kafka_conf_t *conf),
    void *opaque, const struct property *properties, struct failure *why);

/* For the error_cb of a client: what it says of its connections is told to the health, as this component's: that Kafka
 * is away, or lets the process not in, and why. True: no broker can be reached. Any client without an error_cb of its
 * own only keeps the latter, for denial_entry(). */
bool kafka_lost(
    struct health *h, const char *component, const struct settings *s, rd_kafka_resp_err_t error, const char *text);

/* Whether librdkafka takes the settings' brokers and -X properties. REJECT: it does not. The text quotes name and
 * value. */
MUST_CHECK verdict kafka_check(const struct settings *s, struct failure *why);

/* When Kafka, or the record's producer, says that it was written, ms. 0: it does not say so (CreateTime is what the
 * producer pleases, also −1 and the year 50000). */
int64_t kafka_time(const rd_kafka_message_t *m);

/* All topics that the cluster has: rd_kafka_metadata(). Nothing can interrupt that call, and a stop waits for it. So a
 * connection is waited for half a second, and timeout_ms only for the answer over one that is there. */
rd_kafka_resp_err_t kafka_topics(rd_kafka_t *rk, const rd_kafka_metadata_t **found, int timeout_ms);

/* Whether the cluster has the topic, and with how many partitions (has may be NULL). May take up to timeout_ms. REJECT:
 * it has not. RETRY: the cluster cannot be reached or will not say. */
MUST_CHECK verdict kafka_topic(
    rd_kafka_t *rk, const struct settings *s, const char *topic, int timeout_ms, int32_t *has, struct failure *why);

/* Creates the topic where it does not exist yet. has (may be NULL): how many partitions it has then. May take up to
 * timeout_ms: never on a thread that others wait for. RETRY: the cluster cannot be reached or will not say. */
MUST_CHECK verdict kafka_ensure_topic(
    rd_kafka_t *rk, const struct settings *s, const char *topic, int partitions, const struct property *config,
    int timeout_ms, int32_t *has, struct failure *why);
