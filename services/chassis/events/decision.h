/* decision: an event of the service's own that a person caused: it is stored in the outbox, and has its effect on the
 * service's own tables, in the caller's transaction. */
#pragma once

#include "chassis/events/core.h"
#include "chassis/events/outbox.h"

/* outbox_add(), then service.decided() with the event as it will be published. As outbox_add() in all else. */
MUST_CHECK verdict
decide(const struct core *core, struct connection *c, const struct outgoing *e, struct uuid *id, struct failure *why);
