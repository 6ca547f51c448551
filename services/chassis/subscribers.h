/* subscribers: the thread that asks Kafka which consumer groups read this service's topic and how far each has come,
 * and keeps that in the table subscriber_offset (team, partition, next_offset). So a subscriber needs nobody's leave,
 * and one that publishes nothing counts too. While Kafka is away the last answer stands.
 *
 * Where a subscriber is, it says in the metadata of the offsets that it commits, of whatever topic: its base URL. */
#pragma once

#include "chassis/failure.h"
#include "chassis/service.h"

struct subscribers;

MUST_CHECK verdict subscribers_start(struct subscribers **out, struct runtime *rt, struct failure *why);
/* {"name": "http://…"} of all groups of this namespace that said so; the caller's. Any thread; s may be NULL. */
MUST_CHECK json_t *subscribers_urls(struct subscribers *s);
void subscribers_stop(struct subscribers **s); /* accepts NULL */
