#include "chassis/base/buffer.h"

#include "chassis/base/hash.h"
#include "chassis/base/utf8.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_free(struct buffer *b) {
    free(b->data);
    *b = BUFFER(b->ceiling);
}

void text_free(char **text) {
    free(*text);
}

void buffer_clear(struct buffer *b) {
    b->length = 0;
    if (b->data) b->data[0] = '\0';
}

/* Room for n more bytes and a NUL. On failure frees the buffer and marks it. */
static bool buffer_reserve(struct buffer *b, size_t n) {
    bool fits = n <= b->ceiling && b->length <= b->ceiling - n;
    size_t needed = b->length + n + 1, size = b->size ? b->size : 256;
    if (b->failed || (fits && needed <= b->size)) return !b->failed;
    while (fits && size < needed) size *= 2;
    char *data = fits ? realloc(b->data, size) : NULL;
    if (data) {
        b->data = data;
        b->size = size;
        return true;
    }
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
    static const char *const entities[UCHAR_MAX + 1] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;"};
    for (size_t i = 0; i < n; i++) {
        const char *entity = entities[(unsigned char)text[i]];
        buffer_bytes(b, entity ? entity : text + i, entity ? strlen(entity) : 1);
    }
}

/* The next character, escaped where it is not plain. How many bytes it took. */
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
    bool bare = n && strcspn(text, " \"=\\") == n;
    for (size_t i = 0; i < n && bare;) i += utf8_next(text + i, n - i, &bare);
    if (!bare) buffer_bytes(b, "\"", 1);
    for (size_t i = 0; i < n;) {
        if (text[i] == '"' || text[i] == '\\') buffer_bytes(b, "\\", 1);
        i += add_shown(b, text + i, n - i);
    }
    if (!bare) buffer_bytes(b, "\"", 1);
}

void buffer_percent(struct buffer *b, const char *text) {
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text; text++)
        if (strchr(unreserved, *text))
            buffer_bytes(b, text, 1);
        else
            buffer_format(b, "%%%02X", (unsigned char)*text);
}

void buffer_csv(struct buffer *b, const char *text, size_t n) {
    bool formula = n && memchr("=+-@\t\r\n", text[0], 7), quoted = formula;
    for (size_t i = 0; i < n && !quoted; i++) quoted = memchr(",\"\r\n", text[i], 5);
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
