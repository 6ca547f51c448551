#include "chassis/base/utf8.h"

#include "chassis/base/buffer.h"

#include <string.h>

/* How many bytes the character at p takes. 0 when none starts there. */
static size_t character_length(const unsigned char *p, size_t n) {
    if (p[0] < 0x80) return 1;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f); /* surrogates, past U+10FFFF */
    return overlong || beyond ? 0 : length;
}

/* Of eight bytes at once that each is ASCII. */
static bool is_ascii(const char *bytes) {
    uint64_t eight;
    memcpy(&eight, bytes, sizeof eight);
    return !(eight & 0x8080808080808080);
}

bool utf8_valid(const char *bytes, size_t n) {
    for (size_t i = 0, length; i < n; i += length)
        if (i + 8 <= n && is_ascii(bytes + i))
            length = 8;
        else if (!(length = character_length((const unsigned char *)bytes + i, n - i)))
            return false;
    return true;
}

uint32_t utf8_code(const char *bytes, size_t length) {
    const unsigned char *p = (const unsigned char *)bytes;
    uint32_t c = length == 1 ? p[0] : p[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) c = c << 6 | (p[i] & 0x3f);
    return c;
}

static bool is_control(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
}

size_t utf8_next(const char *bytes, size_t n, bool *plain) {
    size_t length = character_length((const unsigned char *)bytes, n);
    *plain = length && !is_control(utf8_code(bytes, length));
    return length ? length : 1;
}

size_t utf8_count(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += (*text & 0xc0) != 0x80;
    return n;
}

json_t *utf8_json(const char *text) {
    size_t n = strlen(text);
    buffer_auto clean = BUFFER(3 * n);
    for (size_t i = 0, length; i < n; i += length ? length : 1) {
        length = character_length((const unsigned char *)text + i, n - i);
        buffer_bytes(&clean, length ? text + i : "\xef\xbf\xbd", length ? length : 3);
    }
    return clean.failed ? NULL : json_string(clean.data ? clean.data : "");
}

json_t *hex_json(const void *bytes, size_t n) {
    buffer_auto hex = BUFFER(2 * n + 1);
    buffer_hex(&hex, bytes, n);
    return hex.failed ? NULL : json_string(hex.data ? hex.data : "");
}

json_t *bytes_json(const void *bytes, size_t n) {
    if (!bytes) return json_null();
    if (utf8_valid(bytes, n)) return json_stringn(bytes, n);
    return json_pack("{s:o}", "hex", hex_json(bytes, n));
}
