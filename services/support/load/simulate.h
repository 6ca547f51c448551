/* simulate: load to look at, started from the board where drills are allowed. A thread of support's own posts returns
 * (sample.h) to support's own API, over HTTP like everybody. So the audit log has them as "api". One run at a time. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/web/http.h"

void simulate_get(struct exchange *x);  /* /api/simulate: the run at hand, or the last one. 403 without drills */
void simulate_post(struct exchange *x); /* rate: 1 to 500 a second. seconds: 1 to 60. 409 while one runs */
json_t *simulate_view(const struct exchange *x); /* what simulate.html shows. NULL where drills are not allowed */
void simulate_stop(struct runtime *rt);          /* ends the run at hand */
