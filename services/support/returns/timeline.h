/* timeline: what happened to one return, step by step over all teams, with the real times. */
#pragma once

#include "support/returns/past.h"

/* [{"step":"submitted"|"stored"|"published"|"received"|"handled"|"reacted"|"cancelled"|"closed"|"refused"|"undone",
 * "team","event","at","after_ms","lasted_ms","seen"}], as things happened, from returns_one() and returns_history().
 * after_ms counts from the first step, lasted_ms from the step before it in its own line: stored after submitted,
 * published after stored, received after published, handled after received (after published where the team does not
 * tell), and a reaction published after it was decided. A team has undone, not handled, what its reaction to a
 * RefundCancelled is about. seen: the team's events do not tell, so it is when its group was seen to have passed. What
 * was later than the bound is not in it. The caller's. */
MUST_CHECK json_t *timeline_read(const json_t *one, const json_t *history, const struct bound *b);

/* For the page: words and the bars of the waterfall. */
void timeline_view(json_t *timeline);
