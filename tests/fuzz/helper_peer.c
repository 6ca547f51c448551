#include "helper_peer.h"

#include "fuzz.h"

#include <civetweb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BODY_MAX = 64 * 1024, HEAD_MAX = 16384 };

struct mg_connection {
    struct mg_request_info info;
    const char *body;
    size_t body_n;
    struct buffer answer;
    int answers;
};

static struct mg_callbacks callbacks;
static void *user_data;

/* --- civetweb's functions */

struct mg_context *mg_start(const struct mg_callbacks *given, void *data, const char **options) {
    (void)options;
    callbacks = *given;
    user_data = data;
    return (struct mg_context *)&callbacks;
}

void mg_stop(struct mg_context *c) {
    (void)c;
}

int mg_get_server_ports(const struct mg_context *c, int size, struct mg_server_port *ports) {
    (void)c, (void)size;
    ports->port = 1;
    return 1;
}

void *mg_get_user_context_data(const struct mg_connection *c) {
    (void)c;
    return user_data;
}

const struct mg_request_info *mg_get_request_info(const struct mg_connection *c) {
    return &c->info;
}

const char *mg_get_header(const struct mg_connection *c, const char *name) {
    for (int i = 0; i < c->info.num_headers; i++)
        if (!strcasecmp(c->info.http_headers[i].name, name)) return c->info.http_headers[i].value;
    return NULL;
}

int mg_read(struct mg_connection *c, void *out, size_t n) {
    if (n > c->body_n) n = c->body_n;
    memcpy(out, c->body, n);
    c->body += n;
    c->body_n -= n;
    return (int)n;
}

int mg_write(struct mg_connection *c, const void *bytes, size_t n) {
    bool interim = n > 12 && !memcmp(bytes, "HTTP/1.1 100", 12);
    if (!interim) {
        buffer_bytes(&c->answer, bytes, n);
        c->answers++;
    }
    return (int)n;
}

void mg_disable_connection_keep_alive(struct mg_connection *c) {
    (void)c;
}

/* --- A request */

/* The line at *p without its end, and *p after it; NULL: none. */
static char *line_next(char **p) {
    char *line = *p, *end = line ? strchr(line, '\n') : NULL;
    if (!end) return NULL;
    *end = '\0';
    *p = end + 1;
    return line;
}

/* What civetweb lets through: no control characters, a path that begins with a slash. */
static bool request_read(struct mg_connection *c, char *head) {
    struct mg_request_info *info = &c->info;
    char *method = line_next(&head), *uri = method ? strchr(method, ' ') : NULL;
    if (!uri || uri[1] != '/' || strchr(uri + 1, ' ')) return false;
    *uri++ = '\0';
    char *query = strchr(uri, '?');
    if (query) *query++ = '\0';
    info->request_method = method;
    info->request_uri = info->local_uri_raw = info->local_uri = uri;
    info->query_string = query;
    info->http_version = "1.1";
    for (char *name; (name = line_next(&head)) && *name;) {
        char *value = strchr(name, ':');
        if (!value || value == name || info->num_headers == MG_MAX_HEADERS) return false;
        *value++ = '\0';
        value += strspn(value, " \t");
        info->http_headers[info->num_headers++] = (struct mg_header){name, value};
    }
    return true;
}

static void answer_check(const struct mg_connection *c) {
    const char *text = c->answer.data;
    must(c->answers == 1 && text, "a request has one answer");
    int status = 0;
    must(sscanf(text, "HTTP/1.1 %d ", &status) == 1 && status >= 200, "the answer has a status");
    must(status < 500, "the server does not fail");
    const char *body = strstr(text, "\r\n\r\n"), *length = strstr(text, "\r\nContent-Length: ");
    must(body && length && length < body, "the head has an end, and a length");
    must(strstr(text, "\r\nContent-Security-Policy: default-src 'none'; ") < body, "every answer has the policy");
    for (const char *p = text; p < body; p++)
        must((unsigned char)*p >= ' ' || *p == '\t' || *p == '\r' || p[-1] == '\r', "no control character in the head");
    must(!strcasestr(text, "\nInjected:"), "no header comes from outside");
    size_t n = c->answer.length - (size_t)(body + 4 - text), said = strtoul(length + 18, NULL, 10);
    must(!strcmp(c->info.request_method, "HEAD") ? n == 0 : n == said, "the length is the body's");
    if (!n || !strstr(text, "json; charset")) return;
    json_t *json = json_loadb(body + 4, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    must(json, "JSON is JSON");
    json_decref(json);
}

void peer_ask(const struct resource *table, void *context, const uint8_t *text, size_t n) {
    static struct http *server;
    struct failure why;
    const struct http_options o = {
        .host = "127.0.0.1",
        .body_max = BODY_MAX,
        .body_ms = 1000,
        .tables = &table,
        .tables_n = 1,
        .context = context};
    if (!server) must(http_start(&server, &o, &why) == OK, "the server starts");
    const char *end = memmem(text, n, "\n\n", 2);
    size_t head_n = end ? (size_t)(end + 2 - (const char *)text) : n;
    if (head_n > HEAD_MAX) return;
    struct mg_connection c = {.body = (const char *)text + head_n, .body_n = n - head_n, .answer = BUFFER(32 << 20)};
    char *head = strndup((const char *)text, head_n);
    if (!strpbrk(head, "\r\v\f\b\a\033") && request_read(&c, head)) {
        callbacks.begin_request(&c);
        answer_check(&c);
    }
    buffer_free(&c.answer);
    free(head);
}
