/* history: whether a database may begin, or go on. Where Kafka holds what this service published (a record with a
 * number of its outbox, ce_sequence), or how far its group has read, and the database is new, it was lost, or data-dir
 * is another one. Where the service's topic goes on behind what the database knows of it, with events that the database
 * never had, the database is an older copy. With either all would be handled and answered a second time. So a service
 * handles and publishes nothing before Kafka has said that all is well. Else it takes no orders either, and is held
 * until its database is made whole (rebuild.h). */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>

struct history;
struct connection;
struct core;

enum beginning {
    BEGINNING_UNKNOWN, /* the database does not say */
    NOT_BEGUN,         /* nobody has noted that it may begin */
    BEGUN,
    BEHIND /* it began, and is older than its topics */
};
enum beginning history_of(struct connection *c);
/* Notes, in the transaction of c, that it may begin. */
void history_note(struct connection *c);

/* Sets core->held at once, and asks on a thread of its own. Tells component "history". changed
 * is called on that thread, with context, when either of the two below has changed, or core->held. */
MUST_CHECK verdict history_start(
    struct history **out, struct core *core, void (*changed)(void *context), void *context, struct failure *why);
/* Any thread. False for NULL. */
bool history_asks(const struct history *h); /* for the first time: nothing is known, not even that Kafka is away */
bool history_lost(const struct history *h); /* Kafka has said so: lost, or an older copy */
void history_stop(struct history **h);      /* accepts NULL */
