/* figures: what is known of all returns, in memory, and what it adds up to.
 *
 * Each note may come again, and in any order: the first moment counts, whoever comes first. So a transaction that is
 * tried again changes nothing, and neither does a team's event that is read before the request which it answers. A
 * return counts once its request is known. Any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum dimension { MODEL, REASON, CHANNEL, LOCATION, CURRENCY, DIMENSIONS };
extern const char *const dimension_names[DIMENSIONS]; /* "model", "reason", … */

struct asked {
    const char *return_id, *words[DIMENSIONS];
    int64_t cost, at; /* hundredths, and ms */
};
void figures_asked(const struct asked *a);
void figures_cancelled(const char *return_id, int64_t at);
/* A team's event about a return. handled: it answers the request. declined: by declining it. */
void figures_reacted(const char *return_id, const char *team, int64_t at, bool handled, bool declined);

struct question {
    const char *words[DIMENSIONS]; /* NULL: any */
    int64_t since, until, as_of;   /* ms. A return counts when it was asked for within. INT64_MAX: no end, and now */
};
/* {"returns","cancelled","declined","by":{"model":[{"name","returns","cancelled","declined"}],…},
 *  "hours":[{"hour","returns"}], "over_time":{"step_ms","samples":[{"from","returns"}]},
 *  "costs":[{"currency","returns","amount"}], "costs_by_model":[{"model","currency","returns","amount"}],
 *  "teams":[{"team","reacted","silent","declined","p50_ms","p90_ms","p99_ms","max_ms"}]}. The caller's. Most first.
 * A percentile is the smallest time that is at least as long as so many of a hundred, or null where there is none. */
json_t *figures_answer(const struct question *q);
/* All words of a dimension that any return has, sorted: ["Berlin",…]. The caller's. */
json_t *figures_words(enum dimension d);
