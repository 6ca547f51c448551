/* scan: reads topics from Kafka by offsets, outside of any consumer group: for tools, and for what a service looks up
 * beside its consumer. Records are decoded by their writers' schemas. One thread at a time; never one that others wait
 * for.
 *
 *     scan_open ─▶ scan_add each topic ─▶ scan_next until none is left ─▶ scan_close                              */
#pragma once

#include "chassis/avro/codec.h"
#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>

struct scan;
struct registry;

/* registry: one that the scan may ask, and which outlives it; NULL: it starts one of its own. */
MUST_CHECK verdict
scan_open(struct scan **out, const struct settings *s, struct registry *registry, struct failure *why);
void scan_close(struct scan **s); /* accepts NULL */

/* Where a partition's reading stands. next: the offset of the record that comes next; end: one past the last that will
 * come, INT64_MAX when it follows. */
struct scan_place {
    const char *topic; /* the scan's */
    int32_t partition;
    int64_t begin, next, end; /* begin: of the log, when it was added */
    bool done;
};

/* All partitions of the topic, from its beginning to its end as they are now. REJECT: there is no such topic. RETRY:
 * Kafka does not answer. */
MUST_CHECK verdict scan_add(struct scan *s, const char *topic, struct failure *why);
/* Those at hand, to look at, and to set next and end of before the first scan_next(). */
struct scan_place *scan_places(struct scan *s, size_t *n);
/* Of a moment, ms: from the first record that is not older, in every place; at its end where there is none. */
MUST_CHECK verdict scan_since(struct scan *s, int64_t moment, struct failure *why);

/* The next record of any partition, in order within each; the caller's (rd_kafka_message_destroy()). OK with NULL: none
 * is left, or none came within wait_ms while it follows. RETRY: Kafka went quiet for ten seconds. */
MUST_CHECK verdict scan_next(struct scan *s, int wait_ms, rd_kafka_message_t **out, struct failure *why);

/* What the record says; *type (may be NULL) is its schema's full name, and lives until the next record is read, or the
 * scan is closed. *out is the caller's. REJECT: it cannot be decoded. RETRY: the registry does not give its schema. */
MUST_CHECK verdict
scan_decode(struct scan *s, const rd_kafka_message_t *m, const char **type, json_t **out, struct failure *why);

/* The same with the types that it was written by, which live as long as *type. */
MUST_CHECK verdict
scan_read(struct scan *s, const rd_kafka_message_t *m, const char **type, struct written *out, struct failure *why);

/* Its client, for what else is to be asked of Kafka; the scan's. */
rd_kafka_t *scan_client(struct scan *s);

/* The topics that the cluster has, by name; internal ones are left out. The caller's. */
MUST_CHECK verdict scan_topics(struct scan *s, json_t **out, struct failure *why);
