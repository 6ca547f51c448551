/* ids: identifiers and moments. Event ids are UUIDv7 (RFC 9562). Traces are W3C traceparent. Times are milliseconds
 * since the Unix epoch, UTC, and are written as RFC 3339. Every function may be called from any thread. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct uuid {
    unsigned char bytes[16];
};

enum {
    UUID_TEXT = 37,
    TIME_TEXT = 25,
    TRACE_PARENT = 56,
    TRACE_ID = 33,
    RETURN_ID = 16,
    DURATION_TEXT = 32
}; /* sizes with the NUL */

/* Version 7. Within one process each is greater than the one before, whatever the clock does. */
struct uuid uuid_make(void);
const char *uuid_text(struct uuid id, char out[UUID_TEXT]);    /* returns out */
MUST_CHECK bool uuid_parse(const char *text, struct uuid *id); /* any version. False when text is no UUID */

/* Version 8, of a SHA-256: the same name gives the same id. False: no memory. */
MUST_CHECK bool uuid_named(const char *name, struct uuid *id);

void return_id_make(char out[RETURN_ID]); /* "R-" and 13 characters of Crockford's base 32. Sorts by time */

int64_t clock_ms(void);            /* since 1970. May step in either direction */
int64_t clock_us(clockid_t clock); /* µs of one of clock_gettime()'s */
int64_t steady_ms(void);           /* since some moment. Never steps: for waits and deadlines */
/* Of the years 1970 to 9999: what a page, a file and a scale can show. Everything else is refused where it comes in. */
bool time_valid(int64_t ms);
/* Of a moment that is none "xxxx-xx-xxTxx:xx:xx.xxxZ", never a date that nobody meant. */
const char *time_text(int64_t ms, char out[TIME_TEXT]);         /* "2026-11-21T09:28:51.123Z". Returns out */
json_t *time_json(int64_t ms);                                  /* the same as JSON. The caller's */
MUST_CHECK bool time_parse(const char *text, int64_t *ms);      /* what time_text writes. Seconds' fraction optional */
const char *duration_text(int64_t ms, char out[DURATION_TEXT]); /* for people: "3.2 s", "45 min". Returns out */

void trace_make(char parent[TRACE_PARENT]); /* a new trace */
/* The same name gives the same trace. */
void trace_named(const char *name, char parent[TRACE_PARENT]);
void trace_child(const char *parent, char child[TRACE_PARENT]); /* new span, same trace unless parent is not valid */
MUST_CHECK bool trace_valid(const char *parent);
const char *trace_id(const char *parent, char out[TRACE_ID]); /* the 32 hex digits, or "". Returns out */
