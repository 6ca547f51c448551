/* exchange: what is behind an exchange (http.h), for the files of the web server and idempotency.c only.
 *
 *     http.c takes a request ─▶ router.c finds its resource ─▶ body.c reads its body ─▶ the resource's function
 *            sends the answer ◀─ http_private.c writes problem, page or JSON ◀────────────────────────┘            */
#pragma once

#include "chassis/base/ids.h"
#include "chassis/web/connection_guard.h"
#include "chassis/web/http.h"

#include <stdatomic.h>

struct mg_connection;

struct exchange_private {
    const struct http_options *options;
    struct mg_connection *connection;
    json_t *parameters, *query;                         /* objects of text */
    json_t *headers;                                    /* of the answer */
    struct buffer sent;                                 /* by exchange_send() */
    char content_type[128];                             /* of sent; "" when nothing was */
    json_t *problem, *problem_fields, *problem_members; /* NULL: none */
    char *body;
    enum { STREAM_NONE, STREAM_PLAIN, STREAM_CHUNKED, STREAM_ENDED } stream;
    atomic_bool *stopping; /* the server's */
    bool body_unread;      /* the client is still sending: answer, then close */
    char trace_parent[TRACE_PARENT];
    struct connection_guard *guard; /* the server's */
    struct visit visit;
    struct keyed *keyed; /* idempotency.c's: the request carries a key; NULL: it does not */
};

void exchange_open(
    struct exchange *x, struct exchange_private *p, const struct http_options *o, struct mg_connection *c);
void exchange_close(struct exchange *x);
bool exchange_refused(const struct exchange *x); /* a problem was set */

/* Writes the answer's body and returns its content type. May turn the answer into a 500. */
const char *exchange_render(struct exchange *x, struct buffer *out);
const char *exchange_title(int status); /* "Not Found" */

/* Renders the answer now, so that it is sent as it is at this moment. False: it could not be, or there is none. */
MUST_CHECK bool exchange_settle(struct exchange *x);
void exchange_take_back(struct exchange *x); /* as if nothing had been answered yet */

/* compress.c: text that is worth it, in gzip's format, for those who take that. The answer's headers say so. */
void compress_answer(struct exchange *x, const char *content_type, struct buffer *body);

/* router.c: the resource at x->path, with x->api, the parameters and the page set, or NULL. The path must be checked.
 */
const struct resource *router_find(struct exchange *x);
const char *router_allow(const struct resource *r); /* "GET, HEAD, POST" */
MUST_CHECK bool
router_query(struct exchange *x, const struct resource *r);             /* false: refused, for a parameter unknown */
MUST_CHECK verdict router_check(const char *path, struct failure *why); /* REJECT: broken encoding, encoded slash, … */

/* host.c. Each false: refused, with 400, 421 or 403. any: the one Host may be any, since what is asked for tells
 * nothing and changes nothing. */
MUST_CHECK bool host_allowed(struct exchange *x, bool any);
MUST_CHECK bool origin_allowed(struct exchange *x);

/* http.c: the head of the answer; body_n: −1: a stream; −2: one that ends with the connection. Returns whether the
 * connection is kept. */
enum { BODY_STREAM = -1, BODY_OPEN = -2 };
bool http_head(struct exchange *x, struct buffer *out, const char *type, long long body_n);

/* body.c */
enum { PAIRS_MAX = 200, JSON_DEPTH_MAX = 32 };
MUST_CHECK verdict form_read(const char *text, size_t n, json_t **out, struct failure *why);
MUST_CHECK long percent_decode(const char *text, size_t n, bool plus_is_space, char *out); /* its length; −1: broken */
/* Which of a form's fields is not the function's, but names its request as the header Idempotency-Key does. */
#define IDEMPOTENCY_FIELD "idempotency_key"
int exchange_header_count(struct exchange *x, const char *name);
bool body_framed(struct exchange *x); /* false: refused, since where the body ends is not certain */
bool body_read(struct exchange *x);   /* false: refused */
