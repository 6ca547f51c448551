#include "chassis/base/ids.h"

#include "chassis/base/hash.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static void random_bytes(void *out, size_t n) {
    if (getrandom(out, n, 0) != (ssize_t)n) abort(); /* up to 256 bytes it cannot fail on Linux */
}

static int64_t read_ms(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_ms(void) {
    return read_ms(CLOCK_REALTIME);
}

int64_t steady_ms(void) {
    return read_ms(CLOCK_MONOTONIC);
}

/* RFC 9562 §6.2, method 1 and 2: milliseconds, then a counter that carries into them when the clock stands or steps
 * back. */
struct uuid uuid_make(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t last_ms, counter;
    struct uuid id;
    random_bytes(id.bytes, sizeof id.bytes);
    uint64_t now = (uint64_t)clock_ms();
    pthread_mutex_lock(&lock);
    if (now > last_ms) {
        last_ms = now;
        counter = (uint64_t)(id.bytes[6] & 7) << 8 | id.bytes[7]; /* starts in the lower half: room to count */
    } else if (++counter > 0xfff) {
        last_ms++;
        counter = 0;
    }
    uint64_t ms = last_ms, count = counter;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 6; i++) id.bytes[i] = (unsigned char)(ms >> (40 - 8 * i));
    id.bytes[6] = (unsigned char)(0x70 | count >> 8);
    id.bytes[7] = (unsigned char)count;
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

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool uuid_parse(const char *text, struct uuid *id) {
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-') return false;
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0) return false;
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
    time_t seconds = (time_t)(ms / 1000);
    struct tm t;
    char date[sizeof "2026-11-21T09:28:51"];
    bool known = time_valid(ms) && gmtime_r(&seconds, &t) && strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &t);
    if (known)
        snprintf(out, TIME_TEXT, "%s.%03uZ", date, (unsigned)(ms % 1000));
    else
        snprintf(out, TIME_TEXT, "xxxx-xx-xxTxx:xx:xx.xxxZ");
    return out;
}

json_t *time_json(int64_t ms) {
    char text[TIME_TEXT];
    return json_string(time_text(ms, text));
}

bool time_parse(const char *text, int64_t *ms) {
    struct tm t = {0};
    const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    if (!p) return false;
    int rest = 0;
    if (*p == '.') {
        int scale = 100;
        for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10) rest += scale * (*p - '0');
    }
    if (strcmp(p, "Z") != 0) return false;
    *ms = (int64_t)timegm(&t) * 1000 + rest;
    return time_valid(*ms);
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
    char trace[TRACE_ID], span[17];
    snprintf(parent, TRACE_PARENT, "00-%s-%s-01", hex_text(ids, 16, trace), hex_text(ids + 16, 8, span));
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
    char trace[TRACE_PARENT];
    trace_make(trace);
    if (trace_valid(parent)) memcpy(trace + 3, parent + 3, 32);
    memcpy(child, trace, TRACE_PARENT);
}

const char *trace_id(const char *parent, char out[TRACE_ID]) {
    out[0] = '\0';
    if (trace_valid(parent)) {
        memcpy(out, parent + 3, 32);
        out[32] = '\0';
    }
    return out;
}
