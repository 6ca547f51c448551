/* status: the pages that every service has: / and /api/status, /audit, /audit/verify, /drill, /livez, /readyz,
 * /metrics, /api/stream, /assets/…. */
#pragma once

#include "chassis/runtime.h"

extern const struct resource status_resources[];

/* What /api/status answers, from one moment; the caller's. A failure of the database is the reader's state. */
MUST_CHECK json_t *status_json(struct runtime *rt, struct connection *reader);

/* Adds what every page shows to its data: "service", "services", "nav", "assets", "stream_url". */
void status_decorate(struct exchange *x, json_t *data);
