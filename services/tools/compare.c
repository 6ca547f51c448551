/* compare: has support run one load through both ways (services/support/traditional/compare.h), and prints how it
 * went. */
#include "cli.h"

#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/web/caller.h"

#include <unistd.h>

enum { EVERY_MS = 250, ANSWER_MS = 10000 };

/* --- Asking */

/* NULL: there was no good answer, and that was said. The caller's. */
static json_t *ask(struct caller *c, const char *site, const char *body) {
    struct heard heard;
    char url[600];
    snprintf(url, sizeof url, "%.500s/api/compare", site);
    caller_ask(c, &(struct outcall){.url = url, .body = body, .connect_ms = ANSWER_MS, .total_ms = ANSWER_MS}, &heard);
    if (heard.status / 100 == 2 && heard.said) return heard.said;
    if (heard.status)
        fprintf(stderr, "support answered %d: %s\n", heard.status, shown(json_get_text(heard.said, "detail")));
    else
        fprintf(
            stderr, "support does not answer at %s: %s. Is it up? ./returns status\n", shown(site), shown(heard.why));
    json_each(i, error, json_object_get(heard.said, "errors"))
        fprintf(stderr, "  %s %s\n", shown(json_get_text(error, "field")), shown(json_get_text(error, "detail")));
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
    json_each(i, one, json_object_get(run, list))
        printf("%lld %s: %s\n", json_get_int(one, "n"), verb, shown(json_get_text(one, name)));
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
    json_t *run;
    while ((run = ask(c, site, NULL))) {
        progress(run);
        if (!json_is_true(json_object_get(run, "running"))) break;
        json_decref(run);
        usleep(EVERY_MS * 1000);
    }
    return run;
}

/* NULL: it could not be run, which was said. The caller's. */
static json_t *run_all(struct caller *c, const char *site, const char *rate, const char *seconds) {
    json_auto_t *asked = json_pack("{s:s, s:s}", "rate", rate, "seconds", seconds);
    text_auto body = json_dumps(asked, 0);
    json_auto_t *begun = body ? ask(c, site, body) : NULL;
    json_t *run = begun ? run_follow(c, site) : NULL;
    if (run && isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
    return run;
}

int compare_run(int n, char *arguments[]) {
    const char *rate = "5", *seconds = "20";
    bool as_json = false;
    struct cli cli = {0};
    struct failure why;
    struct caller *c;
    const struct cli_option options[] = {
        {"--rate", .value = &rate}, {"--for", .value = &seconds}, {"--json", .given = &as_json}, {0}};
    verdict v = cli_options(&cli, n, arguments, options, &why);
    if (v == OK && cli.words_n > 1) v = fail(&why, REJECT, "\"%s\": no such option", cli.words[1]);
    if (v != OK) {
        fprintf(stderr, "%s. See ./returns compare --help\n", shown(why.text));
        return CLI_UNKNOWN;
    }
    if (!cli.words_n) v = fail(&why, REJECT, "compare: name support's URL");
    if (v == OK) v = caller_start(&c, &why);
    if (v != OK) return cli_end(v, &why);
    json_auto_t *run = run_all(c, cli.words[0], rate, seconds);
    caller_stop(&c);
    if (run && as_json)
        cli_print(run, JSON_INDENT(2));
    else if (run)
        print_run(run);
    return run ? CLI_YES : CLI_UNKNOWN;
}
