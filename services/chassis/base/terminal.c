#include "chassis/base/terminal.h"

#include "chassis/base/buffer.h"
#include "chassis/base/utf8.h"

#include <string.h>

const char *shown(const char *text) {
    enum { SHOWN_BYTES = 8000, AT_ONCE = 8 };
    static char ring[AT_ONCE][SHOWN_BYTES];
    static unsigned turn;
    buffer_auto safe = BUFFER(4 * SHOWN_BYTES + 1);
    buffer_shown(&safe, text ? text : "", text ? strnlen(text, SHOWN_BYTES) : 0);
    char *out = ring[turn++ % AT_ONCE];
    snprintf(out, SHOWN_BYTES, "%s", safe.data ? safe.data : "");
    return out;
}

/* In JSON such a character stands in a string only, where it may be escaped. One past U+FFFF by two escapes. */
static void put_escaped(const char *bytes, size_t length, FILE *out) {
    uint32_t c = utf8_code(bytes, length);
    if (c > 0xffff)
        fprintf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        fprintf(out, "\\u%04x", c);
}

int show_json_text(const char *text, size_t n, FILE *out) {
    for (size_t i = 0; i < n;) {
        bool plain;
        size_t length = utf8_next(text + i, n - i, &plain);
        if (plain || text[i] == '\n')
            fwrite(text + i, 1, length, out);
        else
            put_escaped(text + i, length, out);
        i += length;
    }
    return ferror(out) ? -1 : 0;
}

int show_json(const json_t *json, FILE *out, size_t flags) {
    text_auto text = json_dumps(json, flags);
    return text ? show_json_text(text, strlen(text), out) : -1;
}
