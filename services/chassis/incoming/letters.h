/* letters: the thread that reads what the services of this namespace have put aside: every NAME.dead-letters topic,
 * from its beginning at each start, so a lost database loses nothing of it. Letters about records of this service's own
 * topic are given to service.put_aside. It joins no group and commits nothing. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/events/core.h"

struct letters;

MUST_CHECK verdict letters_start(struct letters **out, struct core *core, struct failure *why);
void letters_stop(struct letters **l); /* accepts NULL */
