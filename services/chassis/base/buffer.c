#include "chassis/base/buffer.h"

#include "chassis/base/hash.h"
#include "chassis/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_free(struct buffer *b) {
    free(b->data);
    *b = BUFFER(b->ceiling);
}

void buffer_clear(struct buffer *b) {
    b->length = 0;
    if (b->data) b->data[0] = '\0';
}

/* Room for n more bytes and a NUL; on failure frees the buffer and marks it. */
static bool buffer_reserve(struct buffer *b, size_t n) {
    if (b->failed) return false;
    if (n > b->ceiling || b->length > b->ceiling - n) goto failed;
    size_t needed = b->length + n + 1;
    if (needed <= b->size) return true;
    size_t size = b->size ? b->size : 256;
    while (size < needed) size *= 2;
    char *data = realloc(b->data, size);
    if (!data) goto failed;
    b->data = data;
    b->size = size;
    return true;
failed:
    buffer_free(b);
    b->failed = true;
    return false;
}

void buffer_bytes(struct buffer *b, const void *bytes, size_t n) {
    if (!buffer_reserve(b, n)) return;
    if (n) memcpy(b->data + b->length, bytes, n);
    b->length += n;
    b->data[b->length] = '\0';
}

void buffer_text(struct buffer *b, const char *text) {
    buffer_bytes(b, text, strlen(text));
}

void buffer_format(struct buffer *b, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, arguments);
    if (n >= 0 && buffer_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->length, (size_t)n + 1, format, again);
        b->length += (size_t)n;
    }
    va_end(again);
    va_end(arguments);
}

void buffer_html(struct buffer *b, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) switch (text[i]) {
        case '&': buffer_text(b, "&amp;"); break;
        case '<': buffer_text(b, "&lt;"); break;
        case '>': buffer_text(b, "&gt;"); break;
        case '"': buffer_text(b, "&quot;"); break;
        case '\'': buffer_text(b, "&#39;"); break;
        default: buffer_bytes(b, text + i, 1);
        }
}

/* The next character, escaped where it is not plain; how many bytes it took. */
static size_t add_shown(struct buffer *b, const char *text, size_t n) {
    bool plain;
    size_t length = utf8_next(text, n, &plain);
    if (plain)
        buffer_bytes(b, text, length);
    else if (*text == '\n')
        buffer_text(b, "\\n");
    else
        for (size_t i = 0; i < length; i++) buffer_format(b, "\\x%02x", (unsigned char)text[i]);
    return length;
}

void buffer_shown(struct buffer *b, const char *text, size_t n) {
    for (size_t i = 0; i < n;) i += add_shown(b, text + i, n - i);
}

void buffer_logfmt(struct buffer *b, const char *text) {
    size_t n = strlen(text);
    bool bare = n;
    for (size_t i = 0; i < n && bare;) {
        bool plain;
        bare = text[i] != ' ' && text[i] != '"' && text[i] != '=' && text[i] != '\\';
        i += utf8_next(text + i, n - i, &plain);
        bare = bare && plain;
    }
    if (bare) {
        buffer_text(b, text);
        return;
    }
    buffer_bytes(b, "\"", 1);
    for (size_t i = 0; i < n;) {
        if (text[i] == '"' || text[i] == '\\') buffer_bytes(b, "\\", 1);
        i += add_shown(b, text + i, n - i);
    }
    buffer_bytes(b, "\"", 1);
}

void buffer_percent(struct buffer *b, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool unreserved =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (unreserved)
            buffer_bytes(b, text, 1);
        else
            buffer_format(b, "%%%02X", c);
    }
}

void buffer_csv(struct buffer *b, const char *text, size_t n) {
    bool formula = n && strchr("=+-@\t\r\n", text[0]) && text[0];
    bool quoted = formula;
    for (size_t i = 0; i < n && !quoted; i++) quoted = (text[i] && strchr(",\"\r\n", text[i])) || !text[i];
    if (quoted) buffer_bytes(b, "\"", 1);
    if (formula) buffer_bytes(b, "'", 1);
    for (size_t i = 0; i < n; i++) buffer_bytes(b, text[i] == '"' ? "\"\"" : text + i, text[i] == '"' ? 2 : 1);
    if (quoted) buffer_bytes(b, "\"", 1);
}

void buffer_hex(struct buffer *b, const void *bytes, size_t n) {
    if (!buffer_reserve(b, 2 * n)) return;
    hex_text(bytes, n, b->data + b->length);
    b->length += 2 * n;
}
