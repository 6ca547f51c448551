#include "chassis/base/ids.h"

#include "chassis/base/hash.h"
#include "chassis/base/moment.h"
#include "chassis/base/wait.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* n: 256 at most. Some are asked for at once, as that costs as much as a few. */
static void random_bytes(void *out, size_t n) {
    static _Thread_local unsigned char pool[256];
    static _Thread_local size_t left;
    if (left < n && getrandom(pool, sizeof pool, 0) != sizeof pool) abort(); /* up to 256 it cannot fail on Linux */
    left = (left < n ? sizeof pool : left) - n;
    memcpy(out, pool + left, n);
}

int64_t clock_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_ms(void) {
    return clock_us(CLOCK_REALTIME) / 1000;
}

int64_t steady_ms(void) {
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

/* RFC 9562 §6.2, method 1 and 2: milliseconds, then a counter of 12 bits that starts in its lower half, to have room to
 * count, and carries into them when the clock stands or steps back. */
struct uuid uuid_make(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t last;
    struct uuid id;
    random_bytes(id.bytes, sizeof id.bytes);
    uint64_t now = (uint64_t)clock_ms() << 12 | (uint64_t)(id.bytes[6] & 7) << 8 | id.bytes[7];
    lock_auto(&lock);
    now = last = now >> 12 > last >> 12 ? now : last + 1;
    for (int i = 0; i < 6; i++) id.bytes[i] = (unsigned char)(now >> (52 - 8 * i));
    id.bytes[6] = (unsigned char)(0x70 | (now >> 8 & 0x0f));
    id.bytes[7] = (unsigned char)now;
    id.bytes[8] = (unsigned char)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}

bool uuid_named(const char *name, struct uuid *id) {
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (EVP_Digest(name, strlen(name), hash, NULL, EVP_sha256(), NULL) != 1) return false;
    memcpy(id->bytes, hash, sizeof id->bytes);
    id->bytes[6] = (unsigned char)((id->bytes[6] & 0x0f) | 0x80);
    id->bytes[8] = (unsigned char)((id->bytes[8] & 0x3f) | 0x80);
    return true;
}

const char *uuid_text(struct uuid id, char out[UUID_TEXT]) {
    static const int groups[] = {0, 4, 6, 8, 10, 16};
    for (int i = 0; i < 5; i++) {
        char *group = out + 2 * groups[i] + i;
        hex_text(id.bytes + groups[i], (size_t)(groups[i + 1] - groups[i]), group);
        if (i) group[-1] = '-';
    }
    return out;
}

/* 0 to 15. 16: it is none. */
static unsigned hex_digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *digit = memchr(digits, c | ('A' <= c && c <= 'F' ? 0x20 : 0), 16);
    return digit ? (unsigned)(digit - digits) : 16;
}

bool uuid_parse(const char *text, struct uuid *id) {
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-') return false;
        unsigned high = hex_digit(text[0]), low = high > 15 ? 16 : hex_digit(text[1]);
        if (low > 15) return false;
        id->bytes[i] = (unsigned char)(high << 4 | low);
        text += 2;
    }
    return !*text;
}

void return_id_make(char out[RETURN_ID]) {
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint32_t random;
    random_bytes(&random, sizeof random);
    uint64_t n = (uint64_t)clock_ms() << 23 | (random & 0x7fffff); /* 42 bits of time, 23 of chance */
    memcpy(out, "R-", 2);
    for (int i = 0; i < 13; i++) out[2 + i] = alphabet[n >> (5 * (12 - i)) & 31];
    out[15] = '\0';
}

bool time_valid(int64_t ms) {
    static const int64_t end = 253402300800000; /* the year 10000 */
    return ms >= 0 && ms < end;
}

const char *time_text(int64_t ms, char out[TIME_TEXT]) {
    static _Thread_local char text[TIME_TEXT]; /* of the second before: events come many in one */
    static _Thread_local time_t of = -1;
    time_t seconds = (time_t)(ms / 1000);
    struct tm t;
    strcpy(out, "xxxx-xx-xxTxx:xx:xx.xxxZ");
    if (!time_valid(ms)) return out;
    if (seconds != of && gmtime_r(&seconds, &t) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t)) of = seconds;
    if (seconds != of) return out;
    memcpy(out, text, strlen(text));
    for (int64_t i = 22, left = ms % 1000; i > 19; i--, left /= 10) out[i] = (char)('0' + left % 10);
    return out;
}

json_t *time_json(int64_t ms) {
    char text[TIME_TEXT];
    return json_string(time_text(ms, text));
}

bool time_parse(const char *text, int64_t *ms) {
    size_t n = strlen(text);
    return n >= sizeof "2026-11-21T09:28:51" && text[10] == 'T' && text[n - 1] == 'Z' && moment_read(text, ms);
}

const char *duration_text(int64_t ms, char out[DURATION_TEXT]) {
    if (ms < 1000)
        snprintf(out, DURATION_TEXT, "%lld ms", (long long)ms);
    else if (ms < 10000)
        snprintf(out, DURATION_TEXT, "%.1f s", (double)ms / 1000);
    else if (ms < 120000)
        snprintf(out, DURATION_TEXT, "%lld s", (long long)ms / 1000);
    else if (ms < 7200000)
        snprintf(out, DURATION_TEXT, "%lld min", (long long)ms / 60000);
    else
        snprintf(out, DURATION_TEXT, "%lld h", (long long)ms / 3600000);
    return out;
}

static void trace_write(const unsigned char ids[24], char parent[TRACE_PARENT]) {
    memcpy(parent, "00-", 3);
    hex_text(ids, 16, parent + 3);
    parent[35] = '-';
    hex_text(ids + 16, 8, parent + 36);
    memcpy(parent + 52, "-01", 4);
}

void trace_make(char parent[TRACE_PARENT]) {
    unsigned char random[24];
    random_bytes(random, sizeof random);
    trace_write(random, parent);
}

void trace_named(const char *name, char parent[TRACE_PARENT]) {
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (EVP_Digest(name, strlen(name), hash, NULL, EVP_sha256(), NULL) == 1)
        trace_write(hash, parent);
    else
        trace_make(parent);
}

/* W3C Trace Context §3.2: version 00, lower case, neither id all zero. */
bool trace_valid(const char *parent) {
    if (!parent || strlen(parent) != TRACE_PARENT - 1 || strncmp(parent, "00-", 3) != 0) return false;
    if (strspn(parent + 3, "0123456789abcdef") != 32 || parent[35] != '-') return false;
    if (strspn(parent + 36, "0123456789abcdef") != 16 || parent[52] != '-') return false;
    if (strspn(parent + 53, "0123456789abcdef") != 2) return false;
    return strspn(parent + 3, "0") < 32 && strspn(parent + 36, "0") < 16;
}

void trace_child(const char *parent, char child[TRACE_PARENT]) {
    char trace[TRACE_ID];
    trace_id(parent, trace);
    trace_make(child);
    memcpy(child + 3, trace, strlen(trace));
}

const char *trace_id(const char *parent, char out[TRACE_ID]) {
    bool valid = trace_valid(parent);
    if (valid) memcpy(out, parent + 3, 32);
    out[valid ? 32 : 0] = '\0';
    return out;
}
