/* compare: one load through both ways at once, the traditional way (traditional.h) and by an event, measured where the
 * customer stands. Only where drills are allowed. Each tick submits one return by each way over HTTP, from one process
 * and by one clock, in alternating order. A customer's wait counts from the tick, also while all connections of that
 * way are taken, and ends in failure after ten seconds. Every figure is of the run.
 *
 *     ticks ─▶ clients of the way, a thread and a connection each ─▶ /api/returns, or /api/returns/traditional
 *                                                                     └─▶ waits in memory, outcomes in the database
 */
#pragma once

#include "chassis/web/http.h"

#include "chassis/events/service.h"

/* /compare, /api/compare:
 * {"running","rate","seconds","started_at","elapsed_ms","drills","ways":[{"way","sent","waiting",
 * "accepted","failed","gave_up","half_done","late","wait_us":{"p50","p99","max"},"clients"}],"half_done":[{"words",
 * "n"}],"late":[{"team","n","oldest_ms"}],"failures":[{"reason","n"}],"teams":[…],"orders_made_up": why sales may
 * decline the refunds, if it did not take the run's orders}. Before the first run: no ways. */
void compare_get(struct exchange *x);

/* Starts a run: {"rate":1 to 100,"seconds":1 to 60}. 202, or from the form 303. 409 while one runs. */
void compare_post(struct exchange *x);

void compare_stop(struct runtime *rt); /* ends a run, and waits for its threads */
