/* call: the traditional way into a service: somebody calls it, and waits for its answer. It runs the handler that the
 * event of struct call's type has, with the same projection, in one transaction with an audit row (actor "call"). What
 * the handler emits is the answer's body and is not published: a call has one reader, its caller.
 *
 *     JSON ─▶ fields, by the handler's projection (400) ─▶ BEGIN  event_seen · handler · audit  COMMIT ─▶ 201
 *
 *     201 {"return_id","outcome":"handled","action","summary","event_type","fields":{…},"repeated":false}
 *     200 the same call was answered before, and nothing was done again: "repeated":true, no fields
 *     404 the setting comparison is off, as it is by default: what is done so is not in the log
 *     409 declined
 *     422 refused by the handler, or an Idempotency-Key of another return
 *     503 busy, send it again
 *
 * A call is the same when its Idempotency-Key is, or without one its return_id. With a key the first answer itself
 * comes again for 24 hours (idempotency.h), and 200 after that. At most half of the web threads wait for the database
 * in calls. More are answered 503 at once, so that the service's pages stay within reach. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/web/http.h"

#include <stdbool.h>

/* Whether the setting comparison is on. Without it there is no traditional way, into the service or out of it: 404. */
MUST_CHECK bool comparison_on(struct exchange *x);

struct resource call_resource(const struct service *service); /* {0}: it cannot be called */
