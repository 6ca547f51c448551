/* hash: FNV-1a, which tells texts and bytes apart that nobody chose on purpose, and bytes as hexadecimal digits. Any
 * thread. Values are stored (fingerprints of schemas, marks of records), so what they come to must never change. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HASH_START 14695981039346656037u

/* Goes on from hash, which is HASH_START at first. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n);
uint64_t hash_text(uint64_t hash, const char *text);   /* NULL: like "" */
uint64_t hash_member(uint64_t hash, const char *text); /* the same, and a mark of where the text ends */

/* Two lower-case digits a byte, and a NUL: out has 2n + 1. Returns out. */
char *hex_text(const void *bytes, size_t n, char *out);
