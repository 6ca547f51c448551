/* topic: reads partitions of topics from one offset to another, each in its own order, whichever the caller wants next.
 * It joins no group and commits nothing, so nobody notices. One thread. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

struct topic_part {
    char name[400];
    int32_t id;
    rd_kafka_topic_t *handle;
    int64_t from, until;      /* the first offset, and one past the last */
    int64_t next;             /* one past the last that was taken */
    rd_kafka_message_t *head; /* NULL: not fetched yet, or none */
    bool begun, ended;        /* ended: for now; topic_extend() goes on */
};
struct topic_reader {
    const struct settings *settings;
    rd_kafka_t *rk;
    struct topic_part *parts;
    size_t n;
};

MUST_CHECK verdict topic_open(struct topic_reader *t, const struct settings *s, struct failure *why);
void topic_close(struct topic_reader *t);                  /* also after a failure */
char *topic_cluster(struct topic_reader *t, char out[64]); /* its id, or ""; returns out */

/* Adds every partition of each topic that is `name`, or, when name begins with '*', of each that ends so and has the
 * namespace's prefix: from where it begins to its end now. A topic that is not there has none. RETRY: Kafka does not
 * say. */
MUST_CHECK verdict topic_add(struct topic_reader *t, const struct settings *s, const char *name, struct failure *why);
/* Moves `until` of every partition to its end now. */
MUST_CHECK verdict topic_extend(struct topic_reader *t, struct failure *why);

/* Sees to it that its head is there, unless all before `until` was taken: then it has ended. RETRY: Kafka does not give
 * it. REJECT: the log no longer has it. */
MUST_CHECK verdict topic_head(struct topic_reader *t, struct topic_part *p, struct failure *why);
void topic_take(struct topic_part *p); /* done with the head */
