/* subscribers: the thread that asks Kafka which consumer groups read this service's topic and how far each has come,
 * and keeps that in the table subscriber_offset (team, partition, next_offset). So a subscriber needs nobody's leave,
 * and one that publishes nothing counts too. While Kafka is away the last answer stands.
 *
 * A group is a subscriber, and is waited for, once it says where it is, or has published an event. Any other only reads
 * (kcat -G, a tool that shows the lag). A subscriber stays one when Kafka forgets its offsets, which it does once a
 * group has been empty for offsets.retention.minutes: what it has passed stays passed, and the rest is waited for. A
 * group that is gone sooner than that was deleted by somebody (./returns remove), and is waited for no more.
 *
 * Where a subscriber is, it says in the metadata of the offsets that it commits, of whatever topic: its base URL. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct subscribers;
struct settings;
struct store;
struct health;
struct connection;

struct subscribers_options {
    const struct settings *settings;
    struct store *store;
    struct health *health; /* told as component "kafka groups" */
    /* As in struct service. On the thread of subscribers. Both may be NULL. */
    bool (*publishes)(struct connection *c, const char *service);
    void (*passed)(struct connection *c, const char *team, int64_t partition, int64_t next_offset);
};
MUST_CHECK verdict
subscribers_start(struct subscribers **out, const struct subscribers_options *o, struct failure *why);
/* {"name": "http://…"} of all groups of this namespace that said so. The caller's. Any thread. s may be NULL. */
MUST_CHECK json_t *subscribers_urls(struct subscribers *s);
/* ["name",…] of the groups that read the topic and are not waited for. The caller's. Any thread. s may be NULL. */
MUST_CHECK json_t *subscribers_others(struct subscribers *s);
void subscribers_stop(struct subscribers **s); /* accepts NULL */
