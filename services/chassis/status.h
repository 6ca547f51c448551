/* status: the pages that every service has: / and /api/status, /audit, /audit/verify, /drill, /livez, /readyz,
 * /metrics, /style.css. */
#pragma once

#include "chassis/http.h"

extern const struct resource status_resources[];

/* Adds what every page shows to its data: "service", "nav", "style". */
void status_decorate(struct exchange *x, json_t *data);
