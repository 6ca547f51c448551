/* transfer: what export writes and import reads: base64 in JSON. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Version 1 had no types of schemas, no references and no compatibility. */
enum { TRANSFER_VERSION = 2 };

json_t *base64_json(const void *bytes, size_t n); /* null for no bytes; the caller's */
/* *out is malloc'ed, NULL for null. False: it is no base64. */
MUST_CHECK bool base64_read(const json_t *json, unsigned char **out, size_t *n);
