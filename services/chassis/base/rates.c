#include "chassis/base/rates.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"

#include <math.h>
#include <stdlib.h>

/* Up to 15 ms each has its class. From there on every doubling has eight, up to 2^27 ms, which is a day and a half. */
enum {
    EXACT = 16,
    PER_DOUBLING = 8,
    DOUBLINGS = 23,
    CLASSES = EXACT + PER_DOUBLING * DOUBLINGS,
    MINUTE = 60,
    RECENT = 5
};

struct second {
    int64_t second; /* since 1970: which one this place of the ring holds */
    uint32_t handled, classes[CLASSES];
};

struct rates {
    pthread_mutex_t lock;
    struct second ring[PULSE_SECONDS];
};

struct rates *rates_new(void) {
    struct rates *p = calloc(1, sizeof *p);
    if (p) pthread_mutex_init(&p->lock, NULL);
    return p;
}

void rates_free(struct rates **out) {
    if (!*out) return;
    pthread_mutex_destroy(&(*out)->lock);
    free(*out);
    *out = NULL;
}

static int class_of(int64_t ms) {
    if (ms < EXACT) return ms < 0 ? 0 : (int)ms;
    int doubling = 59 - __builtin_clzll((unsigned long long)ms); /* 0: from 16 on */
    if (doubling >= DOUBLINGS) return CLASSES - 1;
    return EXACT + doubling * PER_DOUBLING + (int)(ms >> (doubling + 1)) - PER_DOUBLING;
}

/* The longest delay of the class. */
static int64_t class_most(int class) {
    if (class < EXACT) return class;
    int doubling = (class - EXACT) / PER_DOUBLING, part = (class - EXACT) % PER_DOUBLING;
    return ((int64_t)(PER_DOUBLING + part + 1) << (doubling + 1)) - 1;
}

void rates_add(struct rates *p, int64_t now, const int64_t *delays, size_t n) {
    struct second *s = &p->ring[now / 1000 % PULSE_SECONDS];
    lock_auto(&p->lock);
    if (s->second != now / 1000) *s = (struct second){.second = now / 1000};
    s->handled += (uint32_t)n;
    for (size_t i = 0; i < n; i++) s->classes[class_of(delays[i])]++;
}

/* --- Reading */

struct sum {
    uint64_t handled, classes[CLASSES];
};

/* Of seconds from ≤ s < until, as far as the ring still holds them. */
static struct sum sum_of(const struct rates *p, int64_t from, int64_t until) {
    struct sum sum = {0};
    for (int64_t second = from; second < until; second++) {
        const struct second *s = &p->ring[second % PULSE_SECONDS];
        if (s->second != second || !s->handled) continue;
        sum.handled += s->handled;
        for (int i = 0; i < CLASSES; i++) sum.classes[i] += s->classes[i];
    }
    return sum;
}

/* null: nothing was handled. */
static json_t *percentile_json(const struct sum *sum, int percent) {
    uint64_t rank = (sum->handled * (uint64_t)percent + 99) / 100, seen = 0;
    for (int i = 0; i < CLASSES && rank; i++)
        if ((seen += sum->classes[i]) >= rank) return json_integer(class_most(i));
    return json_null();
}

static double rate(uint64_t n, int64_t ms) {
    return (double)(int64_t)((double)n * 10000 / (double)ms + 0.5) / 10;
}

/* One sample of each kind. The last one counts the time that has passed of it. Returns the rate. */
static double samples_add(json_t *rates, json_t *delays, const struct rates *p, int64_t from, int64_t now) {
    struct sum sum = sum_of(p, from, from + PULSE_EACH);
    int64_t passed = now - from * 1000, most = PULSE_EACH * 1000;
    double per_second = rate(sum.handled, passed < 1000 ? 1000 : passed < most ? passed : most);
    json_array_append_new(rates, json_pack("{s:o, s:f}", "at", time_json(from * 1000), "per_second", per_second));
    json_array_append_new(
        delays, json_pack(
                    "{s:o, s:o, s:o}", "at", time_json(from * 1000), "p50_ms", percentile_json(&sum, 50), "p99_ms",
                    percentile_json(&sum, 99)));
    return per_second;
}

/* Samples begin at whole tens of seconds, so that they do not change while the clock goes on. */
static json_t *all_json(const struct rates *p, int64_t now) {
    json_t *rates = json_array(), *delays = json_array();
    int64_t second = now / 1000, last = second - second % PULSE_EACH;
    struct sum minute = sum_of(p, second - MINUTE + 1, second + 1), recent = sum_of(p, second - RECENT, second);
    double most = 0;
    for (int64_t from = last - PULSE_SECONDS + PULSE_EACH; from <= last; from += PULSE_EACH)
        most = fmax(most, samples_add(rates, delays, p, from, now));
    return json_pack(
        "{s:{s:f, s:I, s:f, s:o}, s:{s:o, s:o, s:o}}", "throughput", "per_second", rate(recent.handled, RECENT * 1000),
        "last_minute", (json_int_t)minute.handled, "most_per_second", most, "samples", rates, "delay", "p50_ms",
        percentile_json(&minute, 50), "p99_ms", percentile_json(&minute, 99), "samples", delays);
}

json_t *rates_json(struct rates *p, int64_t now) {
    static const struct rates none;
    if (!p) return all_json(&none, now);
    lock_auto(&p->lock);
    return all_json(p, now);
}
