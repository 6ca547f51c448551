/* sample: returns as customers around the world make them, for simulated load. Number n of a seed is always the same
 * return; only its serial number begins with the run's name, since an item can be in one open return at a time, and a
 * second run of the same seed would be refused whole. Any thread. */
#pragma once

#include <jansson.h>
#include <stdint.h>

enum sample_kind {
    SAMPLE_GOOD,
    SAMPLE_DUPLICATE, /* of an item that an earlier one has: 409 is right */
    SAMPLE_BAD        /* a field is wrong: 422 is right */
};

struct sample {
    uint64_t seed;
    int duplicates, bad; /* in a hundred */
    char run[16];
};

void sample_run_name(char run[16]); /* by the clock: another one each millisecond */
enum sample_kind sample_kind(const struct sample *s, int64_t n);
json_t *sample_body(const struct sample *s, int64_t n); /* as /api/returns takes it; the caller's. NULL: no memory */
