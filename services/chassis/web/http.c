#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/web/http_private.h"
#include "chassis/web/sockets.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum {
    URL_MAX = 4096,
    REQUEST_MAX = 16384,
    DRAIN_MS = 500,
    STOP_MS = 700,
    KEEP_ALIVE_MS = 500,
    QUEUE_MAX = 512,
    TABLES_MAX = 8
};

struct http {
    struct http_options options;
    const struct resource *tables[TABLES_MAX];
    struct mg_context *server;
    struct connection_guard *guard;
    int port;
    atomic_int in_flight, long_reads;
    atomic_bool stopping, stopped;
};

/* --- Deciding what to answer */

static bool url_read(struct exchange *x) {
    struct failure why;
    const char *query = mg_get_request_info(x->private->connection)->query_string;
    size_t n = query ? strlen(query) : 0;
    if (strlen(x->path) + n > URL_MAX)
        exchange_problem(x, 414, "The address has more than %d characters.", URL_MAX);
    else if (router_check(x->path, &why) != OK)
        exchange_problem(x, why.kind == RETRY ? 503 : 400, "The address is not valid: %s.", why.text);
    else if (form_read(query ? query : "", n, &x->private->query, &why) != OK)
        exchange_problem(x, why.kind == RETRY ? 503 : 400, "The query is not valid: %s.", why.text);
    return !exchange_refused(x);
}

/* The resource's function for the method, or NULL: refused. */
static void (*function_find(struct exchange *x, const struct resource *r))(struct exchange *) {
    if (!r) {
        exchange_problem(x, 404, "There is nothing at \"%.200s\".", x->path);
        return NULL;
    }
    bool is_get = !strcmp(x->method, "GET") || !strcmp(x->method, "HEAD");
    void (*function)(struct exchange *) = is_get ? r->get : !strcmp(x->method, "POST") ? r->post : NULL;
    if (!function) {
        exchange_set_header(x, "Allow", router_allow(r));
        exchange_problem(
            x, 405, "\"%.30s\" is not possible at \"%.200s\"; possible: %s.", x->method, x->path, router_allow(r));
    }
    return function;
}

static bool is_long_read(struct exchange *x, const struct resource *r) {
    const char *asked = r->long_read && *r->long_read ? exchange_query(x, r->long_read) : r->long_read;
    return r->long_read && asked && (!*r->long_read || *asked);
}

/* The others find a thread, however many of these are asked for. */
static void long_read_run(struct exchange *x, struct http *h, void (*function)(struct exchange *)) {
    int most = h->options.threads / 4 > 1 ? h->options.threads / 4 : 1;
    if (atomic_fetch_add(&h->long_reads, 1) < most) {
        function(x);
    } else {
        exchange_set_header(x, "Retry-After", "1");
        exchange_problem(
            x, 503, "As many as may read so much at once (%d) are being answered; try again in a moment.", most);
    }
    atomic_fetch_sub(&h->long_reads, 1);
}

static void
function_run(struct exchange *x, struct http *h, const struct resource *r, void (*function)(struct exchange *)) {
    const struct http_options *o = x->private->options;
    if (!strcmp(x->method, "POST")) {
        if (o->begin_post && !o->begin_post(x)) return;
        function(x);
        if (o->end_post) o->end_post(x);
    } else if (is_long_read(x, r)) {
        long_read_run(x, h, function);
    } else {
        function(x);
    }
}

static void request_run(struct exchange *x, struct http *h) {
    bool framed = body_framed(x);
    if (atomic_load(&h->stopping)) {
        exchange_set_header(x, "Retry-After", "1");
        exchange_problem(x, 503, "The service is stopping; try again in a moment.");
    }
    if (!framed || exchange_refused(x) || !url_read(x)) return;
    const struct resource *r = router_find(x);
    bool any_host = r && r->any_host && !json_object_size(x->private->query);
    if (!host_allowed(x, any_host)) return;
    void (*function)(struct exchange *) = function_find(x, r);
    if (!function || (!strcmp(x->method, "POST") && !origin_allowed(x)) || !router_query(x, r)) return;
    guard_move(h->guard, &x->private->visit, VISIT_READS);
    bool read = body_read(x);
    guard_move(h->guard, &x->private->visit, VISIT_WORKS);
    if (read) function_run(x, h, r, function);
}

/* --- Answering */

static bool keeps_alive(struct exchange *x) {
    const char *wish = exchange_header(x, "Connection");
    const char *version = mg_get_request_info(x->private->connection)->http_version;
    if (x->private->body_unread || guard_is_nearly_crowded(x->private->guard)) return false;
    return wish ? strcasestr(wish, "keep-alive") != NULL : version && !strcmp(version, "1.1");
}

static void header_write(struct buffer *out, const char *name, const char *value) {
    buffer_format(out, "%s: %s\r\n", name, value);
}

static void head_write(struct exchange *x, struct buffer *out, const char *type, bool keep) {
    char date[40];
    time_t now = time(NULL);
    struct tm t;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &t));
    header_write(out, "Date", date);
    header_write(out, "Content-Type", type);
    header_write(out, "Connection", keep ? "keep-alive" : "close");
    header_write(
        out, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'");
    header_write(out, "X-Content-Type-Options", "nosniff");
    header_write(out, "Referrer-Policy", "same-origin");
    json_t *headers = x->private->headers, *value;
    if (exchange_refused(x) || !json_object_get(headers, "Cache-Control"))
        json_object_set_new(headers, "Cache-Control", json_string("no-store"));
    const char *name;
    json_object_foreach(headers, name, value) header_write(out, name, json_string_value(value));
    buffer_text(out, "\r\n");
}

bool http_head(struct exchange *x, struct buffer *out, const char *type, long long body_n) {
    const char *version = mg_get_request_info(x->private->connection)->http_version;
    bool chunked = body_n == BODY_STREAM && version && !strcmp(version, "1.1");
    bool keep = keeps_alive(x) && (chunked || body_n >= 0);
    if (!keep) mg_disable_connection_keep_alive(x->private->connection);
    buffer_format(out, "HTTP/1.1 %d %s\r\n", x->status, exchange_title(x->status));
    if (body_n >= 0) buffer_format(out, "Content-Length: %lld\r\n", body_n);
    if (chunked) header_write(out, "Transfer-Encoding", "chunked");
    head_write(x, out, type, keep);
    x->private->stream = body_n >= 0 ? STREAM_NONE : chunked ? STREAM_CHUNKED : STREAM_PLAIN;
    return keep;
}

static void answer_count(struct exchange *x) {
    char status[24];
    metric_add(METRIC_http_requests, 1);
    if (x->status >= 400 && x->status < 500) metric_add(METRIC_http_client_errors, 1);
    if (x->status >= 500) metric_add(METRIC_http_server_errors, 1);
    log_line(
        x->status >= 500 ? LOG_ERROR : LOG_DEBUG, x->status >= 500 ? "request failed" : "request answered", "method",
        x->method, "path", x->path, "status", log_number(status, x->status), "detail",
        json_string_value(json_object_get(x->private->problem, "detail")), "trace", x->trace_parent, NULL);
}

/* Head and body go out in one write: with two, the second waits for the client's acknowledgement of the first. */
static void answer_send(struct exchange *x) {
    struct buffer body, answer = BUFFER(16 << 20);
    struct mg_connection *c = x->private->connection;
    if (x->private->stream != STREAM_NONE) {
        if (x->private->stream != STREAM_ENDED) mg_disable_connection_keep_alive(c);
        answer_count(x);
        return;
    }
    const char *type = exchange_render(x, &body);
    compress_answer(x, type, &body);
    (void)http_head(x, &answer, type, (long long)body.length);
    if (strcmp(x->method, "HEAD") != 0) buffer_bytes(&answer, body.data, body.length);
    answer_count(x);
    if (!answer.failed) mg_write(c, answer.data, answer.length);
    buffer_free(&body);
    buffer_free(&answer);
    if (x->private->body_unread && !guard_is_crowded(x->private->guard)) {
        const struct mg_request_info *info = mg_get_request_info(c);
        sockets_drain(info->server_port, info->remote_addr, info->remote_port, DRAIN_MS);
    }
}

static int64_t cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

/* What pages cost decides how often live ones are told to load again (sse.h). */
static void page_count(const struct exchange *x, int64_t us) {
    if (x->api || !x->page || x->status != 200) return;
    metric_add(METRIC_http_pages, 1);
    metric_add(METRIC_http_pages_cpu_us, us);
}

/* --- civetweb's callbacks */

static int on_request(struct mg_connection *c) {
    struct http *h = mg_get_user_context_data(c);
    struct exchange x;
    struct exchange_private p;
    int64_t began = cpu_us();
    atomic_fetch_add(&h->in_flight, 1);
    exchange_open(&x, &p, &h->options, c);
    const struct mg_request_info *info = mg_get_request_info(c);
    p.stopping = &h->stopping;
    p.guard = h->guard;
    guard_begin(h->guard, &p.visit, info->remote_addr, info->remote_port);
    request_run(&x, h);
    guard_move(h->guard, &p.visit, VISIT_ANSWERS);
    answer_send(&x);
    page_count(&x, cpu_us() - began);
    if (x.after) x.after(&x);
    guard_end(h->guard, &p.visit);
    exchange_close(&x);
    atomic_fetch_sub(&h->in_flight, 1);
    return x.status;
}

static bool is_token(const char *text) {
    return *text &&
           !text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")];
}

/* A method that civetweb does not know is a method that nothing here allows. */
static bool is_unknown_method(const struct mg_request_info *info) {
    return info->request_method && info->request_uri && info->http_version && is_token(info->request_method) &&
           info->request_uri[0] == '/' && !strncmp(info->http_version, "1.", 2);
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
            "The request could not be understood: it is not HTTP/1.1, has more than %d bytes before its body, or did "
            "not arrive whole in time.",
            REQUEST_MAX);
}

/* What civetweb itself refuses, before a request could be made of it. What was asked for is not certain: JSON. */
static int on_error(struct mg_connection *c, int status, const char *message) {
    (void)message;
    struct http *h = mg_get_user_context_data(c);
    const struct mg_request_info *info = mg_get_request_info(c);
    char path[URL_MAX] = "";
    struct exchange x;
    struct exchange_private p;
    struct failure why;
    atomic_fetch_add(&h->in_flight, 1);
    exchange_open(&x, &p, &h->options, c);
    p.guard = h->guard;
    if (info->request_uri) snprintf(path, sizeof path, "%.*s", (int)strcspn(info->request_uri, "?"), info->request_uri);
    x.path = router_check(path, &why) == OK ? path : "";
    x.api = !strncmp(x.path, "/api/", 5);
    early_problem(&x, info, status);
    x.api = true;
    p.body_unread = true;
    answer_send(&x);
    exchange_close(&x);
    atomic_fetch_sub(&h->in_flight, 1);
    return 0;
}

static int on_connect(const struct mg_connection *c, void **data) {
    struct http *h = mg_get_user_context_data(c);
    (void)data;
    guard_enter(h->guard);
    return 0;
}

/* "*" and the addresses of other servers: civetweb closes on them without an answer (not mended as of 1.17), and this
 * is the last that it calls. */
static void on_close(const struct mg_connection *c) {
    const struct mg_request_info *info = mg_get_request_info(c);
    const char *uri = info->request_uri;
    bool silent = uri && !info->local_uri_raw && !info->local_uri && (!strcmp(uri, "*") || strstr(uri, "://"));
    if (silent) (void)on_error((struct mg_connection *)c, 400, "");
    struct http *h = mg_get_user_context_data(c);
    guard_leave(h->guard);
}

static int on_log(const struct mg_connection *c, const char *message) {
    (void)c;
    log_line(LOG_WARNING, "web server", "detail", message, NULL);
    return 1;
}

/* --- Starting and stopping */

/* civetweb says only that it failed: so does mg_start2() of 1.16. */
static verdict start_failure(const struct http_options *o, struct failure *why) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1, error = 0;
    inet_pton(AF_INET, o->host, &address.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1)) error = errno;
    close(fd);
    if (error == EADDRINUSE)
        return fail(
            why, RETRY, "could not listen on %s:%d: the port is in use; stop what holds it, or set another port",
            o->host, o->port);
    return fail(
        why, RETRY, "could not listen on %s:%d: %s", o->host, o->port,
        error ? strerror(error) : "the web server did not start");
}

static bool server_start(struct http *h) {
    const struct http_options *o = &h->options;
    char ports[80], threads[16], body_ms[16], keep_alive_ms[16], request_max[16], queue[16];
    snprintf(ports, sizeof ports, "%s:%d", o->host, o->port);
    snprintf(threads, sizeof threads, "%d", o->threads);
    snprintf(body_ms, sizeof body_ms, "%d", o->body_ms);
    snprintf(keep_alive_ms, sizeof keep_alive_ms, "%d", KEEP_ALIVE_MS);
    snprintf(request_max, sizeof request_max, "%d", REQUEST_MAX);
    snprintf(queue, sizeof queue, "%d", QUEUE_MAX);
    const char *options[] = {
        "listening_ports",
        ports,
        "num_threads",
        threads,
        "request_timeout_ms",
        body_ms,
        "enable_keep_alive",
        "yes",
        "keep_alive_timeout_ms",
        keep_alive_ms,
        "tcp_nodelay",
        "1",
        "max_request_size",
        request_max,
        "connection_queue",
        queue,
        "listen_backlog",
        queue,
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
    h->server = mg_start(&callbacks, h, options);
    struct mg_server_port port;
    if (h->server && mg_get_server_ports(h->server, 1, &port) == 1) h->port = port.port;
    guard_watch(h->guard, h->port);
    return h->server;
}

verdict http_start(struct http **out, const struct http_options *o, struct failure *why) {
    struct in_addr address;
    if (inet_pton(AF_INET, o->host, &address) != 1)
        return fail(why, REJECT, "host=\"%.100s\": is not an IPv4 address; 127.0.0.1 or 0.0.0.0 would be", o->host);
    struct http *h = calloc(1, sizeof *h);
    if (!h) return fail(why, RETRY, "out of memory");
    h->options = *o;
    h->options.tables = h->tables;
    h->options.tables_n = o->tables_n < TABLES_MAX ? o->tables_n : TABLES_MAX;
    memcpy(h->tables, o->tables, h->options.tables_n * sizeof *h->tables);
    verdict v = guard_start(&h->guard, o->threads, why);
    if (v != OK) {
        free(h);
        return v;
    }
    if (!server_start(h)) {
        guard_stop(&h->guard);
        free(h);
        return start_failure(o, why);
    }
    *out = h;
    return OK;
}

int http_port(const struct http *h) {
    return h->port;
}

static void *server_stop(void *argument) {
    struct http *h = argument;
    mg_stop(h->server);
    atomic_store(&h->stopped, true);
    return NULL;
}

/* civetweb cuts answers short once it stops, so those in flight get their time before. Its threads look for the stop
 * every two seconds (as of 1.16), unless their connections wake them. */
void http_stop(struct http **h_) {
    struct http *h = *h_;
    pthread_t stopper;
    if (!h) return;
    atomic_store(&h->stopping, true);
    for (int ms = 0; ms < STOP_MS && atomic_load(&h->in_flight); ms++) usleep(1000);
    if (pthread_create(&stopper, NULL, server_stop, h)) {
        server_stop(h);
    } else {
        while (!atomic_load(&h->stopped)) {
            sockets_wake(h->port);
            usleep(2000);
        }
        pthread_join(stopper, NULL);
    }
    guard_stop(&h->guard);
    free(h);
    *h_ = NULL;
}
