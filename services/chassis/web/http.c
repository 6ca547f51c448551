#include "chassis/web/http_private.h"

#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/web/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DRAIN_MS = 500, STOP_MS = 700 };
#define REQUEST_MAX "16384" /* bytes before the body */

/* --- Deciding what to answer */

static bool url_read(struct exchange *x) {
    struct failure why;
    const char *query = x->private->info->query_string ? x->private->info->query_string : "";
    if (strlen(x->path) + strlen(query) > URL_MAX)
        exchange_problem(x, 414, "The address has more than %d characters.", URL_MAX);
    else if (router_check(x->path, &why) != OK)
        exchange_problem(x, 400, "The address is not valid: %s.", why.text);
    else if (form_read(query, strlen(query), &x->private->query, &why) != OK)
        exchange_problem(x, why.kind == RETRY ? 503 : 400, "The query is not valid: %s.", why.text);
    return !exchange_refused(x);
}

/* The resource's function for the method, or NULL: refused. */
static void (*function_find(struct exchange *x, const struct resource *r))(struct exchange *) {
    if (!r) {
        exchange_problem(x, 404, "There is nothing at \"%.200s\".", x->path);
        return NULL;
    }
    void (*function)(struct exchange *) = !strcmp(x->method, "GET") || !strcmp(x->method, "HEAD") ? r->get
                                          : !strcmp(x->method, "POST")                            ? r->post
                                                                                                  : NULL;
    if (function) return function;
    exchange_set_header(x, "Allow", router_allow(r));
    exchange_problem(
        x, 405, "\"%.30s\" is not possible at \"%.200s\"; possible: %s.", x->method, x->path, router_allow(r));
    return NULL;
}

static void post_run(struct exchange *x, void (*function)(struct exchange *)) {
    const struct http_options *o = &x->private->http->options;
    if (o->begin_post && !o->begin_post(x)) return;
    function(x);
    if (o->end_post) o->end_post(x);
}

/* Only some long reads run at once, so that others find a thread, however many of these are asked for. */
static void get_run(struct exchange *x, const struct resource *r) {
    struct http *h = x->private->http;
    const char *asked = r->long_read && *r->long_read ? exchange_query(x, r->long_read) : r->long_read;
    bool is_long = asked && (*asked || !*r->long_read);
    int max = h->options.threads / 4 > 1 ? h->options.threads / 4 : 1;
    if (!is_long || atomic_fetch_add(&h->long_reads, 1) < max)
        r->get(x);
    else
        exchange_busy(x, "As many as may read so much at once (%d) are being answered; try again in a moment.", max);
    if (is_long) atomic_fetch_sub(&h->long_reads, 1);
}

static void request_run(struct exchange *x) {
    bool framed = body_framed(x), is_post = !strcmp(x->method, "POST");
    if (atomic_load(&x->private->http->stopping)) exchange_busy(x, "The service is stopping; try again in a moment.");
    if (!framed || exchange_refused(x) || !url_read(x)) return;
    const struct resource *r = router_find(x);
    bool any_host = r && r->any_host && !json_object_size(x->private->query);
    if (!host_allowed(x, any_host)) return;
    void (*function)(struct exchange *) = function_find(x, r);
    if (!function || (is_post && !origin_allowed(x)) || !router_query(x, r)) return;
    exchange_move(x, VISIT_READS);
    bool read = body_read(x);
    exchange_move(x, VISIT_WORKS);
    if (read && is_post)
        post_run(x, function);
    else if (read)
        get_run(x, r);
}

/* --- Answering */

static bool is_http_1_1(const struct exchange *x) {
    return x->private->info->http_version && !strcmp(x->private->info->http_version, "1.1");
}

static bool keeps_alive(struct exchange *x) {
    const char *wish = exchange_header(x, "Connection");
    if (x->private->body_unread || guard_crowd(x->private->http->guard) != CROWD_NONE) return false;
    return wish ? strcasestr(wish, "keep-alive") != NULL : is_http_1_1(x);
}

void http_head(struct exchange *x, struct buffer *out, const char *type, long long body_n) {
    bool chunked = body_n == BODY_STREAM && is_http_1_1(x), keep = keeps_alive(x) && (chunked || body_n >= 0);
    char date[40];
    json_t *headers = x->private->headers;
    time_t now = time(NULL);
    struct tm t;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &t));
    if (!keep) mg_disable_connection_keep_alive(x->private->connection);
    buffer_format(out, "HTTP/1.1 %d %s\r\n", x->status, exchange_title(x->status));
    if (body_n >= 0) buffer_format(out, "Content-Length: %lld\r\n", body_n);
    if (chunked) buffer_text(out, "Transfer-Encoding: chunked\r\n");
    buffer_format(
        out,
        "Date: %s\r\nContent-Type: %s\r\nConnection: %s\r\n"
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n",
        date, type, keep ? "keep-alive" : "close");
    if (exchange_refused(x) || !json_object_get(headers, "Cache-Control"))
        json_object_set_new(headers, "Cache-Control", json_string("no-store"));
    json_members(h, headers) buffer_format(out, "%s: %s\r\n", h.name, json_string_value(h.value));
    buffer_text(out, "\r\n");
    x->private->stream = body_n >= 0 ? STREAM_NONE : chunked ? STREAM_CHUNKED : STREAM_PLAIN;
}

static void answer_count(struct exchange *x) {
    char status[24];
    bool failed = x->status >= 500;
    metric_add(METRIC_http_requests, 1);
    if (x->status >= 400) metric_add(failed ? METRIC_http_server_errors : METRIC_http_client_errors, 1);
    log_line(
        failed ? LOG_ERROR : LOG_DEBUG, failed ? "request failed" : "request answered", "method", x->method, "path",
        x->path, "status", log_number(status, x->status), "detail",
        json_string_value(json_object_get(x->private->problem, "detail")), "trace", x->trace_parent, NULL);
}

/* Head and body go out in one write: with two, the second waits for the client's acknowledgement of the first. */
static void answer_send(struct exchange *x) {
    buffer_auto body = {0}, answer = BUFFER(16 << 20);
    if (x->private->stream != STREAM_NONE) {
        if (x->private->stream != STREAM_ENDED) mg_disable_connection_keep_alive(x->private->connection);
        answer_count(x);
        return;
    }
    const char *type = exchange_render(x, &body);
    compress_answer(x, type, &body);
    http_head(x, &answer, type, (long long)body.length);
    if (strcmp(x->method, "HEAD") != 0) buffer_bytes(&answer, body.data, body.length);
    answer_count(x);
    if (!answer.failed) mg_write(x->private->connection, answer.data, answer.length);
    if (!x->private->body_unread || guard_crowd(x->private->http->guard) == CROWD_HERE) return;
    int fd = exchange_socket(x);
    if (fd >= 0) socket_drain(fd, DRAIN_MS);
}

/* --- civetweb's callbacks */

/* What pages cost decides how often live ones are told to load again (sse.h). */
static int on_request(struct mg_connection *c) {
    struct exchange x;
    struct exchange_private p;
    int64_t began = clock_us(CLOCK_THREAD_CPUTIME_ID);
    exchange_open(&x, &p, c);
    exchange_move(&x, VISIT_WORKS);
    request_run(&x);
    exchange_move(&x, VISIT_ANSWERS);
    answer_send(&x);
    if (!x.api && x.page && x.status == 200) {
        metric_add(METRIC_http_pages, 1);
        metric_add(METRIC_http_pages_cpu_us, clock_us(CLOCK_THREAD_CPUTIME_ID) - began);
    }
    if (x.after) x.after(&x);
    exchange_move(&x, VISIT_HEAD);
    exchange_close(&x);
    return x.status;
}

/* A method that civetweb does not know is a method that nothing here allows. */
static bool is_unknown_method(const struct mg_request_info *info) {
    static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    const char *method = info->request_method;
    return method && *method && !method[strspn(method, token)] && info->request_uri && info->request_uri[0] == '/' &&
           info->http_version && !strncmp(info->http_version, "1.", 2);
}

static bool has_raw_characters(const struct mg_request_info *info) {
    const char *p = info->http_version ? NULL : info->request_uri; /* it stopped reading there */
    while (p && *p > ' ') p++;
    return p && (unsigned char)*p >= 0x80;
}

/* civetweb has one and the same error for a malformed, an overlong and a late head (as of 1.16). */
static void early_problem(struct exchange *x, const struct mg_request_info *info, int status) {
    if (status == 505)
        exchange_problem(x, 400, "The HTTP version \"%.20s\" is not known; send 1.1.", info->http_version);
    else if (info->request_uri && info->request_uri[0] != '/' && info->http_version)
        exchange_problem(x, 400, "\"%.200s\" is not an address of this server.", info->request_uri);
    else if (has_raw_characters(info))
        exchange_problem(x, 400, "The address holds characters that must be percent-encoded.");
    else if (info->num_headers > 0 && !body_framed(x))
        return;
    else if (!is_unknown_method(info) || function_find(x, router_find(x)))
        exchange_problem(
            x, 400,
            "The request could not be understood: it is not HTTP/1.1, has more than %s bytes before its body, or did "
            "not arrive whole in time.",
            REQUEST_MAX);
}

/* What civetweb itself refuses, before a request could be made of it. What was asked for is not certain: JSON. */
static int on_error(struct mg_connection *c, int status, const char *message) {
    (void)message;
    char path[URL_MAX] = "";
    struct exchange x;
    struct exchange_private p;
    struct failure why;
    exchange_open(&x, &p, c);
    const char *uri = p.info->request_uri ? p.info->request_uri : "";
    snprintf(path, sizeof path, "%.*s", (int)strcspn(uri, "?"), uri);
    x.path = router_check(path, &why) == OK ? path : "";
    x.api = !strncmp(x.path, "/api/", 5);
    early_problem(&x, p.info, status);
    x.api = true;
    p.body_unread = true;
    answer_send(&x);
    exchange_close(&x);
    return 0;
}

static int on_connect(const struct mg_connection *c, void **visit) {
    *visit = guard_enter(((struct http *)mg_get_user_context_data(c))->guard);
    return 0;
}

/* "*" and the addresses of other servers: civetweb closes on them without an answer (not mended as of 1.17), and this
 * is the last that it calls. */
static void on_close(const struct mg_connection *c) {
    const struct mg_request_info *info = mg_get_request_info(c);
    const char *uri = info->request_uri;
    bool silent = uri && !info->local_uri_raw && !info->local_uri && (!strcmp(uri, "*") || strstr(uri, "://"));
    if (silent) (void)on_error((struct mg_connection *)c, 400, "");
    guard_leave(((struct http *)mg_get_user_context_data(c))->guard, mg_get_user_connection_data(c));
}

static int on_log(const struct mg_connection *c, const char *message) {
    (void)c;
    log_line(LOG_WARNING, "web server", "detail", message, NULL);
    return 1;
}

/* --- Starting and stopping */

/* Where it does not start, errno is what its bind() left: civetweb itself, as of 1.16, says only that it failed. */
static bool server_start(struct http *h) {
    const struct http_options *o = &h->options;
    char ports[80], threads[24], body_ms[24];
    snprintf(ports, sizeof ports, "%s:%d", o->host, o->port);
    const char *options[] = {
        "listening_ports",
        ports,
        "num_threads",
        log_number(threads, o->threads),
        "request_timeout_ms",
        log_number(body_ms, o->body_ms),
        "enable_keep_alive",
        "yes",
        "keep_alive_timeout_ms",
        "500",
        "tcp_nodelay",
        "1",
        "max_request_size",
        REQUEST_MAX,
        "connection_queue",
        "512",
        "listen_backlog",
        "512",
        "decode_url",
        "no",
        "enable_directory_listing",
        "no",
        "enable_auth_domain_check",
        "no",
        "access_control_allow_origin",
        "",
        "access_control_allow_methods",
        "",
        "cgi_pattern",
        "",
        "ssi_pattern",
        "",
        NULL};
    struct mg_callbacks callbacks = {
        .init_connection = on_connect,
        .begin_request = on_request,
        .http_error = on_error,
        .connection_close = on_close,
        .log_message = on_log};
    struct mg_server_port port;
    errno = 0;
    h->server = mg_start(&callbacks, h, options);
    if (h->server && mg_get_server_ports(h->server, 1, &port) == 1) atomic_store(&h->port, port.port);
    return h->server;
}

static void http_free(struct http *h) {
    guard_stop(&h->guard);
    pthread_mutex_destroy(&h->keys_lock);
    free(h);
}

verdict http_start(struct http **out, const struct http_options *o, struct failure *why) {
    struct in_addr address;
    if (inet_pton(AF_INET, o->host, &address) != 1)
        return fail(why, REJECT, "host=\"%.100s\": is not an IPv4 address; 127.0.0.1 or 0.0.0.0 would be", o->host);
    struct http *h = calloc(1, sizeof *h);
    if (!h) return fail(why, RETRY, "out of memory");
    h->options = *o;
    pthread_mutex_init(&h->keys_lock, NULL);
    verdict v = guard_start(&h->guard, o->threads, &h->port, why);
    if (v == OK && !server_start(h))
        v = fail(
            why, RETRY, "could not listen on %s:%d: %s", o->host, o->port,
            errno == EADDRINUSE ? "the port is in use; stop what holds it, or set another port"
            : errno             ? strerror(errno)
                                : "the web server did not start");
    if (v == OK)
        *out = h;
    else
        http_free(h);
    return v;
}

int http_port(const struct http *h) {
    return h->port;
}

static void *server_stop(void *http) {
    mg_stop(((struct http *)http)->server);
    return NULL;
}

/* civetweb cuts answers short once it stops, so those in flight get their time before. Its threads look for the stop
 * every two seconds (as of 1.16), unless their connections wake them. */
void http_stop(struct http **http) {
    struct http *h = *http;
    pthread_t stopper;
    if (!h) return;
    *http = NULL;
    atomic_store(&h->stopping, true);
    for (int ms = 0; ms < STOP_MS && atomic_load(&h->in_flight); ms++) usleep(1000);
    if (pthread_create(&stopper, NULL, server_stop, h))
        server_stop(h);
    else
        for (; pthread_tryjoin_np(stopper, NULL); usleep(2000)) sockets_wake(h->port);
    http_free(h);
}
