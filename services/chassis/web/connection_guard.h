/* crowd: what happens when more clients are connected than there are workers to wait for them. civetweb gives each
 * connection a worker until it has spoken, so that a few hundred slow ones would keep everybody else waiting. While
 * there is a crowd, whoever has the server wait for longer than a moment is cut off, those in the queue included, and
 * answers close their connection. Without a crowd nothing happens, and nothing runs.
 *
 *     on_connect ──all workers taken?──▶ guard: looks at each socket of the port every 20 ms, and cuts off
 *                                          no worker has it, and no whole request came for 200 ms
 *                                          a worker waits for its body, 300 ms have passed since it was noticed, and
 *                                            the request was not whole before a worker took it
 *                                          a worker sends the answer, and has waited for 500 ms
 *
 * Any thread. */
#pragma once

#include "chassis/base/failure.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct connection_guard;

/* port: may be set later, before the first connection. */
MUST_CHECK verdict guard_start(struct connection_guard **out, int workers, const atomic_int *port, struct failure *why);
void guard_stop(struct connection_guard **c); /* accepts NULL */

/* What a worker's connection waits for. The guard's, from guard_enter() to guard_leave(). All but WORKS wait for the
 * client. */
enum visit_state { VISIT_HEAD, VISIT_WORKS, VISIT_READS, VISIT_ANSWERS };
struct visit *guard_enter(struct connection_guard *c);
void guard_move(struct connection_guard *c, struct visit *v, uint64_t peer, enum visit_state state); /* sockets.h */
void guard_leave(struct connection_guard *c, struct visit *v);

/* NEAR: most workers are taken, so that no connection should be kept. A kept one has its worker, too, and a few dozen
 * live pages would take them all between two refreshes. HERE: more are connected than there are workers. */
enum crowd { CROWD_NONE, CROWD_NEAR, CROWD_HERE } guard_crowd(struct connection_guard *c);
