/* json_get: members of a JSON object as C values. Any thread; nothing is allotted. */
#pragma once

#include <jansson.h>
#include <stdint.h>

const char *json_get_text(const json_t *object, const char *name); /* "" when it has no such text; lives with it */
long long json_get_int(const json_t *object, const char *name);    /* 0 when it has no such integer */
int64_t json_get_time(const json_t *object, const char *name);     /* ms of an RFC 3339 text; 0: it has none */
