/* history: whether a new database may begin. Where Kafka holds what this service published, or how far its group has
 * read, the database was lost, or data-dir is another one: all would be handled and answered a second time. So a
 * service with a new database handles and publishes nothing before Kafka has said that there is nothing. Else it takes
 * no orders either, and is held until its database is made whole (rebuild.h). */
#pragma once

#include "chassis/failure.h"

#include <stdbool.h>

struct history;
struct connection;
struct runtime;

bool history_is_new(struct connection *c); /* nobody has noted that it may begin */
/* Notes, in the transaction of c, that it may. */
void history_note(struct connection *c);

/* Sets rt->held at once, where the database is new, and asks on a thread of its own. Tells component "history". changed
 * is called on that thread, with rt, when either of the two below has changed, or rt->held. */
MUST_CHECK verdict
history_start(struct history **out, struct runtime *rt, void (*changed)(void *runtime), struct failure *why);
/* Any thread; false for NULL. */
bool history_asks(const struct history *h); /* for the first time: nothing is known, not even that Kafka is away */
bool history_lost(const struct history *h); /* Kafka has said so */
void history_stop(struct history **h);      /* accepts NULL */
