#include "chassis/web/http_private.h"

#include "chassis/base/format.h"
#include "chassis/base/input.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/web/sockets.h"
#include "chassis/web/template.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PAGE_BYTES_MAX = 8 << 20, DETAIL_TEXT = 1000 };

void exchange_open(struct exchange *x, struct exchange_private *p, struct mg_connection *c) {
    const struct mg_request_info *info = mg_get_request_info(c);
    *p = (struct exchange_private){
        .http = mg_get_user_context_data(c),
        .connection = c,
        .info = info,
        .visit = mg_get_user_connection_data(c),
        .peer = socket_number(info->remote_addr, info->remote_port),
        .parameters = json_object(),
        .headers = json_object(),
        .members = json_object(),
        .errors = json_array(),
        .sent = BUFFER(PAGE_BYTES_MAX)};
    *x = (struct exchange){.context = p->http->options.context, .body = "", .status = 200, .private = p};
    x->method = info->request_method ? info->request_method : "";
    x->path = info->local_uri_raw ? info->local_uri_raw : "";
    x->api = !strncmp(x->path, "/api", 4) && (!x->path[4] || x->path[4] == '/');
    trace_child(exchange_header(x, "traceparent"), x->trace_parent);
    atomic_fetch_add(&p->http->in_flight, 1);
}

/* Of the answer, all but its headers and what exchange_send() was given. */
static void answer_clear(struct exchange *x) {
    struct exchange_private *p = x->private;
    json_decref(x->data);
    json_decref(p->problem);
    x->data = p->problem = NULL;
    json_object_clear(p->members);
    json_array_clear(p->errors);
}

void exchange_take_back(struct exchange *x) {
    answer_clear(x);
    x->status = 200;
    x->after = NULL;
    x->private->content_type[0] = '\0';
    buffer_clear(&x->private->sent);
    json_object_clear(x->private->headers);
}

void exchange_close(struct exchange *x) {
    struct exchange_private *p = x->private;
    json_t *const owned[] = {x->data, p->problem, p->members, p->errors, p->parameters, p->query, p->headers};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) json_decref(owned[i]);
    buffer_free(&p->sent);
    free(p->body);
    atomic_fetch_sub(&p->http->in_flight, 1);
}

void exchange_move(struct exchange *x, enum visit_state state) {
    guard_move(x->private->http->guard, x->private->visit, x->private->peer, state);
}

int exchange_socket(const struct exchange *x) {
    return sockets_find(x->private->http->port, x->private->peer);
}

/* --- What was asked */

const char *exchange_parameter(struct exchange *x, const char *name) {
    return json_string_value(json_object_get(x->private->parameters, name));
}

const char *exchange_query(struct exchange *x, const char *name) {
    return json_string_value(json_object_get(x->private->query, name));
}

const char *exchange_header(struct exchange *x, const char *name) {
    return mg_get_header(x->private->connection, name);
}

int exchange_header_count(struct exchange *x, const char *name) {
    const struct mg_request_info *info = x->private->info;
    int n = 0;
    for (int i = 0; i < info->num_headers; i++) n += !strcasecmp(info->http_headers[i].name, name);
    return n;
}

bool exchange_header_list(struct exchange *x, const char *name, struct buffer *out) {
    const struct mg_request_info *info = x->private->info;
    bool found = false;
    for (int i = 0; i < info->num_headers; i++) {
        if (strcasecmp(info->http_headers[i].name, name) != 0) continue;
        buffer_text(out, found ? ", " : "");
        buffer_text(out, info->http_headers[i].value);
        found = true;
    }
    return found;
}

int exchange_port(struct exchange *x) {
    return x->private->http->port;
}

double weight_in(const char *list, const char *name) {
    double most = -1;
    size_t n;
    for (const char *item; item_next(&list, ',', &item, &n);) {
        const char *p = item + strspn(item, " \t"), *q = memmem(item, n, "q=", 2);
        size_t name_n = strcspn(p, ",; \t");
        if (!q) q = memmem(item, n, "Q=", 2);
        double weight = q ? strtod(q + 2, NULL) : 1;
        if (name_n == strlen(name) && !strncasecmp(p, name, name_n)) most = fmax(most, weight);
    }
    return most;
}

/* What is named counts more than anything. */
static bool wants_json(struct exchange *x) {
    const char *accept = exchange_header(x, "Accept");
    double any = weight_in(accept, "*/*") / 1000;
    double json = fmax(weight_in(accept, "application/json"), weight_in(accept, "application/problem+json"));
    return x->api || fmax(json, any) > fmax(weight_in(accept, "text/html"), any);
}

/* --- What is answered */

void exchange_send(struct exchange *x, int status, const char *content_type, const void *bytes, size_t n) {
    x->status = status;
    snprintf(x->private->content_type, sizeof x->private->content_type, "%s", content_type);
    buffer_clear(&x->private->sent);
    buffer_bytes(&x->private->sent, bytes, n);
}

/* Control characters would end the header, so they do not get in. */
void exchange_set_header(struct exchange *x, const char *name, const char *value) {
    buffer_auto clean = BUFFER(8192);
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p >= ' ' && *p != 0x7f) buffer_bytes(&clean, p, 1);
    if (clean.length) json_object_set_new(x->private->headers, name, utf8_json(clean.data));
}

void exchange_redirect(struct exchange *x, const char *location) {
    exchange_set_header(x, "Location", location);
    exchange_send(x, 303, "text/plain; charset=utf-8", "", 0);
}

void exchange_problem(struct exchange *x, int status, const char *detail_format, ...) {
    struct exchange_private *p = x->private;
    char trace[TRACE_ID], detail[DETAIL_TEXT];
    format_arguments(detail, detail_format);
    x->status = status;
    json_decref(p->problem);
    p->problem = json_pack(
        "{s:s, s:s, s:i, s:o*, s:s}", "type", "about:blank", "title", exchange_title(status), "status", status,
        "detail", utf8_json(detail), "trace_id", trace_id(x->trace_parent, trace));
}

void exchange_busy(struct exchange *x, const char *detail_format, ...) {
    char detail[DETAIL_TEXT];
    format_arguments(detail, detail_format);
    exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, 503, "%s", detail);
}

void exchange_problem_field(struct exchange *x, const char *field, const char *detail_format, ...) {
    char detail[DETAIL_TEXT];
    format_arguments(detail, detail_format);
    json_array_append_new(
        x->private->errors, json_pack("{s:o*, s:o*}", "field", utf8_json(field), "detail", utf8_json(detail)));
}

void exchange_problem_member(struct exchange *x, const char *name, json_t *value) {
    json_object_set_new(x->private->members, name, value);
}

const json_t *exchange_problem_fields(struct exchange *x) {
    return json_array_size(x->private->errors) ? x->private->errors : NULL;
}

bool exchange_fields_ok(struct exchange *x, int status, const char *detail) {
    bool ok = !exchange_problem_fields(x);
    if (!ok) exchange_problem(x, status, "%s", detail);
    return ok;
}

bool exchange_refused(const struct exchange *x) {
    return x->private->problem;
}

const char *exchange_title(int status) {
    static const char *const titles[] = {
        [200] = "OK",
        [201] = "Created",
        [202] = "Accepted",
        [204] = "No Content",
        [303] = "See Other",
        [304] = "Not Modified",
        [400] = "Bad Request",
        [403] = "Forbidden",
        [404] = "Not Found",
        [405] = "Method Not Allowed",
        [406] = "Not Acceptable",
        [408] = "Request Timeout",
        [409] = "Conflict",
        [410] = "Gone",
        [411] = "Length Required",
        [412] = "Precondition Failed",
        [413] = "Content Too Large",
        [414] = "URI Too Long",
        [415] = "Unsupported Media Type",
        [417] = "Expectation Failed",
        [421] = "Misdirected Request",
        [422] = "Unprocessable Content",
        [428] = "Precondition Required",
        [429] = "Too Many Requests",
        [431] = "Request Header Fields Too Large",
        [500] = "Internal Server Error",
        [502] = "Bad Gateway",
        [503] = "Service Unavailable"};
    const char *title = (size_t)status < sizeof titles / sizeof *titles ? titles[status] : NULL;
    return title ? title : status < 400 ? "OK" : status < 500 ? "Bad Request" : "Internal Server Error";
}

/* --- Rendering */

static void render_json(const json_t *value, struct buffer *out) {
    text_auto text = json_dumps(value, JSON_COMPACT);
    buffer_text(out, text ? text : "");
    out->failed |= !text;
}

/* decorate() gets a copy, so that what pages show besides never reaches the API. */
static bool render_page(struct exchange *x, const char *page, const json_t *data, struct buffer *out) {
    struct failure why = {.text = "out of memory or larger than a page may be"};
    const struct http_options *o = &x->private->http->options;
    json_auto_t *copy = json_copy((json_t *)data);
    if (o->decorate && copy) o->decorate(x, copy);
    if (copy && template_render(page, copy, out, &why) == OK && !out->failed) return true;
    log_line(LOG_ERROR, "could not render a page", "page", page, "reason", why.text, "trace", x->trace_parent, NULL);
    buffer_free(out);
    return false;
}

static const char *render_problem(struct exchange *x, struct buffer *out) {
    struct exchange_private *p = x->private;
    if (json_array_size(p->errors)) json_object_set(p->problem, "errors", p->errors);
    json_object_update_missing(p->problem, p->members);
    if (!wants_json(x) && render_page(x, "problem.html", p->problem, out)) return "text/html; charset=utf-8";
    render_json(p->problem, out);
    return "application/problem+json; charset=utf-8";
}

const char *exchange_render(struct exchange *x, struct buffer *out) {
    struct exchange_private *p = x->private;
    const char *type = NULL;
    *out = BUFFER(PAGE_BYTES_MAX);
    if (!p->problem && *p->content_type) {
        out->failed = p->sent.failed;
        buffer_bytes(out, p->sent.data, p->sent.length);
        type = p->content_type;
    } else if (!p->problem && x->data && (x->api || !x->page)) {
        render_json(x->data, out);
        type = "application/json; charset=utf-8";
    } else if (!p->problem && x->data && render_page(x, x->page, x->data, out)) {
        type = "text/html; charset=utf-8";
    }
    if (type && !out->failed) return type;
    if (!p->problem)
        exchange_problem(x, 500, "The answer could not be put together; the log tells more under the trace id.");
    buffer_free(out);
    return render_problem(x, out);
}

bool exchange_settle(struct exchange *x) {
    struct exchange_private *p = x->private;
    buffer_auto body = {0};
    int status = x->status;
    if (!p->problem && *p->content_type) return !p->sent.failed;
    const char *type = exchange_render(x, &body);
    if (p->problem) json_object_del(p->headers, "Cache-Control"); /* a problem is not to be kept */
    if (body.failed || x->status != status) return false;
    exchange_send(x, status, type, body.data ? body.data : "", body.length);
    if (p->sent.failed) return false;
    answer_clear(x);
    return true;
}
