/* buffer: text that grows up to a ceiling set at birth, and the escaping writers.
 *
 * A buffer that cannot grow (ceiling or memory) frees itself, sets `failed`, and ignores every later write, so that
 * only the last step has to look. `data` is always NUL-terminated when it is not NULL. Text reaches HTML, CSV or a log
 * only through the writer that escapes for it. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data; /* NULL while empty */
    size_t length, size, ceiling;
    bool failed;
};

#define BUFFER(bytes) ((struct buffer){.ceiling = (bytes)})

void buffer_free(struct buffer *b); /* accepts an empty one. Ready for use again afterwards */
/* Freed at the end of its block. */
#define buffer_auto __attribute__((cleanup(buffer_free))) struct buffer
/* A pointer to text of malloc(), such as json_dumps() gives: freed at the end of its block. */
void text_free(char **text);
#define text_auto __attribute__((cleanup(text_free))) char *

void buffer_clear(struct buffer *b); /* length 0, memory kept */
void buffer_bytes(struct buffer *b, const void *bytes, size_t n);
void buffer_text(struct buffer *b, const char *text);
void buffer_format(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_html(struct buffer *b, const char *text, size_t n); /* & < > " ' as entities: for text and attributes */
/* For a terminal: what is not plain (utf8_next()) as \\xNN, byte by byte. Nothing in it can end its line. */
void buffer_shown(struct buffer *b, const char *text, size_t n);
void buffer_logfmt(struct buffer *b, const char *text);  /* a logfmt value, quoted where it must be */
void buffer_percent(struct buffer *b, const char *text); /* RFC 3986: all but unreserved characters encoded */
/* A CSV cell of text, quoted where it must be. What a spreadsheet would run as a formula gets an apostrophe before it.
 */
void buffer_csv(struct buffer *b, const char *text, size_t n);
void buffer_hex(struct buffer *b, const void *bytes, size_t n); /* lower case */
