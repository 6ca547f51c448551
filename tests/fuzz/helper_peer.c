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
    void *data; /* the server's, of the connection */
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

void *mg_get_user_connection_data(const struct mg_connection *c) {
    return c->data;
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

/* The head as civetweb leaves it: lines end in CR LF, and both have become NUL. */
static struct buffer head_lay(const char *text, size_t n) {
    struct buffer head = BUFFER(3 * HEAD_MAX);
    for (size_t i = 0; i < n; i++) buffer_bytes(&head, text[i] == '\n' ? "\0\0" : text + i, text[i] == '\n' ? 2 : 1);
    return head;
}

/* The line at *p, and *p after it. */
static char *line_next(char **p) {
    char *line = *p;
    *p += strlen(line) + 2;
    return line;
}

/* The fields of the head, as many as civetweb has room for; false: it would refuse one. */
static bool headers_read(struct mg_request_info *info, char *head, char *end) {
    while (head < end && info->num_headers < MG_MAX_HEADERS) {
        char *name = line_next(&head), *value = strchr(name, ':');
        if (!value || value == name || strcspn(name, " \t") < (size_t)(value - name)) return false;
        *value++ = '\0';
        value += strspn(value, " \t");
        info->http_headers[info->num_headers++] = (struct mg_header){name, value};
    }
    if (info->num_headers) *end = '\r';
    return true;
}

/* What civetweb lets through: no control characters, a path that begins with a slash. */
static bool request_read(struct mg_request_info *info, char *head, size_t n) {
    char *end = head + n - 2, *method = line_next(&head), *uri = strchr(method, ' ');
    char *version = uri ? strstr(uri, " HTTP/") : NULL;
    if (!version || uri[1] != '/' || strchr(uri + 1, ' ') != version) return false;
    *uri++ = *version = '\0';
    char *query = strchr(uri, '?');
    if (query) *query++ = '\0';
    info->request_method = method;
    info->request_uri = info->local_uri_raw = info->local_uri = uri;
    info->query_string = query;
    info->http_version = version + strlen(" HTTP/");
    return headers_read(info, head, end);
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
    const char *injected = strcasestr(text, "\nInjected:");
    must(!injected || injected > body, "no header comes from outside");
    size_t n = c->answer.length - (size_t)(body + 4 - text), said = strtoul(length + 18, NULL, 10);
    must(!strcmp(c->info.request_method, "HEAD") ? n == 0 : n == said, "the length is the body's");
    if (!n || !memmem(text, (size_t)(body - text), "json; charset", 13)) return;
    json_t *json = json_loadb(body + 4, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    must(json, "JSON is JSON");
    json_decref(json);
}

void peer_ask(const struct resource *table, void *context, const uint8_t *text, size_t n) {
    static struct http *server;
    struct failure why;
    const struct http_options o = {
        .host = "127.0.0.1",
        .allowed_hosts = "localhost,localhost:8000,x",
        .threads = 4,
        .body_max = BODY_MAX,
        .body_ms = 1000,
        .tables = {table},
        .context = context};
    if (!server) must(http_start(&server, &o, &why) == OK, "the server starts");
    const char *end = memmem(text, n, "\n\n", 2);
    size_t head_n = end ? (size_t)(end + 2 - (const char *)text) : n;
    if (head_n > HEAD_MAX) return;
    struct mg_connection c = {.body = (const char *)text + head_n, .body_n = n - head_n, .answer = BUFFER(32 << 20)};
    struct buffer head = head_lay((const char *)text, head_n);
    bool clean = end && !memchr(text, 0, head_n);
    for (size_t i = 0; clean && i < head_n; i++) clean = text[i] >= ' ' || text[i] == '\n';
    if (clean && request_read(&c.info, head.data, head.length)) {
        callbacks.init_connection(&c, &c.data);
        callbacks.begin_request(&c);
        answer_check(&c);
        callbacks.connection_close(&c);
    }
    buffer_free(&c.answer);
    buffer_free(&head);
}
