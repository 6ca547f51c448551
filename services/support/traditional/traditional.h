/* traditional: how support handled a return before there were events: it calls the four teams one after another, and
 * the customer waits for all of them. A fair twin of the new way: connections are kept, 1 s to connect, 2 s in all, two
 * more tries after what may pass. Nothing slows it down on purpose. The first call that fails ends it, and what was
 * done before stays done.
 *
 * To know one's four teams, their order and their endpoints is what the events do away with. Here it is a table. */
#pragma once

#include "chassis/web/http.h"

#include <jansson.h>

/* /api/returns/traditional: 201 {"return_id","status":"done","ms","steps":[{"team","status","tries","ms"}]}. 502 with
 * the same as members of the problem when a call failed ("failed", or "half done"). 404 where the setting
 * comparison is off. 422. 503 when half of the web
 * threads are busy with such returns already. The outcome is stored before it is answered. */
void traditional_post(struct exchange *x);

/* What was done in the first `done` calls, and what was not: "refunded, never shipped". The caller's. */
MUST_CHECK json_t *traditional_words(int done);

/* The calls, in order: [{"team","api_path"}]. The caller's. */
MUST_CHECK json_t *traditional_steps(void);
