/* moment: a moment of the past as people, browsers and programs write it. Any thread. */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stdint.h>

/* RFC 3339 ("2026-11-21T09:28:51.123+01:00", a space may stand for the T), also without seconds, fraction or offset as
 * a datetime-local field sends it, which then is UTC, or a date only, which is the last millisecond of that day, UTC.
 * What follows milliseconds in a fraction does not count. False: it is none of these, no moment of the
 * calendar, or not of the years 1970 to 9999. */
MUST_CHECK bool moment_read(const char *text, int64_t *ms);

/* "2026-11-21T09:28:51.123", as a datetime-local field wants it. */
enum { MOMENT_LOCAL = 24 };
const char *moment_local(int64_t ms, char out[MOMENT_LOCAL]);
