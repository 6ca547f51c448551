/* utf8: whether bytes are text, and making text of bytes that are not. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool utf8_valid(const char *bytes, size_t n); /* no overlong forms, surrogates or code points past U+10FFFF */

size_t utf8_count(const char *text); /* the characters of valid UTF-8 */

/* How many bytes the next character takes, of n > 0. *plain: a terminal or a log may have it as it is. It may not where
 * it is no UTF-8, moves the cursor (C0, DEL, C1) or turns the order of what follows (bidirectional controls). */
size_t utf8_next(const char *bytes, size_t n, bool *plain);

uint32_t utf8_code(const char *bytes, size_t length); /* of a character of valid UTF-8 that has so many bytes */

/* A JSON string of the text, with U+FFFD for every byte that is no UTF-8: for quoting what somebody sent, also when the
 * quote was cut in the middle of a character. NULL only when there is no memory. */
json_t *utf8_json(const char *text);

/* Bytes as hex, and bytes as text where they are UTF-8, else {"hex":…}, null for none (NULL). The caller's. NULL only
 * when there is no memory. */
json_t *hex_json(const void *bytes, size_t n);
json_t *bytes_json(const void *bytes, size_t n);
