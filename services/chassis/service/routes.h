/* routes: what every service answers: / and /api/status, /audit, /audit/verify, /drill, /livez, /readyz, /metrics,
 * /api/stream, /assets/…. */
#pragma once

#include "chassis/web/http.h"

extern const struct resource chassis_routes[];
