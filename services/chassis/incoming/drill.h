/* drill: trouble on purpose, to see that nobody else notices it, and that nothing is lost or done twice. Only where the
 * setting `drills` allows it. Each is audited as done by hand (action "drill"), before it has its effect. A drill lives
 * in memory: a service that was started again is as it should be.
 *
 *     paused   the consumer takes nothing more. It stays in its group, owns its partitions, and knows how far behind it is
 *     slow     each event takes N ms
 *     crash    the process ends at once, as by a SIGKILL, after its audit row was committed and its asker was answered
 *
 * None of them holds up a rebalance or a stop. Any thread. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct drill;

enum drill_mode { DRILL_NONE, DRILL_PAUSED, DRILL_SLOW };
enum { DRILL_MS_MAX = 60000 };
struct drill_state {
    enum drill_mode mode;
    int64_t ms; /* of DRILL_SLOW */
    int64_t since;
};

struct drill *drill_new(void);                 /* NULL: no memory */
void drill_free(struct drill **d);             /* accepts NULL */
struct drill_state drill_now(struct drill *d); /* of NULL: none is on */
json_t *drill_json(struct drill_state s); /* null, or {"mode":"paused"|"slow","ms":N,"since":"…"}, the caller's */

/* For who does this service's work on another thread than the consumer's: waits as long as it should take now. False:
 * it is paused, and that has lasted for most_ms, or the service stops: do not do it. */
MUST_CHECK bool drill_delay(struct drill *d, int64_t most_ms);
void drill_end(struct drill *d); /* the service stops: nobody is kept waiting any more. Accepts NULL */

/* A change that is written down before it holds. One at a time, so that whatever commits them has them in their order.
 */
struct drill_change {
    bool stays; /* the state stays as it is: only the writing down is in order with the others */
    enum drill_mode mode;
    int64_t ms;
    verdict (*commit)(void *context, struct drill_state state, struct failure *why); /* NULL: nobody writes it down */
    void *context;
};
MUST_CHECK verdict drill_change(struct drill *d, const struct drill_change *change, struct failure *why);
