/* http: the service's web server (civetweb), its router, and the exchange that a handler works with.
 *
 * One resource, one function: a page and its API come from the same data. The function sets `data`, which under
 * /api is sent as JSON, elsewhere rendered through the resource's page. Errors are RFC 9457 problem+json under /api,
 * and problem.html elsewhere.
 *
 * Handlers run on civetweb's worker threads, many at once. A body is read completely, and within its limits, before the
 * handler is called: Content-Length is required (411), Transfer-Encoding refused (411), more than body_max refused
 * (413), later than body_ms refused (408).
 *
 * Nothing in a query is passed over: a parameter that the resource does not take is refused, and so is one that is
 * there twice (400), before anything is done. That holds for every address and every name, those that trackers add
 * (utm_source) and probes among them: who asks for what there is not must not take the answer for what was asked.
 *
 * A page of another site must not be able to act here, nor to read what is here by a name that it had resolved to this
 * address. So the one Host of a request (none, or two: 400) must be the public URL's, an address that is listened on or
 * one of allowed_hosts (421), whatever X-Forwarded-Host says. A POST that a browser sends must come from a page of
 * that same site, or of the public URL (403, by Sec-Fetch-Site and Origin). */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"
#include "chassis/base/ids.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct exchange;

struct resource {
    const char *path;                 /* "/returns/{id}": where people find it. NULL: API only */
    const char *api_path;             /* NULL: "/api" before path. "" : none */
    const char *page;                 /* template. NULL: the function answers with exchange_send() itself */
    void (*get)(struct exchange *x);  /* NULL: 405. HEAD comes with it */
    void (*post)(struct exchange *x); /* NULL: 405 */
    const char *query, *post_query;   /* the query parameters that GET, or POST, takes: "limit before". NULL: none. Any
                                         other is refused (400). OpenAPI has the same ones (openapi.h) */
    const char *nav;                  /* what the navigation of the pages calls it. NULL: it is not in there */
    const char *long_read; /* its GET may read much, and so only some run at once: "" always, "as_of" when the query has
                              that. NULL: it reads little */
    bool any_host; /* asked without a query it answers whatever Host was named, as probes ask a machine's address */
};

struct exchange {
    /* Given */
    void *context; /* the options' */
    bool api;      /* asked for under /api: answer with JSON */
    const char *method, *path;
    const char *body; /* of a POST: NUL-terminated after body_n, may hold NULs before. Otherwise "" */
    size_t body_n;
    char trace_parent[TRACE_PARENT]; /* of the request if it was valid, else a new one */

    /* Answered */
    int status;                        /* 200 unless set */
    json_t *data;                      /* the function sets it. The server releases it */
    const char *page;                  /* the resource's. The function may name another */
    void (*after)(struct exchange *x); /* called once the answer is with the client's kernel. NULL: nothing */
    struct exchange_private *private;
};

/* Each returns NULL when absent. The text lives as long as the exchange. Query values are percent-decoded. A value that
 * holds a NUL or is no UTF-8 has already been answered with 400. */
const char *exchange_parameter(struct exchange *x, const char *name); /* {id} of the path */
const char *exchange_query(struct exchange *x, const char *name);
const char *exchange_header(struct exchange *x, const char *name);
/* Of a header that is a list, and may be there several times: all of it, joined by commas. False: it is not there. */
bool exchange_header_list(struct exchange *x, const char *name, struct buffer *out);

int exchange_port(struct exchange *x); /* which the request came to */

/* Answers with this instead of data. The bytes are copied. */
void exchange_send(struct exchange *x, int status, const char *content_type, const void *bytes, size_t n);
void exchange_set_header(struct exchange *x, const char *name, const char *value); /* "Location", "ETag", …, copied */
void exchange_redirect(struct exchange *x, const char *location);                  /* 303 */

/* Answers with bytes as they come: stream, write as long as it is true, end. False: the client went away, the server
 * stops, or only the head was asked for. An answer that is not ended is cut off, so that its reader can tell. */
MUST_CHECK bool exchange_stream(struct exchange *x, const char *content_type);
MUST_CHECK bool exchange_write(struct exchange *x, const void *bytes, size_t n);
void exchange_end(struct exchange *x);

/* Answers with a problem: its title follows from the status, and detail says what is wrong, quoting the value, and what
 * to do. */
void exchange_problem(struct exchange *x, int status, const char *detail_format, ...)
    __attribute__((format(printf, 3, 4)));
/* 503 and Retry-After: the same may be asked again in a second. */
void exchange_busy(struct exchange *x, const char *detail_format, ...) __attribute__((format(printf, 2, 3)));
/* One entry of the problem's "errors": [{"field","detail"}]. May come before exchange_problem(). Adds a member
 * otherwise. */
void exchange_problem_field(struct exchange *x, const char *field, const char *detail_format, ...)
    __attribute__((format(printf, 3, 4)));
void exchange_problem_member(struct exchange *x, const char *name, json_t *value); /* takes the reference */
const json_t *exchange_problem_fields(struct exchange *x); /* the array so far. NULL when empty */
/* Whether there are none. If there are, it is answered now, with that status and detail. */
bool exchange_fields_ok(struct exchange *x, int status, const char *detail);

/* application/x-www-form-urlencoded: an object of text, each checked: no NUL, UTF-8, no name twice. REJECT says which.
 * Without the field idempotency_key, which is not the function's (idempotency.h).
 * The caller's. The function has checked the content type itself with exchange_type_is(). */
MUST_CHECK verdict exchange_form(struct exchange *x, json_t **out, struct failure *why);
/* REJECT as well for a name twice in an object, and for a depth over 32. Text in it may hold a NUL
 * (json_string_length). */
MUST_CHECK verdict exchange_json(struct exchange *x, json_t **out, struct failure *why);
/* What was posted, as one of these. NULL: it is none, which has been answered: with 415 and the text `otherwise` (NULL:
 * one that names what is read), or with 400 or 503 and the reason after `outcome` ("Nothing was changed"). The
 * caller's. */
enum { SENT_JSON = 1, SENT_FORM = 2 };
MUST_CHECK json_t *exchange_sent(struct exchange *x, int read, const char *otherwise, const char *outcome);
/* The JSON object that was posted. NULL: it is none, which has been answered with 415 or 400. The caller's. */
MUST_CHECK json_t *exchange_json_object(struct exchange *x);
bool exchange_type_is(struct exchange *x, const char *media_type); /* parameters such as charset are ignored */

struct http;
enum { TABLES_MAX = 4 };
struct http_options {
    const char *host;
    int port;                  /* 0: any free one, see http_port() */
    const char *public_url;    /* "https://returns.example". NULL: none */
    const char *allowed_hosts; /* more names that it is asked by, "host:port,…". NULL: none */
    int threads;
    size_t body_max;
    int body_ms;
    const struct resource *tables[TABLES_MAX]; /* searched in order. Each ends with {0}. NULL: none */
    void *context;
    /* Adds what every page shows (the service's name, the other services) to a page's data. May be NULL. */
    void (*decorate)(struct exchange *x, json_t *data);
    /* Around the function of a POST, once its body is read. begin_post: false: it is answered already, and neither the
     * function nor end_post is called. end_post: before the answer is sent. Both may be NULL. */
    bool (*begin_post)(struct exchange *x);
    void (*end_post)(struct exchange *x);
};
/* RETRY: the port is in use. The text names the port. */
MUST_CHECK verdict http_start(struct http **out, const struct http_options *o, struct failure *why);
int http_port(const struct http *h);
void http_stop(struct http **h); /* waits for handlers in flight. Accepts NULL */
