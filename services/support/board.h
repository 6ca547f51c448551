/* board: the fan-out at a glance: support, the topic, and every service that reads it or that published something, each
 * with its state, as peers.h observes them. */
#pragma once

#include "chassis/web/http.h"

/* {"topic","services":[…] as of /api/peers, each with "last_event","totals":{…},"returns":[…],"next"}. The page gets
 * the picture's coordinates besides. */
void board_get(struct exchange *x);
