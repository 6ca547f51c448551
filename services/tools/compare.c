#include "compare.h"

#include "cli.h"

#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/web/caller.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { UNKNOWN = 2, EVERY_MS = 250, ANSWER_MS = 10000 };

static int refuse(const char *text) {
    fprintf(stderr, "%s\n", shown(text));
    return UNKNOWN;
}

/* --- Asking */

/* NULL: there was no good answer, and that was said. The caller's. */
static json_t *ask(struct caller *c, const char *site, const char *body) {
    struct heard heard;
    char url[600];
    snprintf(url, sizeof url, "%.500s/api/compare", site);
    struct outcall o = {.url = url, .body = body, .connect_ms = ANSWER_MS, .total_ms = ANSWER_MS};
    caller_ask(c, &o, &heard);
    if (heard.status / 100 == 2 && heard.said) return heard.said;
    const char *detail = json_string_value(json_object_get(heard.said, "detail"));
    json_t *error, *errors = json_object_get(heard.said, "errors");
    size_t i;
    if (heard.status)
        fprintf(stderr, "support answered %d: %s\n", heard.status, shown(detail));
    else
        fprintf(
            stderr, "support does not answer at %s: %s. Is it up? ./returns status\n", shown(site), shown(heard.why));
    json_array_foreach(errors, i, error) fprintf(
        stderr, "  %s %s\n", shown(json_string_value(json_object_get(error, "field"))),
        shown(json_string_value(json_object_get(error, "detail"))));
    json_decref(heard.said);
    return NULL;
}

/* --- Printing */

static void progress(const json_t *run) {
    const json_t *calls = json_array_get(json_object_get(run, "ways"), 0);
    const json_t *event = json_array_get(json_object_get(run, "ways"), 1);
    if (!isatty(STDERR_FILENO)) return;
    fprintf(
        stderr, "\r\033[K%.1f s: four calls %lld of %lld, %lld failed; one event %lld of %lld, %lld late",
        (double)json_get_int(run, "elapsed_ms") / 1000, json_get_int(calls, "accepted"), json_get_int(calls, "sent"),
        json_get_int(calls, "failed"), json_get_int(event, "accepted"), json_get_int(event, "sent"),
        json_get_int(event, "late"));
}

static void print_wait(const char *label, const json_t *ways, const char *name) {
    printf("%-34s", label);
    for (size_t i = 0; i < 2; i++) {
        const json_t *us = json_object_get(json_object_get(json_array_get(ways, i), "wait_us"), name);
        printf("%12.1f ms", (double)json_integer_value(us) / 1000);
    }
    printf("\n");
}

static void print_count(const char *label, const json_t *ways, const char *name) {
    printf(
        "%-34s%12lld   %12lld\n", label, json_get_int(json_array_get(ways, 0), name),
        json_get_int(json_array_get(ways, 1), name));
}

static void print_list(const json_t *run, const char *list, const char *verb, const char *name) {
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(run, list), i, one)
        printf("%lld %s: %s\n", json_get_int(one, "n"), verb, shown(json_string_value(json_object_get(one, name))));
}

static void print_run(const json_t *run) {
    const json_t *ways = json_object_get(run, "ways");
    const char *made_up = json_string_value(json_object_get(run, "orders_made_up"));
    if (made_up) printf("The orders are made up, and sales may decline refunds of them: %s\n\n", shown(made_up));
    printf(
        "%lld returns a second by each way, for %lld s\n\n%-34s%15s%15s\n", json_get_int(run, "rate"),
        json_get_int(run, "seconds"), "", "four calls", "one event");
    print_wait("customer waits, half less than", ways, "p50");
    print_wait("99 of 100 less than", ways, "p99");
    print_wait("at most", ways, "max");
    print_count("submitted", ways, "sent");
    print_count("succeeded", ways, "accepted");
    print_count("failed, for the customer", ways, "failed");
    print_count("left half done", ways, "half_done");
    print_count("late: safe, and going to be done", ways, "late");
    printf("\n");
    print_list(run, "half_done", "half done", "words");
    print_list(run, "failures", "failed", "reason");
    print_list(run, "late", "late, waiting for", "team");
}

/* --- Running */

static json_t *run_follow(struct caller *c, const char *site) {
    for (;;) {
        json_t *run = ask(c, site, NULL);
        if (!run) return NULL;
        progress(run);
        if (!json_is_true(json_object_get(run, "running"))) return run;
        json_decref(run);
        nanosleep(&(struct timespec){0, EVERY_MS * 1000000L}, NULL);
    }
}

static int run_all(const char *site, const char *rate, const char *seconds, bool as_json) {
    struct caller *c;
    struct failure why;
    if (caller_start(&c, &why) != OK) return refuse(why.text);
    json_t *asked = json_pack("{s:s, s:s}", "rate", rate, "seconds", seconds), *run = NULL;
    char *body = json_dumps(asked, 0);
    json_t *begun = body ? ask(c, site, body) : NULL;
    if (begun) run = run_follow(c, site);
    if (run && isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
    if (run && as_json)
        (void)show_json(run, stdout, JSON_INDENT(2)), printf("\n");
    else if (run)
        print_run(run);
    json_decref(asked);
    json_decref(begun);
    json_decref(run);
    free(body);
    caller_stop(&c);
    return run ? 0 : UNKNOWN;
}

int compare_run(int n, char *arguments[]) {
    const char *rate = "5", *seconds = "20", *site = NULL;
    bool as_json = false;
    for (int i = 0; i < n; i++) {
        if (!strcmp(arguments[i], "--json"))
            as_json = true;
        else if (!strcmp(arguments[i], "--rate") && i + 1 < n)
            rate = arguments[++i];
        else if (!strcmp(arguments[i], "--for") && i + 1 < n)
            seconds = arguments[++i];
        else if (!site && arguments[i][0] != '-')
            site = arguments[i];
        else
            return fprintf(stderr, "\"%s\": ", shown(arguments[i])),
                   refuse("no such option. See ./returns compare --help");
    }
    if (!site) return refuse("compare: name support's URL");
    return run_all(site, rate, seconds, as_json);
}
