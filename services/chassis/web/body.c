#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/web/http_private.h"
#include "chassis/web/sockets.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

long percent_decode(const char *text, size_t n, bool plus_is_space, char *out) {
    char *p = out;
    for (size_t i = 0; i < n; i++) {
        char byte = plus_is_space && text[i] == '+' ? ' ' : text[i];
        if (byte == '%') {
            const char hex[] = {i + 2 < n ? text[i + 1] : '\0', i + 2 < n ? text[i + 2] : '\0', '\0'};
            if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1])) return -1;
            byte = (char)strtoul(hex, NULL, 16);
            i += 2;
        }
        *p++ = byte;
    }
    return p - out;
}

/* --- Forms and queries: name=value&name=value */

/* One name or value: decoded into out, NUL-terminated. */
static verdict piece_read(const char *text, size_t n, const char *of, char *out, struct failure *why) {
    long length = percent_decode(text, n, true, out);
    int shown = n < 60 ? (int)n : 60;
    if (length < 0)
        return fail(
            why, REJECT, "%s: \"%.*s\" holds a %% that is not followed by two hexadecimal digits", of, shown, text);
    out[length] = '\0';
    if (memchr(out, '\0', (size_t)length))
        return fail(why, REJECT, "%s: \"%.*s\" holds a NUL character; leave it out", of, shown, text);
    return !utf8_valid(out, (size_t)length)
               ? fail(why, REJECT, "%s: \"%.*s\" is not UTF-8 once it is percent-decoded", of, shown, text)
               : OK;
}

static verdict pair_read(const char *text, size_t n, char *name, json_t *pairs, struct failure *why) {
    const char *equals = memchr(text, '=', n);
    size_t name_n = equals ? (size_t)(equals - text) : n;
    char of[80];
    if (piece_read(text, name_n, "a field's name", name, why) != OK) return REJECT;
    if (json_object_get(pairs, name))
        return fail(why, REJECT, "%.60s: is there more than once; give it one value", name);
    char *value = name + strlen(name) + 1;
    snprintf(of, sizeof of, "%.60s", name);
    if (piece_read(equals ? equals + 1 : "", equals ? n - name_n - 1 : 0, of, value, why) != OK) return REJECT;
    return json_object_set_new(pairs, name, json_string(value)) ? fail(why, RETRY, "out of memory") : OK;
}

verdict form_read(const char *text, size_t n, json_t **out, struct failure *why) {
    json_auto_t *pairs = json_object();
    text_auto scratch = malloc(n + 2);
    verdict v = pairs && scratch ? OK : fail(why, RETRY, "out of memory");
    for (size_t i = 0, length; v == OK && i < n; i += length + 1) {
        const char *end = memchr(text + i, '&', n - i);
        length = end ? (size_t)(end - (text + i)) : n - i;
        if (length && json_object_size(pairs) == PAIRS_MAX)
            v = fail(why, REJECT, "there are more than %d fields", PAIRS_MAX);
        else if (length)
            v = pair_read(text + i, length, scratch, pairs, why);
    }
    if (v == OK) *out = json_incref(pairs);
    return v;
}

verdict exchange_form(struct exchange *x, json_t **out, struct failure *why) {
    verdict v = form_read(x->body, x->body_n, out, why);
    if (v == OK) json_object_del(*out, IDEMPOTENCY_FIELD);
    return v;
}

/* --- JSON */

#define WHOLE_MAX 9007199254740992.0 /* 2^53: up to there each integer is a double */

/* jansson's own limit of 2,048 levels is more than the stack of a web thread holds. */
static int json_depth(const char *text, size_t n) {
    int depth = 0, deepest = 0;
    for (size_t i = 0; i < n; i++) {
        switch (text[i]) {
        case '"':
            for (i++; i < n && text[i] != '"'; i++) i += text[i] == '\\';
            break;
        case '{':
        case '[': deepest = ++depth > deepest ? depth : deepest; break;
        case '}':
        case ']': depth--; break;
        default: break;
        }
    }
    return deepest;
}

/* 4.0 is the integer 4, as JSON's readers and JSON Schema have it. Takes the reference. NULL: out of memory. */
static json_t *integers_settle(json_t *value) {
    double real = json_real_value(value);
    if (json_is_real(value) && real == floor(real) && fabs(real) <= WHOLE_MAX) {
        json_decref(value);
        return json_integer((json_int_t)real);
    }
    bool settled = true;
    json_members(m, value) settled &= !json_object_set_new(value, m.name, integers_settle(json_incref(m.value)));
    json_each(i, item, value) settled &= !json_array_set_new(value, i, integers_settle(json_incref(item)));
    if (settled) return value;
    json_decref(value);
    return NULL;
}

verdict exchange_json(struct exchange *x, json_t **out, struct failure *why) {
    json_error_t error;
    if (json_depth(x->body, x->body_n) > JSON_DEPTH_MAX)
        return fail(why, REJECT, "the JSON is nested deeper than %d levels", JSON_DEPTH_MAX);
    json_t *read = json_loadb(x->body, x->body_n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    *out = read ? integers_settle(read) : NULL;
    if (*out) return OK;
    if (read || json_error_code(&error) == json_error_out_of_memory ||
        !*error.text) /* jansson does not always say so */
        return fail(why, RETRY, "out of memory");
    if (json_error_code(&error) == json_error_duplicate_key)
        return fail(why, REJECT, "the JSON names a member twice: %s (line %d)", error.text, error.line);
    return fail(
        why, REJECT, "the body is not valid JSON: %s (line %d, column %d)", error.text, error.line, error.column);
}

bool exchange_type_is(struct exchange *x, const char *media_type) {
    const char *given = exchange_header(x, "Content-Type");
    size_t n = strlen(media_type);
    if (!given || strncasecmp(given, media_type, n) != 0) return false;
    return !given[n + strspn(given + n, " \t")] || given[n + strspn(given + n, " \t")] == ';';
}

/* --- Reading the body */

enum { LARGE = 4096 };

/* civetweb (1.15, 1.16) ends each word of the head, where it lies, with a NUL in place of what followed it, and so
 * shows what it took for a line's end: CR LF has become two of them. It also takes a bare LF for one, ignores a blank
 * before a colon, and reads no further once a line begins with a blank or a colon. Another server on the way might see
 * other headers.
 */
static bool head_is_plain(const struct mg_request_info *info) {
    const char *end = info->http_version + strlen(info->http_version);
    for (const struct mg_header *h = info->http_headers; h < info->http_headers + info->num_headers; h++) {
        const char *name_end = h->name + strlen(h->name);
        if (h->name != end + 2 || (!name_end[1] && h->value != name_end + 1))
            return false; /* a blank before the colon */
        end = h->value + strlen(h->value);
    }
    return !end[1] && end[2] == (info->num_headers ? '\r' : '\0') && !end[3];
}

/* Whatever is refused here, no further request is read from the connection. */
bool body_framed(struct exchange *x) {
    const struct mg_request_info *info = x->private->info;
    const char *length = exchange_header(x, "Content-Length"), *coding = exchange_header(x, "Transfer-Encoding");
    if (info->num_headers >= MG_MAX_HEADERS) /* there may be more, which civetweb does not show as of 1.16 */
        exchange_problem(x, 431, "The request has %d header fields or more; send fewer.", MG_MAX_HEADERS);
    else if (!head_is_plain(info))
        exchange_problem(
            x, 400,
            "The request's head cannot be read for certain: write each header as one line, \"Name: value\", ended by "
            "CR LF.");
    else if (coding)
        exchange_problem(
            x, 411, "Transfer-Encoding \"%.60s\" is not accepted; send the body with a Content-Length.", coding);
    else if (exchange_header_count(x, "Content-Length") > 1)
        exchange_problem(x, 400, "Content-Length is there more than once; send it once.");
    else if (length && (!*length || strlen(length) > 15 || length[strspn(length, "0123456789")]))
        exchange_problem(x, 400, "Content-Length \"%.60s\" is not a number of bytes.", length);
    x->private->body_unread = exchange_refused(x) || (length && strcmp(length, "0") != 0);
    return !exchange_refused(x);
}

/* civetweb waits until a read is filled, and starts its timeout anew with each piece that arrives (as of 1.16). So
 * nothing is asked for that is not there already, or else a single byte: that bounds the whole. What came together with
 * the headers is in its buffer, where single bytes cost next to nothing. Of a large body the rest is not. */
static bool bytes_read(struct exchange *x, char *out, size_t n) {
    int fd = n > LARGE ? exchange_socket(x) : -1;
    int64_t deadline = steady_ms() + x->private->http->options.body_ms;
    for (size_t i = 0, piece; i < n; i += piece) {
        piece = fd < 0 ? 0 : socket_waiting(fd);
        if (piece > n - i) piece = n - i;
        if (!piece) piece = 1;
        if (mg_read(x->private->connection, out + i, piece) != (int)piece || steady_ms() > deadline) return false;
    }
    return true;
}

bool body_read(struct exchange *x) {
    struct exchange_private *p = x->private;
    const struct http_options *o = &p->http->options;
    const char *length = exchange_header(x, "Content-Length"), *expect = exchange_header(x, "Expect");
    size_t n = length ? (size_t)strtoull(length, NULL, 10) : 0;
    p->body = n > o->body_max ? NULL : malloc(n + 1);
    if (n && p->body && expect && !strcasecmp(expect, "100-continue"))
        mg_write(p->connection, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    if (!length && !strcmp(x->method, "POST"))
        exchange_problem(x, 411, "The request has no Content-Length; send one.");
    else if (n > o->body_max)
        exchange_problem(x, 413, "The body has %zu bytes; at most %zu are accepted.", n, o->body_max);
    else if (!p->body)
        exchange_problem(x, 503, "There is no memory for the request's body; try again.");
    else if (!bytes_read(x, p->body, n))
        exchange_problem(
            x, 408, "The body of %zu bytes did not arrive whole within %d ms; send it again.", n, o->body_ms);
    if (exchange_refused(x)) return false;
    p->body_unread = false;
    p->body[n] = '\0';
    x->body = p->body;
    x->body_n = n;
    return true;
}

json_t *exchange_sent(struct exchange *x, int read, const char *otherwise, const char *outcome) {
    static const char form_type[] = "application/x-www-form-urlencoded", json_type[] = "application/json";
    const char *given = exchange_header(x, "Content-Type");
    bool form = read & SENT_FORM && exchange_type_is(x, form_type);
    json_t *sent = NULL;
    struct failure why;
    if (form || (read & SENT_JSON && exchange_type_is(x, json_type))) {
        verdict v = form ? exchange_form(x, &sent, &why) : exchange_json(x, &sent, &why);
        if (v != OK) exchange_problem(x, v == REJECT ? 400 : 503, "%s: %s.", outcome, why.text);
        return v == OK ? sent : NULL;
    }
    if (otherwise)
        exchange_problem(x, 415, "%s", otherwise);
    else
        exchange_problem(
            x, 415, "The content type \"%.60s\" is not read here; send %s.", given ? given : "",
            read & SENT_JSON ? json_type : form_type);
    return NULL;
}

json_t *exchange_json_object(struct exchange *x) {
    json_t *body = exchange_sent(x, SENT_JSON, NULL, "Nothing was done");
    if (!body || json_is_object(body)) return body;
    exchange_problem(x, 400, "Nothing was done: the body must be a JSON object.");
    json_decref(body);
    return NULL;
}
