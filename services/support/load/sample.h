/* sample: returns as customers around the world make them, for simulated load. Number n of a seed is always the same
 * return. Only its order, shipment and serial number begin with the run's name, since an item can be in one open return
 * at a time, and a second run of the same seed would be refused whole. Any thread.
 *
 * Each is of an item that a company ordered, and costs no more than was paid for it: sample_place() has sales take
 * those orders first, some hundred items each. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
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
json_t *sample_body(const struct sample *s, int64_t n); /* as /api/returns takes it. The caller's. NULL: no memory */
char *sample_text(void *sample, int64_t n);             /* the same as text, for struct load. From malloc() */

/* Has sales register the companies and take the orders that returns 0 to count - 1 are of. turn(context, done) tells
 * how many returns are seen to. False from it: enough. It may be NULL. RETRY: sales is away, or did not take one. */
MUST_CHECK verdict sample_place(
    const struct sample *s, const char *sales_url, int64_t count, bool (*turn)(void *context, int64_t done),
    void *context, struct failure *why);
