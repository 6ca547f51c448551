/* simulate: submits returns to a running support at a steady rate, and follows each one it accepted through the teams'
 * audit logs. */
#include "cli.h"

#include "../support/load/sample.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/web/load.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 12, ANSWER_MS = 10000, PAGE = 1000, LOOK_MS = 200, BAR = 30, SECONDS_MAX = 86400 };

struct team {
    char name[200], url[300];
    bool running;   /* it answered when it was last asked */
    int64_t seen;   /* its newest audit row that was looked at */
    double *delays; /* of each accepted return, in ms. NAN: not handled yet */
    size_t handled, declined, quarantined;
};

struct accepted {
    char id[RETURN_ID];
    int64_t due_at;
};

struct simulation {
    struct sample sample; /* first: sample_text() gets the simulation */
    double rate, seconds;
    int limit;
    bool as_json, on_terminal;
    const char *support, *sales;
    struct team teams[CLI_WORDS];
    int teams_n;

    int64_t count, began_at, answered;
    int64_t held, invalid, otherwise, errors; /* refused by 409, by 422, by another 4xx, and no answer or a 5xx */
    char first_error[300];
    char without[300]; /* why the orders are made up. "": they are sales' */
    struct accepted *accepted;
    size_t accepted_n;
    double *took;
    size_t took_n;
};

/* --- Asked for */

enum { RATE, SECONDS, SEED, LIMIT, DUPLICATES, BAD, NUMBERS };
static const struct {
    const char *option, *ends;
    double least, most;
    bool whole;
    const char *rule;
} numbers[NUMBERS] = {
    [RATE] = {"--rate", "", 0.1, 5000, false, "returns a second, 0.1 to 5000"},
    [SECONDS] = {"--for", "sm", 0.1, SECONDS_MAX, false, "a time such as 30s or 2m, of a day at most"},
    [SEED] = {"--seed", "", 0, 1e15, true, "a whole number from 0 to 10^15"},
    [LIMIT] = {"--limit", "", 0, 3600, true, "whole seconds, from 0 to 3600"},
    [DUPLICATES] = {"--duplicates", "", 0, 45, true, "a whole number of percent, from 0 to 45"},
    [BAD] = {"--bad", "", 0, 45, true, "a whole number of percent, from 0 to 45"},
};

static verdict refuse(struct failure *why, const char *option, const char *value, const char *rule) {
    return fail(why, REJECT, "simulate: %s \"%s\": must be %s", option, value, rule);
}

/* text: NULL: *out stays. */
static verdict number_read(const char *text, int which, double *out, struct failure *why) {
    const char *ends = numbers[which].ends, *option = numbers[which].option;
    char *end;
    if (!text) return OK;
    errno = 0;
    double number = strtod(text, &end);
    bool read = end != text && !errno && (!*end || (strchr(ends, *end) && !end[1]));
    if (*end == 'm') number *= 60;
    /* not for NAN either */
    if (!read || !(number >= numbers[which].least && number <= numbers[which].most) ||
        (numbers[which].whole && number != floor(number)))
        return refuse(why, option, text, numbers[which].rule);
    *out = number;
    return OK;
}

static verdict team_add(struct simulation *s, const char *pair, struct failure *why) {
    const char *equals = strchr(pair, '=');
    struct team *t = &s->teams[s->teams_n++];
    if (!equals || equals == pair || equals - pair >= (ssize_t)sizeof t->name || strlen(equals) > 200)
        return refuse(why, "--team", pair, "NAME=URL");
    snprintf(t->name, sizeof t->name, "%.*s", (int)(equals - pair), pair);
    snprintf(t->url, sizeof t->url, "%s", equals + 1);
    return OK;
}

static verdict options_read(struct simulation *s, int n, char *arguments[], struct failure *why) {
    const char *texts[NUMBERS] = {0}, *pairs[CLI_WORDS];
    double values[NUMBERS] = {20, 10, (double)(clock_ms() % 1000000), 60, 5, 3};
    int pairs_n = 0;
    struct cli c = {0};
    struct cli_option options[NUMBERS + 5] = {
        {"--json", .given = &s->as_json},
        {"--support", .value = &s->support},
        {"--sales", .value = &s->sales},
        {"--team", .value = pairs, .n = &pairs_n}};
    for (int i = 0; i < NUMBERS; i++) options[4 + i] = (struct cli_option){numbers[i].option, .value = &texts[i]};
    if (cli_options(&c, n, arguments, options, why) != OK) return fail(why, REJECT, "simulate: %s", why->text);
    if (c.words_n) return fail(why, REJECT, "simulate: \"%s\": no such option", c.words[0]);
    verdict v = OK;
    for (int i = 0; v == OK && i < NUMBERS; i++) v = number_read(texts[i], i, &values[i], why);
    for (int i = 0; v == OK && i < pairs_n; i++) v = team_add(s, pairs[i], why);
    if (v == OK && !s->support) v = refuse(why, "--support", "", "given: support's URL");
    s->rate = values[RATE];
    s->seconds = values[SECONDS];
    s->limit = (int)values[LIMIT];
    s->sample =
        (struct sample){.seed = (uint64_t)values[SEED], .duplicates = (int)values[DUPLICATES], .bad = (int)values[BAD]};
    return v;
}

/* --- The load */

static void accept_note(struct simulation *s, const struct load_answer *a) {
    json_auto_t *said = json_loads(a->body, 0, NULL);
    struct accepted *one = &s->accepted[s->accepted_n++];
    for (int i = 0; i < s->teams_n; i++) s->teams[i].delays[one - s->accepted] = NAN;
    one->due_at = a->due_at;
    snprintf(one->id, sizeof one->id, "%s", json_get_text(said, "return_id"));
}

static void answered(void *simulation, const struct load_answer *a) {
    struct simulation *s = simulation;
    bool refused = a->status >= 400 && a->status < 500;
    s->answered++;
    if (a->status >= 200 && a->status < 500) s->took[s->took_n++] = a->ms;
    if (a->status == 202)
        accept_note(s, a);
    else if (refused)
        *(a->status == 409 ? &s->held : a->status == 422 ? &s->invalid : &s->otherwise) += 1;
    else if (!s->errors++)
        snprintf(s->first_error, sizeof s->first_error, "%d %.280s", a->status, a->body);
}

static void bar_draw(const struct simulation *s, const char *what, size_t done, size_t of) {
    int filled = done < of ? (int)(BAR * done / of) : BAR;
    if (!s->on_terminal) return;
    fprintf(
        stderr, "\r\033[K[%.*s%.*s] %s %zu of %zu", filled * (int)(sizeof "█" - 1), "██████████████████████████████",
        (BAR - filled) * (int)(sizeof "·" - 1), "······························", what, done, of);
}

static bool turn(void *simulation) {
    const struct simulation *s = simulation;
    bar_draw(s, "submitted", (size_t)s->answered, (size_t)s->count);
    return true;
}

/* --- What the teams made of it */

static json_t *ask(struct team *t, const char *query) {
    char url[400];
    text_auto text = NULL;
    struct failure why;
    int status = 0;
    snprintf(url, sizeof url, "%s/api/audit?%s", t->url, query);
    json_t *said =
        load_ask(url, NULL, ANSWER_MS, &status, &text, &why) == OK && status == 200 ? json_loads(text, 0, NULL) : NULL;
    t->running = said;
    return said;
}

static void team_begin(struct team *t) {
    json_auto_t *said = ask(t, "limit=1");
    t->seen = json_get_int(json_array_get(json_object_get(said, "rows"), 0), "id");
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct accepted *)a)->id, ((const struct accepted *)b)->id);
}

static void row_note(const struct simulation *s, struct team *t, const json_t *row) {
    struct accepted wanted;
    const char *outcome = json_get_text(row, "outcome");
    int64_t at = json_get_time(row, "at");
    snprintf(wanted.id, sizeof wanted.id, "%s", json_get_text(row, "return_id"));
    const struct accepted *found =
        *wanted.id ? bsearch(&wanted, s->accepted, s->accepted_n, sizeof wanted, by_id) : NULL;
    if (!found || !at) return;
    double *delay = &t->delays[found - s->accepted];
    if (!strcmp(outcome, "quarantined")) t->quarantined++;
    if (!isnan(*delay) || (strcmp(outcome, "handled") != 0 && strcmp(outcome, "declined") != 0)) return;
    *delay = (double)(at - found->due_at);
    t->handled++;
    t->declined += !strcmp(outcome, "declined");
}

/* The rows since the last look, newest first. */
static void team_look(const struct simulation *s, struct team *t) {
    int64_t newest = 0, last = INT64_MAX;
    while (last > t->seen + 1) {
        char query[80];
        int64_t at = INT64_MAX;
        snprintf(query, sizeof query, newest ? "limit=%d&before=%lld" : "limit=%d", PAGE, (long long)last);
        json_auto_t *said = ask(t, query);
        if (!said) return; /* what was noted is noted. The next look begins anew */
        json_each(i, row, json_object_get(said, "rows")) {
            last = json_get_int(row, "id");
            at = json_get_time(row, "at");
            if (!newest) newest = last;
            if (last <= t->seen) break;
            row_note(s, t, row);
        }
        if (!json_is_integer(json_object_get(said, "next")) || (at && at < s->began_at - 1000)) break;
    }
    if (newest) t->seen = newest;
}

/* False: the limit has come, and a team that runs has not handled all of them. */
static bool teams_follow(struct simulation *s) {
    int64_t until = steady_ms() + 1000 * (int64_t)s->limit;
    qsort(s->accepted, s->accepted_n, sizeof *s->accepted, by_id);
    for (;;) {
        size_t handled = 0, of = 0;
        for (int i = 0; i < s->teams_n; i++) {
            team_look(s, &s->teams[i]);
            handled += s->teams[i].handled;
            of += s->teams[i].running ? s->accepted_n : s->teams[i].handled;
        }
        bar_draw(s, "handled", handled, of);
        if (handled == of || steady_ms() >= until) return handled == of;
        usleep(LOOK_MS * 1000);
    }
}

/* --- Saying it */

static json_t *figures_json(double *values, size_t n) {
    if (!n) return json_pack("{s:n, s:n, s:n}", "p50_ms", "p99_ms", "max_ms");
    return json_pack(
        "{s:f, s:f, s:f}", "p50_ms", load_percentile(values, n, 50), "p99_ms", load_percentile(values, n, 99), "max_ms",
        load_percentile(values, n, 100));
}

/* Of the returns that it has handled. */
static json_t *delays_json(const struct simulation *s, const struct team *t) {
    size_t n = 0;
    for (size_t i = 0; i < s->accepted_n; i++)
        if (!isnan(t->delays[i])) t->delays[n++] = t->delays[i];
    return figures_json(t->delays, n);
}

static json_t *result_json(struct simulation *s) {
    json_int_t planned[3] = {0};
    json_t *teams = json_array();
    for (int64_t n = 0; n < s->answered; n++) planned[sample_kind(&s->sample, n)]++;
    for (int i = 0; i < s->teams_n; i++) {
        const struct team *t = &s->teams[i];
        json_array_append_new(
            teams, json_pack(
                       "{s:s, s:b, s:I, s:I, s:I, s:I, s:o}", "team", t->name, "running", t->running, "handled",
                       (json_int_t)t->handled, "not_handled", (json_int_t)(s->accepted_n - t->handled), "quarantined",
                       (json_int_t)t->quarantined, "declined", (json_int_t)t->declined, "submit_to_handled",
                       delays_json(s, t)));
    }
    return json_pack(
        "{s:I, s:s, s:f, s:f, s:I, s:{s:I, s:I, s:I}, s:I, s:{s:I, s:I, s:I}, s:I, s:o, s:o, s:s?}", "seed",
        (json_int_t)s->sample.seed, "run", s->sample.run, "rate", s->rate, "seconds", s->seconds, "submitted",
        (json_int_t)s->answered, "planned", "good", planned[SAMPLE_GOOD], "duplicates", planned[SAMPLE_DUPLICATE],
        "bad", planned[SAMPLE_BAD], "accepted", (json_int_t)s->accepted_n, "refused", "409", (json_int_t)s->held, "422",
        (json_int_t)s->invalid, "other", (json_int_t)s->otherwise, "errors", (json_int_t)s->errors, "submit",
        figures_json(s->took, s->took_n), "teams", teams, "orders_made_up", *s->without ? s->without : NULL);
}

static void figures_say(const json_t *figures) {
    double half, most_of, most;
    if (json_unpack((json_t *)figures, "{s:f, s:f, s:f}", "p50_ms", &half, "p99_ms", &most_of, "max_ms", &most)) return;
    printf("p50 %8.1f ms   p99 %8.1f ms   most %8.1f ms", half, most_of, most);
}

static void team_say(const struct simulation *s, const struct team *t, const json_t *result) {
    printf("  %-14s %8zu   ", shown(t->name), t->handled);
    figures_say(json_object_get(result, "submit_to_handled"));
    if (t->handled < s->accepted_n)
        printf("   %zu %s", s->accepted_n - t->handled, t->running ? "NOT HANDLED" : "wait: it does not run");
    if (t->quarantined) printf("   %zu quarantined", t->quarantined);
    if (t->declined) printf("   %zu declined", t->declined);
    printf("\n");
}

static void result_say(const struct simulation *s, const json_t *result) {
    const json_t *planned = json_object_get(result, "planned");
    printf(
        "seed %llu, run %s: %lld returns at %g a second\n", (unsigned long long)s->sample.seed, shown(s->sample.run),
        (long long)s->answered, s->rate);
    printf("  accepted       %8zu\n", s->accepted_n);
    printf(
        "  refused        %8lld   409, its item is in an open return: %lld (%lld meant to be); 422, a field is wrong: %lld (%lld meant to be)",
        (long long)(s->held + s->invalid + s->otherwise), (long long)s->held, json_get_int(planned, "duplicates"),
        (long long)s->invalid, json_get_int(planned, "bad"));
    printf(s->otherwise ? "; otherwise: %lld\n" : "\n", (long long)s->otherwise);
    printf(
        "  errors         %8lld%s%s\n", (long long)s->errors, s->errors ? "   the first: " : "", shown(s->first_error));
    printf("\n  submit                    ");
    figures_say(json_object_get(result, "submit"));
    printf("\n");
    json_each(i, team, json_object_get(result, "teams")) team_say(s, &s->teams[i], team);
    printf("\nSubmit: from the moment a return was due to its answer. Teams: from that moment to the one in the audit\n"
           "row, which the transaction with the effect writes.\n");
}

/* --- All together */

static bool room_make(struct simulation *s) {
    size_t n = (size_t)s->count + 1;
    s->accepted = calloc(n, sizeof *s->accepted);
    s->took = calloc(n, sizeof *s->took);
    bool ok = s->accepted && s->took;
    for (int i = 0; ok && i < s->teams_n; i++) ok = (s->teams[i].delays = calloc(n, sizeof(double)));
    return ok;
}

static void room_free(struct simulation *s) {
    free(s->accepted);
    free(s->took);
    for (int i = 0; i < s->teams_n; i++) free(s->teams[i].delays);
}

static bool place_turn(void *simulation, int64_t done) {
    const struct simulation *s = simulation;
    bar_draw(s, "ordered", (size_t)done, (size_t)s->count);
    return true;
}

static void orders_place(struct simulation *s) {
    struct failure why;
    if (sample_place(&s->sample, s->sales ? s->sales : "", s->count, place_turn, s, &why) == OK) return;
    snprintf(s->without, sizeof s->without, "%.290s", why.text);
    fprintf(
        stderr, "%ssimulate: the orders are made up, and sales may decline refunds of them: %s\n",
        s->on_terminal ? "\r\033[K" : "", shown(why.text));
}

static verdict submit_all(struct simulation *s, struct failure *why) {
    char url[400];
    snprintf(url, sizeof url, "%.300s/api/returns", s->support);
    s->began_at = clock_ms();
    return load_run(
        &(struct load){
            .url = url,
            .rate = s->rate,
            .count = s->count,
            .connections = CONNECTIONS,
            .timeout_ms = ANSWER_MS,
            .context = s,
            .body = sample_text,
            .answered = answered,
            .turn = turn},
        why);
}

static int simulate(struct simulation *s) {
    struct failure why;
    orders_place(s);
    for (int i = 0; i < s->teams_n; i++) team_begin(&s->teams[i]);
    verdict v = submit_all(s, &why);
    if (v != OK) fprintf(stderr, "simulate: stopped early: %s\n", shown(why.text));
    bool all_handled = teams_follow(s);
    if (s->on_terminal) fprintf(stderr, "\r\033[K");
    json_auto_t *result = result_json(s);
    if (s->as_json)
        cli_print(result, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    else
        result_say(s, result);
    return v == OK && all_handled && s->accepted_n ? CLI_YES : CLI_NO;
}

int simulate_run(int n, char *arguments[]) {
    struct simulation s = {.on_terminal = isatty(STDERR_FILENO)};
    struct failure why;
    verdict v = options_read(&s, n, arguments, &why);
    if (v != OK) return cli_end(v, &why);
    sample_run_name(s.sample.run);
    s.count = (int64_t)fmax(s.rate * s.seconds + 0.5, 1);
    int status = room_make(&s)
                     ? simulate(&s)
                     : cli_end(fail(&why, RETRY, "simulate: out of memory for %lld returns", (long long)s.count), &why);
    room_free(&s);
    return status;
}
