#include "simulate.h"

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

enum { TEAMS_MAX = 32, CONNECTIONS = 12, ANSWER_MS = 10000, PAGE = 1000, LOOK_MS = 200, BAR = 30, SECONDS_MAX = 86400 };

struct team {
    const char *name;
    char url[300];
    bool running;   /* it answered when it was last asked */
    int64_t seen;   /* its newest audit row that was looked at */
    double *delays; /* of each accepted return, in ms; NAN: not handled yet */
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
    struct team teams[TEAMS_MAX];
    int teams_n;

    int64_t count, began_at, answered;
    int64_t held, invalid, otherwise, errors; /* refused by 409, by 422, by another 4xx; no answer, or a 5xx */
    char first_error[300];
    char without[300]; /* why the orders are made up; "": they are sales' */
    struct accepted *accepted;
    size_t accepted_n;
    double *took;
    size_t took_n;
};

/* --- Asked for */

static int refuse(const char *option, const char *value, const char *rule) {
    fprintf(stderr, "simulate: %s \"%s\": must be %s\n", option, shown(value), rule);
    return 2;
}

static bool number_read(const char *text, const char *ends, double least, double most, double *out) {
    char *end;
    errno = 0;
    double number = text ? strtod(text, &end) : 0;
    if (!text || end == text || errno || (*end && (!strchr(ends, *end) || end[1]))) return false;
    if (*end == 'm') number *= 60;
    *out = number;
    return number >= least && number <= most; /* not for NAN either */
}

static int team_add(struct simulation *s, const char *pair) {
    const char *equals = pair ? strchr(pair, '=') : NULL;
    if (!equals || equals == pair || strlen(equals) > 200 || s->teams_n == TEAMS_MAX)
        return refuse("--team", pair, "NAME=URL");
    struct team *t = &s->teams[s->teams_n++];
    *t = (struct team){.name = strndup(pair, (size_t)(equals - pair))};
    snprintf(t->url, sizeof t->url, "%s", equals + 1);
    return 0;
}

static int option_read(struct simulation *s, const char *option, const char *value) {
    double number = 0;
    if (!strcmp(option, "--rate"))
        return number_read(value, "", 0.1, 5000, &s->rate) ? 0 : refuse(option, value, "returns a second, 0.1 to 5000");
    if (!strcmp(option, "--for"))
        return number_read(value, "sm", 0.1, SECONDS_MAX, &s->seconds)
                   ? 0
                   : refuse(option, value, "a time such as 30s or 2m, of a day at most");
    if (!strcmp(option, "--team")) return team_add(s, value);
    if (!strcmp(option, "--support") || !strcmp(option, "--sales")) {
        *(!strcmp(option, "--sales") ? &s->sales : &s->support) = value;
        return value ? 0 : refuse(option, value, "a URL");
    }
    bool is_seed = !strcmp(option, "--seed"), is_limit = !strcmp(option, "--limit");
    double most = is_seed ? 1e15 : is_limit ? 3600 : 45;
    if (!number_read(value, "", 0, most, &number) || number != floor(number))
        return refuse(
            option, value,
            is_seed    ? "a whole number from 0 to 10^15"
            : is_limit ? "whole seconds, from 0 to 3600"
                       : "a whole number of percent, from 0 to 45");
    if (is_seed)
        s->sample.seed = (uint64_t)number;
    else if (is_limit)
        s->limit = (int)number;
    else
        *(!strcmp(option, "--bad") ? &s->sample.bad : &s->sample.duplicates) = (int)number;
    return 0;
}

static int options_read(struct simulation *s, int n, char *arguments[]) {
    static const char known[] = " --rate --for --seed --limit --duplicates --bad --support --sales --team ";
    for (int i = 0; i < n; i++) {
        char padded[40];
        int length = snprintf(padded, sizeof padded, " %s ", arguments[i]);
        if (!strcmp(arguments[i], "--json")) {
            s->as_json = true;
        } else if (length >= (int)sizeof padded || strncmp(arguments[i], "--", 2) != 0 || !strstr(known, padded)) {
            fprintf(stderr, "simulate: \"%s\": no such option\n", shown(arguments[i]));
            return 2;
        } else {
            const char *value = i + 1 < n ? arguments[i + 1] : NULL;
            int status = option_read(s, arguments[i++], value);
            if (status) return status;
        }
    }
    if (s->support) return 0;
    return refuse("--support", NULL, "given: support's URL");
}

/* --- The load */

static void accept_note(struct simulation *s, const struct load_answer *a) {
    json_t *said = json_loads(a->body, 0, NULL);
    const char *id = json_string_value(json_object_get(said, "return_id"));
    struct accepted *one = &s->accepted[s->accepted_n++];
    one->due_at = a->due_at;
    snprintf(one->id, sizeof one->id, "%s", id ? id : "");
    json_decref(said);
}

static void answered(void *simulation, const struct load_answer *a) {
    struct simulation *s = simulation;
    s->answered++;
    if (a->status >= 200 && a->status < 500) s->took[s->took_n++] = a->ms;
    if (a->status == 202) {
        accept_note(s, a);
    } else if (a->status == 409) {
        s->held++;
    } else if (a->status == 422) {
        s->invalid++;
    } else if (a->status >= 400 && a->status < 500) {
        s->otherwise++;
    } else {
        if (!s->errors++) snprintf(s->first_error, sizeof s->first_error, "%d %.280s", a->status, a->body);
    }
}

static void bar_draw(const struct simulation *s, const char *what, size_t done, size_t of) {
    int filled = of ? (int)(BAR * done / of) : BAR;
    if (!s->on_terminal) return;
    fprintf(stderr, "\r\033[K[");
    for (int i = 0; i < BAR; i++) fputs(i < filled ? "█" : "·", stderr);
    fprintf(stderr, "] %s %zu of %zu", what, done, of);
    fflush(stderr);
}

static bool turn(void *simulation) {
    const struct simulation *s = simulation;
    bar_draw(s, "submitted", (size_t)s->answered, (size_t)s->count);
    return true;
}

/* --- What the teams made of it */

static json_t *ask(struct team *t, const char *query) {
    char url[400], *text = NULL;
    struct failure why;
    int status = 0;
    snprintf(url, sizeof url, "%s/api/audit?%s", t->url, query);
    json_t *said =
        load_ask(url, NULL, ANSWER_MS, &status, &text, &why) == OK && status == 200 ? json_loads(text, 0, NULL) : NULL;
    free(text);
    t->running = said;
    return said;
}

static int64_t row_id(const json_t *row) {
    return json_integer_value(json_object_get(row, "id"));
}

static void team_begin(struct team *t) {
    json_t *said = ask(t, "limit=1");
    t->seen = row_id(json_array_get(json_object_get(said, "rows"), 0));
    json_decref(said);
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct accepted *)a)->id, ((const struct accepted *)b)->id);
}

static void row_note(const struct simulation *s, struct team *t, const json_t *row) {
    struct accepted wanted;
    const char *outcome = json_get_text(row, "outcome");
    int64_t at;
    snprintf(wanted.id, sizeof wanted.id, "%s", json_get_text(row, "return_id"));
    const struct accepted *found =
        *wanted.id ? bsearch(&wanted, s->accepted, s->accepted_n, sizeof wanted, by_id) : NULL;
    if (!found || !time_parse(json_get_text(row, "at"), &at)) return;
    double *delay = &t->delays[found - s->accepted];
    if (!strcmp(outcome, "quarantined")) t->quarantined++;
    if (!isnan(*delay) || (strcmp(outcome, "handled") != 0 && strcmp(outcome, "declined") != 0)) return;
    *delay = (double)(at - found->due_at);
    t->handled++;
    t->declined += !strcmp(outcome, "declined");
}

/* The rows since the last look, newest first. */
static void team_look(const struct simulation *s, struct team *t) {
    char query[80] = "";
    int64_t newest = 0, at = 0, last = INT64_MAX;
    while (last > t->seen + 1) {
        snprintf(query, sizeof query, "limit=%d", PAGE);
        if (newest) snprintf(query, sizeof query, "limit=%d&before=%lld", PAGE, (long long)last);
        json_t *said = ask(t, query), *row = NULL;
        size_t i;
        if (!said) return; /* what was noted is noted; the next look begins anew */
        json_array_foreach(json_object_get(said, "rows"), i, row) {
            last = row_id(row);
            if (!newest) newest = last;
            if (last <= t->seen) break;
            row_note(s, t, row);
        }
        bool more = json_is_integer(json_object_get(said, "next"));
        bool older = row && time_parse(json_get_text(row, "at"), &at) && at < s->began_at - 1000;
        json_decref(said);
        if (!more || older || last <= t->seen) break;
    }
    if (newest) t->seen = newest;
}

static bool all_handled(const struct simulation *s) {
    for (int i = 0; i < s->teams_n; i++)
        if (s->teams[i].running && s->teams[i].handled < s->accepted_n) return false;
    return true;
}

static void teams_follow(struct simulation *s) {
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
        if (all_handled(s) || steady_ms() >= until) return;
        usleep(LOOK_MS * 1000);
    }
}

/* --- Saying it */

static size_t team_delays(const struct simulation *s, const struct team *t, double *out) {
    size_t n = 0;
    for (size_t i = 0; i < s->accepted_n; i++)
        if (!isnan(t->delays[i])) out[n++] = t->delays[i];
    return n;
}

static json_t *figures_json(double *values, size_t n) {
    if (!n) return json_pack("{s:n, s:n, s:n}", "p50_ms", "p99_ms", "max_ms");
    return json_pack(
        "{s:f, s:f, s:f}", "p50_ms", load_percentile(values, n, 50), "p99_ms", load_percentile(values, n, 99), "max_ms",
        load_percentile(values, n, 100));
}

static json_t *result_json(struct simulation *s, double *room) {
    json_int_t planned[3] = {0};
    json_t *teams = json_array();
    for (int64_t n = 0; n < s->answered; n++) planned[sample_kind(&s->sample, n)]++;
    for (int i = 0; i < s->teams_n; i++) {
        const struct team *t = &s->teams[i];
        json_t *delay = figures_json(room, team_delays(s, t, room));
        json_array_append_new(
            teams, json_pack(
                       "{s:s, s:b, s:I, s:I, s:I, s:I, s:o}", "team", t->name, "running", t->running, "handled",
                       (json_int_t)t->handled, "not_handled", (json_int_t)(s->accepted_n - t->handled), "quarantined",
                       (json_int_t)t->quarantined, "declined", (json_int_t)t->declined, "submit_to_handled", delay));
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
    if (json_is_null(json_object_get(figures, "p50_ms"))) return;
    printf(
        "p50 %8.1f ms   p99 %8.1f ms   most %8.1f ms", json_real_value(json_object_get(figures, "p50_ms")),
        json_real_value(json_object_get(figures, "p99_ms")), json_real_value(json_object_get(figures, "max_ms")));
}

static void result_say(const struct simulation *s, const json_t *result) {
    json_t *planned = json_object_get(result, "planned"), *team;
    size_t i;
    printf(
        "seed %llu, run %s: %lld returns at %g a second\n", (unsigned long long)s->sample.seed, shown(s->sample.run),
        (long long)s->answered, s->rate);
    printf("  accepted       %8zu\n", s->accepted_n);
    printf(
        "  refused        %8lld   409, its item is in an open return: %lld (%lld meant to be); 422, a field is wrong: %lld (%lld meant to be)",
        (long long)(s->held + s->invalid + s->otherwise), (long long)s->held,
        (long long)json_integer_value(json_object_get(planned, "duplicates")), (long long)s->invalid,
        (long long)json_integer_value(json_object_get(planned, "bad")));
    printf(s->otherwise ? "; otherwise: %lld\n" : "\n", (long long)s->otherwise);
    printf(
        "  errors         %8lld%s%s\n", (long long)s->errors, s->errors ? "   the first: " : "", shown(s->first_error));
    printf("\n  submit                    ");
    figures_say(json_object_get(result, "submit"));
    printf("\n");
    json_array_foreach(json_object_get(result, "teams"), i, team) {
        const struct team *t = &s->teams[i];
        printf("  %-14s %8zu   ", shown(t->name), t->handled);
        figures_say(json_object_get(team, "submit_to_handled"));
        if (t->handled < s->accepted_n)
            printf("   %zu %s", s->accepted_n - t->handled, t->running ? "NOT HANDLED" : "wait: it does not run");
        if (t->quarantined) printf("   %zu quarantined", t->quarantined);
        if (t->declined) printf("   %zu declined", t->declined);
        printf("\n");
    }
    printf("\nSubmit: from the moment a return was due to its answer. Teams: from that moment to the one in the audit\n"
           "row, which the transaction with the effect writes.\n");
}

/* --- All together */

static bool room_make(struct simulation *s) {
    size_t n = (size_t)s->count + 1;
    s->accepted = calloc(n, sizeof *s->accepted);
    s->took = calloc(n, sizeof *s->took);
    bool ok = s->accepted && s->took;
    for (int i = 0; ok && i < s->teams_n; i++) {
        double *delays = s->teams[i].delays = malloc(n * sizeof *delays);
        ok = delays;
        for (size_t k = 0; ok && k < n; k++) delays[k] = NAN;
    }
    return ok;
}

static void room_free(struct simulation *s) {
    free(s->accepted);
    free(s->took);
    for (int i = 0; i < s->teams_n; i++) {
        free(s->teams[i].delays);
        free((char *)s->teams[i].name);
    }
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
    struct load load = {
        .url = url,
        .rate = s->rate,
        .count = s->count,
        .connections = CONNECTIONS,
        .timeout_ms = ANSWER_MS,
        .context = s,
        .body = sample_text,
        .answered = answered,
        .turn = turn};
    s->began_at = clock_ms();
    return load_run(&load, why);
}

static int simulate(struct simulation *s) {
    struct failure why;
    orders_place(s);
    for (int i = 0; i < s->teams_n; i++) team_begin(&s->teams[i]);
    verdict v = submit_all(s, &why);
    if (v != OK) fprintf(stderr, "simulate: stopped early: %s\n", shown(why.text));
    teams_follow(s);
    if (s->on_terminal) fprintf(stderr, "\r\033[K");
    double *room = calloc((size_t)s->count + 1, sizeof *room);
    json_t *result = room ? result_json(s, room) : NULL;
    free(room);
    if (s->as_json) {
        (void)show_json(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        printf("\n");
    } else {
        result_say(s, result);
    }
    json_decref(result);
    return v == OK && all_handled(s) && s->accepted_n ? 0 : 1;
}

int simulate_run(int n, char *arguments[]) {
    struct simulation s = {
        .rate = 20,
        .seconds = 10,
        .limit = 60,
        .on_terminal = isatty(STDERR_FILENO),
        .sample = {.seed = (uint64_t)clock_ms() % 1000000, .duplicates = 5, .bad = 3}};
    int status = options_read(&s, n, arguments);
    sample_run_name(s.sample.run);
    s.count = (int64_t)(s.rate * s.seconds + 0.5);
    if (s.count < 1) s.count = 1;
    if (!status && !room_make(&s)) {
        fprintf(stderr, "simulate: out of memory for %lld returns\n", (long long)s.count);
        status = 2;
    }
    if (!status) status = simulate(&s);
    room_free(&s);
    return status;
}
