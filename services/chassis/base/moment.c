#include "chassis/base/moment.h"

#include "chassis/base/ids.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MINUTE_MS = 60000, DAY_MS = 86400000 };

/* Exactly n digits. Moves on behind them. */
static bool number_read(const char **p, size_t n, int least, int most, int *out) {
    if (strspn(*p, "0123456789") < n) return false;
    for (*out = 0; n--; ++*p) *out = *out * 10 + (**p - '0');
    return *out >= least && *out <= most;
}

static bool sign_read(const char **p, const char *among) {
    if (!**p || !strchr(among, **p)) return false;
    ++*p;
    return true;
}

/* A day that does not exist (30 February) is another one when it is counted. */
static bool date_read(const char **p, int64_t *ms) {
    int year, month, day;
    if (!number_read(p, 4, 0, 9999, &year) || !sign_read(p, "-") || !number_read(p, 2, 1, 12, &month) ||
        !sign_read(p, "-") || !number_read(p, 2, 1, 31, &day))
        return false;
    struct tm t = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    *ms = (int64_t)timegm(&t) * 1000;
    return t.tm_mday == day;
}

static bool fraction_read(const char **p, int *ms) {
    int scale = 100;
    const char *start = *p;
    for (*ms = 0; **p >= '0' && **p <= '9'; ++*p, scale /= 10) *ms += scale * (**p - '0');
    return *p > start;
}

static bool clock_read(const char **p, int64_t *ms) {
    int hour, minute, second = 0, rest = 0;
    if (!number_read(p, 2, 0, 23, &hour) || !sign_read(p, ":") || !number_read(p, 2, 0, 59, &minute)) return false;
    if (sign_read(p, ":") && (!number_read(p, 2, 0, 59, &second) || (sign_read(p, ".") && !fraction_read(p, &rest))))
        return false;
    *ms += (hour * 60 + minute) * (int64_t)MINUTE_MS + second * 1000 + rest;
    return true;
}

static bool offset_read(const char **p, int64_t *ms) {
    int hours, minutes, west = **p == '-';
    if (!**p || sign_read(p, "Zz")) return true;
    if (!sign_read(p, "+-") || !number_read(p, 2, 0, 23, &hours) || !sign_read(p, ":") ||
        !number_read(p, 2, 0, 59, &minutes))
        return false;
    *ms += (west ? 1 : -1) * (hours * 60 + minutes) * (int64_t)MINUTE_MS;
    return true;
}

bool moment_read(const char *text, int64_t *ms) {
    const char *p = text;
    int64_t at;
    if (!date_read(&p, &at)) return false;
    bool whole_day = !*p;
    if (!whole_day && (!sign_read(&p, "Tt ") || !clock_read(&p, &at) || !offset_read(&p, &at))) return false;
    *ms = whole_day ? at + DAY_MS - 1 : at;
    return !*p && time_valid(*ms);
}

const char *moment_local(int64_t ms, char out[MOMENT_LOCAL]) {
    char text[TIME_TEXT];
    snprintf(out, MOMENT_LOCAL, "%.*s", MOMENT_LOCAL - 1, time_text(ms, text));
    return out;
}
