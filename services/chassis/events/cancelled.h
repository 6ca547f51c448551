/* cancelled: the returns that were taken back, as a service remembers them. So a request that comes after its own
 * cancellation (it was quarantined, and redriven later) has no effect, nor has a second cancellation. They are in a
 * table of the service's own schema:
 *
 *     CREATE TABLE cancelled (return_id TEXT NOT NULL PRIMARY KEY, cancelled_at BIGINT NOT NULL);
 *
 * Called by handlers. Each function audits what it says is the end of the matter. */
#pragma once

#include "chassis/events/reaction.h"

/* In the handler of a cancellation: notes it. False, and audited: it was noted before. */
bool cancelled_note(struct reaction *r);
/* The same handler found nothing to undo: audits that. */
void cancelled_audit(struct reaction *r);
/* In the handler of a request. True, and audited: its return was taken back before, so there is nothing to do. */
bool cancelled_before(struct reaction *r);
