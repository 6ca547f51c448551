#include "figures_private.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES_MAX = 48, MINUTE = 60000, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

/* Of the returns that have one word in common. */
struct tally {
    size_t word, returns, cancelled, declined;
    __int128 cost; /* a sum of 15 digits each may be more than 64 bits hold */
};

struct team_tally {
    size_t team, handled, declined;
    int64_t *took; /* of each that it has handled */
};

/* An answer while it is made. */
struct answer {
    const struct question *asked;
    size_t returns, cancelled, declined, hours[24];
    struct tally *tallies[KINDS];
    struct team_tally *teams;
    int64_t *moments; /* when each of the returns was asked for */
};

/* --- Counting */

static int64_t floored(int64_t n, int64_t step) {
    return n / step - (n % step < 0);
}

static bool is_by(int64_t at, int64_t as_of) {
    return at && at <= as_of;
}

/* True: it has declined. */
static bool count_reaction(struct answer *a, const struct returned *r, const struct reacted *one) {
    struct team_tally *team = &a->teams[one->team];
    bool declined = is_by(one->declined_at, a->asked->as_of);
    team->declined += declined;
    if (!is_by(one->handled_at, a->asked->as_of)) return declined;
    int64_t took = one->handled_at - r->asked_at; /* clocks of two machines may differ */
    team->took = figures_room(team->took, team->handled, sizeof *team->took);
    team->took[team->handled++] = took > 0 ? took : 0;
    return declined;
}

static void count(struct answer *a, const struct returned *r) {
    bool cancelled = is_by(r->cancelled_at, a->asked->as_of), declined = false;
    for (uint32_t i = r->reacted; i; i = figures.reacted[i].next)
        if (count_reaction(a, r, &figures.reacted[i])) declined = true;
    for (int k = 0; k < KINDS; k++) {
        struct tally *t = &a->tallies[k][r->words[k]];
        t->returns++;
        t->cancelled += cancelled;
        t->declined += declined;
        t->cost += r->cost;
    }
    a->moments = figures_room(a->moments, a->returns, sizeof *a->moments);
    a->moments[a->returns++] = r->asked_at;
    a->cancelled += cancelled;
    a->declined += declined;
    a->hours[floored(r->asked_at, HOUR) - 24 * floored(r->asked_at, DAY)]++;
}

/* The numbers of the words that are asked for, or UINT32_MAX for any. False: no return has one of them. */
static bool words_asked(const struct question *q, uint32_t numbers[DIMENSIONS]) {
    for (int d = 0; d < DIMENSIONS; d++) {
        numbers[d] = UINT32_MAX;
        if (q->words[d] && !words_find(&figures.words[d], q->words[d], &numbers[d])) return false;
    }
    return true;
}

static void count_all(struct answer *a) {
    uint32_t wanted[DIMENSIONS];
    const struct question *q = a->asked;
    if (!words_asked(q, wanted)) return;
    int64_t until = q->until < q->as_of ? q->until : q->as_of;
    for (size_t i = 0; i < figures.returned_n; i++) {
        const struct returned *r = &figures.returned[i];
        bool fits = r->asked_at && r->asked_at >= q->since && r->asked_at <= until;
        for (int d = 0; d < DIMENSIONS && fits; d++) fits = wanted[d] == UINT32_MAX || wanted[d] == r->words[d];
        if (fits) count(a, r);
    }
}

/* --- Telling */

static json_t *number(size_t n) {
    return json_integer((json_int_t)n);
}

static int tally_order(const void *a, const void *b, void *texts) {
    const struct tally *one = a, *other = b;
    char **text = texts;
    if (one->returns != other->returns) return one->returns < other->returns ? 1 : -1;
    return strcmp(text[one->word], text[other->word]);
}

/* Those that have any, most first. Returns how many they are. */
static size_t tallies_sort(struct tally *all, const struct words *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (!all[i].returns) continue;
        all[n] = all[i];
        all[n++].word = i;
    }
    qsort_r(all, n, sizeof *all, tally_order, w->texts);
    return n;
}

static json_t *dimension_tell(struct answer *a, int d) {
    json_t *all = json_array();
    struct tally *t = a->tallies[d];
    for (size_t n = tallies_sort(t, &figures.words[d]); n--; t++)
        json_array_append_new(
            all, json_pack(
                     "{s:s, s:o, s:o, s:o}", "name", figures.words[d].texts[t->word], "returns", number(t->returns),
                     "cancelled", number(t->cancelled), "declined", number(t->declined)));
    return all;
}

static json_t *amount(__int128 minor) {
    __int128 size = minor < 0 ? -minor : minor;
    return json_sprintf("%s%lld.%02d", minor < 0 ? "-" : "", (long long)(size / 100), (int)(size % 100));
}

/* Each currency, or, of the kind PAIR, each with every model. */
static json_t *costs_tell(struct answer *a, int kind) {
    json_t *all = json_array();
    struct tally *t = a->tallies[kind];
    for (size_t n = tallies_sort(t, &figures.words[kind]); n--; t++) {
        const char *text = figures.words[kind].texts[t->word];
        json_array_append_new(
            all, json_pack(
                     "{s:s%, s:o, s:o, s:s*}", "currency", text, (size_t)3, "returns", number(t->returns), "amount",
                     amount(t->cost), "model", kind == PAIR ? text + 3 : NULL));
    }
    return all;
}

static json_t *hours_tell(const struct answer *a) {
    json_t *all = json_array();
    for (int hour = 0; hour < 24; hour++)
        json_array_append_new(all, json_pack("{s:i, s:o}", "hour", hour, "returns", number(a->hours[hour])));
    return all;
}

/* The smallest that makes no more samples than there may be. */
static int64_t step_for(int64_t first, int64_t last) {
    static const int64_t steps[] = {1000, 5000,     15000,     MINUTE, 5 * MINUTE,      15 * MINUTE,
                                    HOUR, 3 * HOUR, 12 * HOUR, DAY,    7 * (int64_t)DAY};
    size_t i = 0, n = sizeof steps / sizeof *steps;
    int64_t step = *steps;
    while (floored(last, step) - floored(first, step) >= SAMPLES_MAX) step = ++i < n ? steps[i] : 2 * step;
    return step;
}

static json_t *over_time_tell(const struct answer *a) {
    size_t samples[SAMPLES_MAX] = {0};
    json_t *all = json_array();
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (size_t i = 0; i < a->returns; i++) {
        if (a->moments[i] < first) first = a->moments[i];
        if (a->moments[i] > last) last = a->moments[i];
    }
    int64_t step = a->returns ? step_for(first, last) : MINUTE, from = floored(first, step);
    for (size_t i = 0; i < a->returns; i++) samples[floored(a->moments[i], step) - from]++;
    for (int64_t i = from; a->returns && i <= floored(last, step); i++)
        json_array_append_new(
            all, json_pack("{s:o, s:o}", "from", time_json(i * step), "returns", number(samples[i - from])));
    return json_pack("{s:I, s:o}", "step_ms", (json_int_t)step, "samples", all);
}

static int number_order(const void *a, const void *b) {
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return one < other ? -1 : one > other;
}

/* The nearest rank, of what is sorted. */
static json_t *percentile(const struct team_tally *t, size_t percent) {
    return t->handled ? json_integer(t->took[(t->handled * percent + 99) / 100 - 1]) : json_null();
}

static int team_order(const void *a, const void *b) {
    const struct team_tally *one = a, *other = b;
    return strcmp(figures.teams.texts[one->team], figures.teams.texts[other->team]);
}

static json_t *teams_tell(struct answer *a) {
    json_t *all = json_array();
    for (size_t i = 0; i < figures.teams.n; i++) a->teams[i].team = i;
    qsort(a->teams, figures.teams.n, sizeof *a->teams, team_order);
    for (struct team_tally *t = a->teams; t < a->teams + figures.teams.n; t++) {
        if (!t->handled && !t->declined) continue;
        if (t->handled) qsort(t->took, t->handled, sizeof *t->took, number_order);
        json_array_append_new(
            all, json_pack(
                     "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "team", figures.teams.texts[t->team], "reacted",
                     number(t->handled), "silent", number(a->returns - t->handled), "declined", number(t->declined),
                     "p50_ms", percentile(t, 50), "p90_ms", percentile(t, 90), "p99_ms", percentile(t, 99), "max_ms",
                     percentile(t, 100)));
    }
    return all;
}

static json_t *answer_tell(struct answer *a) {
    json_t *by = json_object(), *costs;
    for (int d = 0; d < CURRENCY; d++) json_object_set_new(by, dimension_names[d], dimension_tell(a, d));
    costs = costs_tell(a, CURRENCY);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "returns", number(a->returns), "cancelled",
        number(a->cancelled), "declined", number(a->declined), "by", by, "hours", hours_tell(a), "over_time",
        over_time_tell(a), "costs", costs, "costs_by_model", costs_tell(a, PAIR), "teams", teams_tell(a));
}

json_t *figures_answer(const struct question *q) {
    struct answer a = {.asked = q};
    lock_auto(&figures.lock);
    for (int k = 0; k < KINDS; k++) a.tallies[k] = figures_zeroes(figures.words[k].n, sizeof *a.tallies[k]);
    a.teams = figures_zeroes(figures.teams.n, sizeof *a.teams);
    count_all(&a);
    json_t *all = answer_tell(&a);
    for (size_t i = 0; i < figures.teams.n; i++) free(a.teams[i].took);
    for (int k = 0; k < KINDS; k++) free(a.tallies[k]);
    free(a.teams);
    free(a.moments);
    return all;
}

static int text_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

json_t *figures_words(enum dimension d) {
    json_t *all = json_array();
    lock_auto(&figures.lock);
    const struct words *w = &figures.words[d];
    char **sorted = figures_zeroes(w->n, sizeof *sorted);
    for (size_t i = 0; i < w->n; i++) sorted[i] = w->texts[i];
    qsort(sorted, w->n, sizeof *sorted, text_order);
    for (size_t i = 0; i < w->n; i++) json_array_append_new(all, json_string(sorted[i]));
    free(sorted);
    return all;
}
