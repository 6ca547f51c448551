/* status: how this service is: /api/status, and its page. */
#pragma once

#include "chassis/pages/runtime.h"

/* What /api/status answers, from one moment. The caller's. A failure of the database is the reader's state. */
MUST_CHECK json_t *status_json(struct runtime *rt, struct connection *reader);

void status_get(struct exchange *x); /* / and /api/status */

/* Adds what every page shows to its data: "service", "services", "nav", "assets", "stream_url". */
void status_decorate(struct exchange *x, json_t *data);
