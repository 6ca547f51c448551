#include "chassis/web/http_private.h"

#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/web/template.h"

#include <civetweb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PAGE_BYTES_MAX = 8 << 20, DETAIL_TEXT = 1000 };

void exchange_open(
    struct exchange *x, struct exchange_private *p, const struct http_options *o, struct mg_connection *c) {
    *p = (struct exchange_private){
        .options = o,
        .connection = c,
        .parameters = json_object(),
        .headers = json_object(),
        .sent = BUFFER(PAGE_BYTES_MAX)};
    const struct mg_request_info *info = mg_get_request_info(c);
    *x = (struct exchange){.context = o->context, .body = "", .status = 200, .private = p};
    x->method = info->request_method ? info->request_method : "";
    x->path = info->local_uri_raw ? info->local_uri_raw : "";
    x->api = !strncmp(x->path, "/api", 4) && (!x->path[4] || x->path[4] == '/');
    trace_child(exchange_header(x, "traceparent"), p->trace_parent);
    x->trace_parent = p->trace_parent;
}

/* Of the answer, all but its headers and what exchange_send() was given. */
static void answer_clear(struct exchange *x) {
    struct exchange_private *p = x->private;
    json_decref(x->data);
    json_decref(p->problem);
    json_decref(p->problem_fields);
    json_decref(p->problem_members);
    x->data = p->problem = p->problem_fields = p->problem_members = NULL;
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
    answer_clear(x);
    json_decref(p->parameters);
    json_decref(p->query);
    json_decref(p->headers);
    buffer_free(&p->sent);
    free(p->body);
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

bool exchange_header_list(struct exchange *x, const char *name, struct buffer *out) {
    const struct mg_request_info *info = mg_get_request_info(x->private->connection);
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
    return mg_get_request_info(x->private->connection)->server_port;
}

/* The weight that an Accept header gives to application/json or problem+json, or to text/html. */
static double accept_weight(const char *accept, bool json) {
    double best = 0;
    for (const char *p = accept; *p; p += *p == ',') {
        p += strspn(p, " \t");
        size_t n = strcspn(p, ",");
        size_t type_n = strcspn(p, ",; \t");
        bool fits = json ? (type_n == 16 && !strncasecmp(p, "application/json", 16)) ||
                               (type_n == 24 && !strncasecmp(p, "application/problem+json", 24))
                         : type_n == 9 && !strncasecmp(p, "text/html", 9);
        bool any = type_n == 3 && !strncmp(p, "*/*", 3);
        const char *q = memmem(p, n, "q=", 2);
        double weight = q ? strtod(q + 2, NULL) : 1;
        if (fits && weight > best) best = weight;
        if (any && weight / 1000 > best) best = weight / 1000; /* anything that is named counts more */
        p += n;
    }
    return best;
}

static bool wants_json(struct exchange *x) {
    const char *accept = exchange_header(x, "Accept");
    return x->api || (accept && accept_weight(accept, true) > accept_weight(accept, false));
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
    struct buffer clean = BUFFER(8192);
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p >= ' ' && *p != 0x7f) buffer_bytes(&clean, p, 1);
    if (clean.length) json_object_set_new(x->private->headers, name, utf8_json(clean.data));
    buffer_free(&clean);
}

void exchange_redirect(struct exchange *x, const char *location) {
    exchange_set_header(x, "Location", location);
    exchange_send(x, 303, "text/plain; charset=utf-8", "", 0);
}

__attribute__((format(printf, 1, 0))) static json_t *detail_json(const char *format, va_list arguments) {
    char text[DETAIL_TEXT];
    vsnprintf(text, sizeof text, format, arguments);
    return utf8_json(text);
}

void exchange_problem(struct exchange *x, int status, const char *detail_format, ...) {
    struct exchange_private *p = x->private;
    char trace[TRACE_ID];
    va_list arguments;
    va_start(arguments, detail_format);
    json_t *detail = detail_json(detail_format, arguments);
    va_end(arguments);
    x->status = status;
    json_decref(p->problem);
    p->problem = json_pack(
        "{s:s, s:s, s:i, s:o*, s:s}", "type", "about:blank", "title", exchange_title(status), "status", status,
        "detail", detail, "trace_id", trace_id(x->trace_parent, trace));
}

void exchange_problem_field(struct exchange *x, const char *field, const char *detail_format, ...) {
    struct exchange_private *p = x->private;
    va_list arguments;
    va_start(arguments, detail_format);
    json_t *detail = detail_json(detail_format, arguments);
    va_end(arguments);
    if (!p->problem_fields) p->problem_fields = json_array();
    json_array_append_new(p->problem_fields, json_pack("{s:o*, s:o*}", "field", utf8_json(field), "detail", detail));
}

void exchange_problem_member(struct exchange *x, const char *name, json_t *value) {
    struct exchange_private *p = x->private;
    if (!p->problem_members) p->problem_members = json_object();
    json_object_set_new(p->problem_members, name, value);
}

const json_t *exchange_problem_fields(struct exchange *x) {
    return x->private->problem_fields;
}

bool exchange_refused(const struct exchange *x) {
    return x->private->problem;
}

const char *exchange_title(int status) {
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {303, "See Other"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"}};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (titles[i].status == status) return titles[i].title;
    return status < 400 ? "OK" : status < 500 ? "Bad Request" : "Internal Server Error";
}

/* --- Rendering */

static void render_json(const json_t *value, struct buffer *out) {
    char *text = json_dumps(value, JSON_COMPACT);
    if (text)
        buffer_text(out, text);
    else
        out->failed = true;
    free(text);
}

/* decorate() gets a copy, so that what pages show besides never reaches the API. */
static bool render_page(struct exchange *x, const char *page, const json_t *data, struct buffer *out) {
    struct failure why = {.text = "out of memory or larger than a page may be"};
    json_t *copy = json_copy((json_t *)data);
    if (x->private->options->decorate && copy) x->private->options->decorate(x, copy);
    verdict v = copy ? template_render(page, copy, out, &why) : FATAL;
    json_decref(copy);
    if (v == OK && !out->failed) return true;
    log_line(LOG_ERROR, "could not render a page", "page", page, "reason", why.text, "trace", x->trace_parent, NULL);
    *out = BUFFER(PAGE_BYTES_MAX);
    return false;
}

static const char *render_problem(struct exchange *x, struct buffer *out) {
    struct exchange_private *p = x->private;
    if (p->problem_fields) json_object_set(p->problem, "errors", p->problem_fields);
    if (p->problem_members) json_object_update_missing(p->problem, p->problem_members);
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
    *out = BUFFER(PAGE_BYTES_MAX);
    return render_problem(x, out);
}

bool exchange_settle(struct exchange *x) {
    struct exchange_private *p = x->private;
    if (!p->problem && *p->content_type) return !p->sent.failed;
    int status = x->status;
    struct buffer body;
    const char *type = exchange_render(x, &body);
    bool whole = !body.failed && x->status == status;
    if (p->problem) json_object_del(p->headers, "Cache-Control"); /* a problem is not to be kept */
    if (whole) {
        exchange_send(x, status, type, body.data ? body.data : "", body.length);
        whole = !p->sent.failed;
        answer_clear(x);
    }
    buffer_free(&body);
    return whole;
}
