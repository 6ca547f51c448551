/* first_record: which partitions of a topic are known to have taken a record of this producer. Until one has, whoever
 * must keep an order sends a single record there, and waits for its delivery report.
 *
 * Why: a broker checks that an idempotent producer's batches come without a gap, but it takes any batch as the first of
 * a producer that it does not know (Kafka 4.3, ProducerAppendInfo.checkSequence). If the first batch is refused, or has
 * to wait, and a second one is on its way, the second becomes the first: it overtakes. Worse, where the first only has
 * to wait, librdkafka (2.0 to 2.8, rd_kafka_dr_implicit_ack) takes the second's success for the first's.
 *
 * Not thread-safe: one producer's thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

struct first_record {
    int32_t (*partitioner)(const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *);
    int64_t *confirmed; /* of each partition: when, by steady_ms(). 0: it has taken nothing yet */
    int32_t partitions;
};

/* A new producer, to a topic of so many partitions. False: no memory. Then no partition is known ever. */
bool first_record_begin(struct first_record *f, rd_kafka_t *producer, int32_t partitions);
void first_record_end(struct first_record *f);

/* Whether the partition that a record with this key goes to (not empty, by the producer's `partitioner`) has taken a
 * record of this producer within an hour: a broker forgets a producer after producer.id.expiration.ms, a day. */
bool first_record_taken(const struct first_record *f, const void *key, size_t n);

/* The delivery report of a record says that it is in this partition. */
void first_record_confirm(struct first_record *f, int32_t partition);
