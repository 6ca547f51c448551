/* transfer: what export writes and import reads: base64 in JSON, and topics with their configuration. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Version 1 had no types of schemas, no references and no compatibility. */
enum { TRANSFER_VERSION = 2, CONFIG_MS = 10000 };

struct bytes {
    unsigned char *at; /* NULL: none */
    size_t n;
};
#define bytes_auto __attribute__((cleanup(bytes_free))) struct bytes /* freed at the end of its block */
void bytes_free(struct bytes *b);

json_t *base64_json(const void *bytes, size_t n);                   /* null for no bytes. The caller's */
MUST_CHECK bool base64_read(const json_t *json, struct bytes *out); /* false: it is no base64, and *out is none */
