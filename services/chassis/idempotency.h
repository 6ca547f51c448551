/* idempotency: a POST that carries an Idempotency-Key has its effect once, however often it is sent. */
#pragma once

#include "chassis/http.h"
#include "chassis/store.h"

/* Commits what a POST did, together with its answer, which must be set already: x->status, x->data, headers, or a
 * problem. So who sends it again after a crash gets that answer. Not OK: nothing was stored, and the answer that was
 * set is taken back, so that the function says why instead. */
MUST_CHECK verdict exchange_commit(struct exchange *x, struct connection *c, struct failure *why);
