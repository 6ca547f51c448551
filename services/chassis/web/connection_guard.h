/* crowd: what happens when more clients are connected than there are workers to wait for them. civetweb gives each
 * connection a worker until it has spoken, so that a few hundred slow ones would keep everybody else waiting. While
 * there is a crowd, whoever has the server wait for longer than a moment is cut off, those in the queue included, and
 * answers close their connection. Without a crowd nothing happens, and nothing runs.
 *
 *     on_connect ──all workers taken?──▶ guard: looks at each socket of the port every 20 ms, and cuts off
 *                                          no worker has it, and no whole head came for 200 ms
 *                                          a worker waits for its body, and 300 ms have passed since it was noticed
 *                                          a worker sends the answer, and has waited for 500 ms
 *
 * Any thread. */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stdint.h>

struct connection_guard;

MUST_CHECK verdict guard_start(struct connection_guard **out, int workers, struct failure *why);
void guard_stop(struct connection_guard **c); /* accepts NULL */
void guard_watch(struct connection_guard *c, int port);

void guard_enter(struct connection_guard *c);             /* a worker took a connection */
void guard_leave(struct connection_guard *c);             /* and let go of it */
bool guard_is_crowded(struct connection_guard *c);        /* more are connected than there are workers */
bool guard_is_nearly_crowded(struct connection_guard *c); /* most workers are taken: do not keep connections */

/* What a worker waits for, from when it has a request. On its own stack. */
struct visit {
    struct visit *next;
    const char *peer_address;
    int peer_port;
    enum visit_state { VISIT_WORKS, VISIT_READS, VISIT_ANSWERS } state; /* the latter two wait for the client */
    int64_t since;                                                      /* it is in this state */
};
void guard_begin(struct connection_guard *c, struct visit *v, const char *peer_address, int peer_port);
void guard_move(struct connection_guard *c, struct visit *v, enum visit_state state);
void guard_end(struct connection_guard *c, struct visit *v);
