/* admin: questions to Kafka about its consumer groups, topics and brokers. Each is asked and waited for, one at a time:
 * an answer that came too late for an earlier question is passed over. Never on a thread that others wait for. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

struct admin {
    const struct settings *settings; /* NULL: the client is another's */
    rd_kafka_t *rk;
    rd_kafka_queue_t *answers; /* no one else's. rd_kafka_queue_yield() ends a wait */
    int wait_ms;               /* for each answer */
};

/* A client of its own. REJECT, FATAL: as kafka_open(). */
MUST_CHECK verdict admin_open(struct admin *a, const struct settings *s, int wait_ms, struct failure *why);
/* Asks by a client that there is, which outlives it. */
struct admin admin_of(rd_kafka_t *rk, int wait_ms);
#define admin_auto __attribute__((cleanup(admin_close))) struct admin /* closed at the end of its block */
void admin_close(struct admin *a);

/* Of any question: its options, and the answer to the one that was asked just before with these, which end here. NULL:
 * there is none, and *error is why. */
rd_kafka_AdminOptions_t *admin_options(const struct admin *a, rd_kafka_admin_op_t operation);
rd_kafka_event_t *admin_answer(
    const struct admin *a, rd_kafka_AdminOptions_t *options, rd_kafka_event_type_t type, rd_kafka_resp_err_t *error);

/* Both: what is found lives in the event, which the caller destroys. NULL: there is no whole answer, and *error is why,
 * RD_KAFKA_RESP_ERR__TIMED_OUT where none came in time. */
rd_kafka_event_t *admin_groups(
    const struct admin *a, const rd_kafka_ConsumerGroupListing_t ***groups, size_t *n, rd_kafka_resp_err_t *error);
/* What the group has committed, of all topics. */
rd_kafka_event_t *admin_offsets(
    const struct admin *a, const char *group, const rd_kafka_topic_partition_list_t **found,
    rd_kafka_resp_err_t *error);

/* {"0": 41, …}: what was found of that topic, each partition with its offset. The caller's. */
json_t *admin_offsets_of(const rd_kafka_topic_partition_list_t *found, const char *topic);
/* {"legal": {"0": 41, …}, …}: each group of the namespace that has committed an offset of the topic. The caller's.
 * RETRY: Kafka does not answer. */
MUST_CHECK verdict admin_readers(const struct admin *a, const char *topic, json_t **out, struct failure *why);

/* {"retention.ms": "…"}: those of the names (up to a NULL) that the topic or broker has. set: only what is not the
 * default. The caller's. NULL: Kafka does not say, and *error is why. */
json_t *admin_config(
    const struct admin *a, rd_kafka_ResourceType_t type, const char *resource, const char *const *names, bool set,
    rd_kafka_resp_err_t *error);
int64_t admin_broker_number(const struct admin *a, const char *setting); /* 0: Kafka does not say, or it is none */
