/* status: the pages that every service has: / and /api/status, /audit, /audit/verify, /livez, /readyz, /metrics,
 * /api/stream, /assets/…. */
#pragma once

#include "chassis/http.h"

extern const struct resource status_resources[];

/* Adds what every page shows to its data: "service", "nav", "assets", "stream_url". */
void status_decorate(struct exchange *x, json_t *data);
