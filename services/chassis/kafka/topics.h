/* topics: what lies in Kafka, looked at from outside: which topics and consumer groups there are in the namespace, and
 * every record of a topic up to where it ends now, decoded by its writer's schema. No group is joined and nothing is
 * committed, so nobody notices.
 *
 * One thread at a time, and never one that others wait for: each call may take seconds. RETRY: Kafka or the registry
 * does not answer. The text says which. Names are given and answered without the namespace. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"
#include "chassis/kafka/reader.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdint.h>

struct topics;

/* stop (may be NULL): once it is true, every call ends soon, with RETRY. */
MUST_CHECK verdict
topics_open(struct topics **out, const struct settings *s, const atomic_bool *stop, struct failure *why);
void topics_close(struct topics **t); /* accepts NULL */

/* ["legal.events",…]: those whose name ends so. The caller's. */
MUST_CHECK verdict topics_find(struct topics *t, const char *ending, json_t **names, struct failure *why);

/* {"legal": {"0": 41, …}, …}: each group that read this topic, with the offset it committed last. The caller's. */
MUST_CHECK verdict topics_groups(struct topics *t, const char *topic, json_t **groups, struct failure *why);

enum { TOPIC_PARTITIONS = 64 };
/* Where the topic begins and ends now: its partitions, until the next one is looked at. None: there is no such topic.
 */
MUST_CHECK verdict
topics_look(struct topics *t, const char *topic, const struct place **places, size_t *n, struct failure *why);

/* A record, as long as the call that gets it. */
struct topic_record {
    int32_t partition;
    int64_t offset, at; /* at: ms, Kafka's. 0: not known */
    const char *key;    /* NULL: none, or no text */
    const char *type;   /* full name. "": it cannot be decoded, and then data is NULL */
    const json_t *data;
    const void *message; /* for topic_header() */
};
/* The last header of that name as text. "": there is none, or it does not fit. Returns out. */
const char *topic_header(const struct topic_record *r, const char *name, char *out, size_t size);

/* Every record of the topic that was looked at last, up to where it ended then, in each partition in order. */
MUST_CHECK verdict topics_read(
    struct topics *t, void (*each)(void *context, const struct topic_record *r), void *context, struct failure *why);
