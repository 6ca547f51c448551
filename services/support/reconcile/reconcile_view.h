/* reconcile_view: /reconciliation, and the thread in which a run of it goes on. One at a time. The last result is kept
 * in memory. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/web/http.h"

/* {"running","doing","records","error","result"}: error: why the last run came to nothing. result: reconcile.h's, of
 * the last that did not. Both may be null. */
void reconcile_get(struct exchange *x);
void reconcile_post(struct exchange *x); /* starts one. 409 while one is under way */
void reconcile_stop(struct runtime *rt); /* and waits for the thread */
