/* set_aside: events of the outbox that can never be published as they are, each with its reason. The relay passes them
 * by, so that nothing behind them waits. The order of their return is given up, as for dead letters. They stay in the
 * outbox until somebody has mended what refused them, and asks to have them sent again. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdint.h>

struct connection;
struct health;
struct store;

enum { SET_ASIDE_REASON = sizeof((struct failure *)0)->text }; /* whole */

/* That row of the outbox, from now on. RETRY: it could not be written. */
MUST_CHECK verdict set_aside(struct store *store, int64_t row, const char *reason, struct failure *why);

/* How many there are, and the oldest of them: [{"id","at","type","return_id","reason"}], the caller's. */
int64_t set_aside_count(struct connection *c);
MUST_CHECK json_t *set_aside_json(struct connection *reader, int limit);

/* Tells component "outbox" how many. */
void set_aside_tell(struct store *store, struct health *health);
