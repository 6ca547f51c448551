/* exchange: what is behind an exchange (http.h), for the files of the web server and idempotency.c only.
 *
 *     http.c takes a request ─▶ router.c finds its resource ─▶ body.c reads its body ─▶ the resource's function
 *            sends the answer ◀─ http_private.c writes problem, page or JSON ◀────────────────────────┘            */
#pragma once

#include "chassis/web/connection_guard.h"
#include "chassis/web/http.h"
#include "chassis/web/idempotency.h"

#include <civetweb.h>
#include <pthread.h>

enum { URL_MAX = 4096, PAIRS_MAX = 200, JSON_DEPTH_MAX = 32 };

/* idempotency.c's: a request with a key, while it is being answered. */
struct keyed {
    char key[IDEMPOTENCY_KEY_MAX + 1]; /* "": it has none */
    unsigned char fingerprint[IDEMPOTENCY_HASH];
    bool kept; /* its answer is */
    struct keyed *next;
};

struct http {
    struct http_options options;
    struct mg_context *server;
    struct connection_guard *guard;
    atomic_int port, in_flight, long_reads;
    atomic_bool stopping;
    pthread_mutex_t keys_lock;
    struct keyed *keys; /* of the requests that are being answered. Under keys_lock */
};

struct exchange_private {
    struct http *http;
    struct mg_connection *connection;
    const struct mg_request_info *info; /* civetweb's, of the connection */
    struct visit *visit;
    uint64_t peer;                      /* sockets.h */
    json_t *parameters, *query;         /* objects of text */
    json_t *headers;                    /* of the answer */
    struct buffer sent;                 /* by exchange_send() */
    char content_type[128];             /* of sent. "" when nothing was */
    json_t *problem, *members, *errors; /* problem: NULL: none. The others: what it has besides */
    char *body;
    enum { STREAM_NONE, STREAM_PLAIN, STREAM_CHUNKED, STREAM_ENDED } stream;
    bool body_unread; /* the client is still sending: answer, then close */
    struct keyed keyed;
};

/* The server and what civetweb has of the request. Counts as in flight until it is closed. */
void exchange_open(struct exchange *x, struct exchange_private *p, struct mg_connection *c);
void exchange_close(struct exchange *x);
void exchange_move(struct exchange *x, enum visit_state state); /* connection_guard.h */
int exchange_socket(const struct exchange *x);                  /* its descriptor, or −1: it is gone */
bool exchange_refused(const struct exchange *x);                /* a problem was set */
int exchange_header_count(struct exchange *x, const char *name);

/* The greatest weight that a header such as Accept, or NULL, gives to a name. −1: the name is not in it. */
double weight_in(const char *list, const char *name);

/* Writes the answer's body and returns its content type. May turn the answer into a 500. */
const char *exchange_render(struct exchange *x, struct buffer *out);
const char *exchange_title(int status); /* "Not Found" */

/* Renders the answer now, so that it is sent as it is at this moment. False: it could not be, or there is none. */
MUST_CHECK bool exchange_settle(struct exchange *x);
void exchange_take_back(struct exchange *x); /* as if nothing had been answered yet */

/* compress.c: text that is worth it, in gzip's format, for those who take that. The answer's headers say so. */
void compress_answer(struct exchange *x, const char *content_type, struct buffer *body);

/* router.c: the resource at x->path, with the parameters and the page set, or NULL. The path must be checked. */
const struct resource *router_find(struct exchange *x);
const char *router_allow(const struct resource *r);                         /* "GET, HEAD, POST" */
MUST_CHECK bool router_query(struct exchange *x, const struct resource *r); /* false: refused: an unknown parameter */
/* REJECT: broken encoding, a control character, … Of at most URL_MAX bytes. */
MUST_CHECK verdict router_check(const char *path, struct failure *why);

/* host.c. Each false: refused, with 400, 421 or 403. any: the one Host may be any, since what is asked for tells
 * nothing and changes nothing. */
MUST_CHECK bool host_allowed(struct exchange *x, bool any);
MUST_CHECK bool origin_allowed(struct exchange *x);

/* http.c: the head of the answer. body_n: −1: a stream. −2: one that ends with the connection. */
enum { BODY_STREAM = -1, BODY_OPEN = -2 };
void http_head(struct exchange *x, struct buffer *out, const char *type, long long body_n);

/* stream.c: answers with a head, and hands the connection over: its socket, for nonblocking writes, which lies outside
 * of the web server from now on and takes none of its threads. The caller's, who gives it back with
 * socket_give_back() (sockets.h). −1: only the head was asked for, the client went away, or no descriptor is left
 * (503). */
MUST_CHECK int exchange_hand_over(struct exchange *x, const char *content_type);

/* body.c */
MUST_CHECK verdict form_read(const char *text, size_t n, json_t **out, struct failure *why);
MUST_CHECK long percent_decode(const char *text, size_t n, bool plus_is_space, char *out); /* its length. −1: broken */
/* Which of a form's fields is not the function's, but names its request as the header Idempotency-Key does. */
#define IDEMPOTENCY_FIELD "idempotency_key"
bool body_framed(struct exchange *x); /* false: refused, since where the body ends is not certain */
bool body_read(struct exchange *x);   /* false: refused */
