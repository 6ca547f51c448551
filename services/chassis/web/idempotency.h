/* idempotency: a POST that carries an Idempotency-Key has its effect once, however often it is sent.
 *
 *     header Idempotency-Key: "8e03978e-40d5" or bare, or the form's field idempotency_key: 1 to 255 visible ASCII
 *     characters, else 400. Keys are the service's: one for each request, whatever its path.
 *
 *     repeated           the first answer again: status, headers, body, with Idempotency-Replayed: true
 *     another request    422: the method, path, query, content type, If-Match or body is not that of the first
 *     first still runs   409 with Retry-After
 *
 * Answers are kept for 24 hours, across restarts. One that was committed with its effect is kept whatever it is. Others
 * are not after 5xx, 408, 411, 413 and 429, which ask to try again, nor when they have more than 8 kB. Of those, and of
 * all refusals, the newest 1,000 are kept. Any thread. */
#pragma once

#include "chassis/web/http.h"

struct connection;
struct store;

/* Commits what a POST did, together with its answer, which must be set already: x->status, x->data, headers, or a
 * problem. So who sends it again after a crash gets that answer. What is set later is not sent. Not OK: nothing was
 * stored, and the answer that was set is taken back, so that the function says why instead.
 *
 * A function whose effect takes several transactions calls it in the last one, or leaves it to the server to keep the
 * answer after it: a crash before that lets the request be done anew, so each part must bear being repeated. */
MUST_CHECK verdict exchange_commit(struct exchange *x, struct connection *c, struct failure *why);

const char *exchange_key(const struct exchange *x); /* the request's key, without quotes. NULL: it has none */

/* --- For service.c, and the tests */

/* As http_options.begin_post and end_post. store: where answers are kept. */
bool idempotency_begin(struct store *store, struct exchange *x);
void idempotency_end(struct store *store, struct exchange *x);

/* The key that a header holds. REJECT says what is wrong with it. */
enum { IDEMPOTENCY_KEY_MAX = 255, IDEMPOTENCY_HASH = 32 };
MUST_CHECK verdict idempotency_key_read(const char *header, char out[IDEMPOTENCY_KEY_MAX + 1], struct failure *why);

/* What tells a request from another one. query, content_type, if_match: NULL when absent. False: no memory. */
struct request_parts {
    const char *method, *path, *query, *content_type, *if_match;
    const void *body;
    size_t body_n;
};
MUST_CHECK bool idempotency_fingerprint(const struct request_parts *r, unsigned char out[IDEMPOTENCY_HASH]);
