/* reader: the one way to read topics outside of the service's consumer: for tools, pages, a rebuild and lookups. It
 * joins no group and commits nothing, so nobody notices, and it needs no right but Describe and Read on the topics.
 *
 *     reader_open ─▶ reader_add each topic ─▶ reader_next until none is left ─▶ reader_close
 *                                         └─▶ reader_get of whichever partition is wanted next
 *
 * From where to where: each partition from `next` to before `end`, which are where it begins and ends when it is added.
 * Both may be set until the first record is got. What follows is not read, until reader_extend().
 * Gaps: marks of transactions, records that were given up, and what compaction took away, are passed over.
 * Memory: at most 2 MiB of each partition are fetched ahead, and one record more, however large.
 * Time: each call waits for at most what its comment says. While a partition has no leader, or moves to another
 * broker, that time passes in waiting.
 * Errors: RETRY: Kafka does not answer, denies, or is quiet for too long. REJECT: a topic, or an offset, is not there.
 * The text says which, and what to do. After an error the reader can only be closed.
 *
 * One thread at a time, and never one that others wait for. */
#pragma once

#include "chassis/avro/codec.h"
#include "chassis/base/failure.h"
#include "chassis/base/settings.h"
#include "chassis/kafka/topic_spec.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

struct reader;

struct place { /* a partition */
    char topic[256];
    int32_t partition;
    int64_t begin;     /* of the log, when it was added */
    int64_t next, end; /* the offset that is read next, and one past the last. INT64_MAX: it is followed. Equal: done */
    rd_kafka_topic_t *handle; /* the reader's. NULL: nothing of it is being fetched */
};

MUST_CHECK verdict reader_open(struct reader **out, const struct settings *s, struct failure *why);
void reader_close(struct reader **r); /* accepts NULL */
void reader_clear(struct reader *r);  /* forgets all places */
/* Once stop is true, reader_add() and reader_each() end soon, with RETRY. */
void reader_stop(struct reader *r, const atomic_bool *stop);

/* All partitions of the topic. REJECT: there is no such topic. Waits for 10 s at each question. */
MUST_CHECK verdict reader_add(struct reader *r, const char *topic, struct failure *why);
/* One partition, without asking Kafka. */
MUST_CHECK verdict
reader_add_part(struct reader *r, const char *topic, int32_t partition, int64_t next, int64_t end, struct failure *why);
/* Those that were added, in their order. They live until the next one is added. */
struct place *reader_places(struct reader *r, size_t *n);
/* Moves the end of all places to where they end now. */
MUST_CHECK verdict reader_extend(struct reader *r, struct failure *why);
/* Of a moment, ms: from the first record that is not older, in every place. At its end where there is none. */
MUST_CHECK verdict reader_since(struct reader *r, int64_t moment, struct failure *why);

/* The place's next record, the caller's (rd_kafka_message_destroy()). OK with NULL: it is done, or it is followed and
 * none came within wait_ms. RETRY: none came within wait_ms. REJECT: the log does not have the offset any more. */
MUST_CHECK verdict
reader_get(struct reader *r, struct place *p, int wait_ms, rd_kafka_message_t **out, struct failure *why);
/* The next record of all places, one place after another. OK with NULL: all are done. RETRY: Kafka was quiet for ten
 * seconds, or the log was cut meanwhile. */
MUST_CHECK verdict reader_next(struct reader *r, rd_kafka_message_t **out, struct failure *why);
/* Gives all that reader_next() would get to each(), as long as that says OK. The record lives as long as the call. */
MUST_CHECK verdict reader_each(
    struct reader *r, verdict (*each)(void *context, const rd_kafka_message_t *m, struct failure *why), void *context,
    struct failure *why);

/* What the record says, by its writer's schema, of the settings' registry. *type (may be NULL) is the schema's full
 * name, and lives until the next record is decoded. *out is the caller's. REJECT: it cannot be decoded. RETRY: the
 * registry does not give the schema. */
MUST_CHECK verdict
reader_decode(struct reader *r, const rd_kafka_message_t *m, const char **type, json_t **out, struct failure *why);
/* The same with the types that it was written by, which live as long as *type. */
MUST_CHECK verdict reader_written(
    struct reader *r, const rd_kafka_message_t *m, const char **type, struct written *out, struct failure *why);

/* Its client, for what else is to be asked of Kafka. The reader's. */
rd_kafka_t *reader_client(struct reader *r);
/* The topics that the cluster has, by name, without internal ones. The caller's. */
MUST_CHECK verdict reader_topics(struct reader *r, json_t **out, struct failure *why);
/* ["legal",…]: the services of the namespace that have such a topic. The caller's. */
MUST_CHECK verdict reader_owners(struct reader *r, const struct topic_spec *spec, json_t **out, struct failure *why);
