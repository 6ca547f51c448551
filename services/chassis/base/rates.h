/* pulse: how many records were handled in each of the last seconds, and how late: a ring in memory. The consumer adds
 * once a batch, a page reads. Neither waits for a millisecond. Delays are kept in classes, so a percentile is exact
 * up to 15 ms and then at most an eighth too high. Any thread. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct rates;

enum { PULSE_SECONDS = 300, PULSE_EACH = 10 }; /* how far back, and how many of them make a sample */

struct rates *rates_new(void); /* NULL: no memory */
void rates_free(struct rates **p);

/* At `now` (ms since 1970), n records were committed, each so many ms after it had happened. Negative counts as 0. */
void rates_add(struct rates *p, int64_t now, const int64_t *delays, size_t n);

/* {"throughput":{"per_second":…,"last_minute":N,"most_per_second":…,"samples":[{"at","per_second"}…]},
 *  "delay":{"p50_ms","p99_ms","samples":[{"at","p50_ms","p99_ms"}…]}}: per_second over the last five seconds, the
 * percentiles over the last minute (null: nothing was handled), samples of ten seconds, oldest first, the last of them
 * under way. The caller's. A pulse that is NULL has had no beat. */
json_t *rates_json(struct rates *p, int64_t now);
