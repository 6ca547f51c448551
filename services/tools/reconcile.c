#include "reconcile.h"

#include "cli.h"

#include "../support/reconcile/reconcile.h"

#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FITS = 0, FINDINGS = 1, UNKNOWN = 2 };

static void say_published(const json_t *result) {
    const json_t *one;
    size_t i;
    printf(
        "%s, up to %s: %lld records, up to offset", shown(json_get_text(result, "topic")),
        shown(json_get_text(result, "at")), json_get_int(result, "records"));
    json_array_foreach(json_object_get(result, "watermark"), i, one)
        printf(" [%lld] %lld", json_get_int(one, "partition"), json_get_int(one, "end"));
    printf("\n\n");
}

static void say_late(const json_t *team) {
    char age[DURATION_TEXT];
    if (json_get_int(team, "late"))
        printf(
            "  %lld late, the oldest for %s\n", json_get_int(team, "late"),
            duration_text(json_get_int(team, "oldest_ms"), age));
    if (json_get_int(team, "unsent")) printf("  %lld decided and not published yet\n", json_get_int(team, "unsent"));
    if (!*json_get_text(team, "counted_at"))
        printf("  it publishes no counts; its consumer group passed %lld\n", json_get_int(team, "passed"));
}

static void say_teams(const json_t *result) {
    const json_t *one;
    size_t i;
    printf(
        "%-16s %9s %9s %12s %8s %9s %6s %8s %8s %8s\n", "team", "handled", "declined", "quarantined", "skipped",
        "duplicate", "late", "missing", "doubled", "changed");
    json_array_foreach(json_object_get(result, "teams"), i, one) {
        printf(
            "%-16s %9lld %9lld %12lld %8lld %9lld %6lld %8lld %8lld %8lld\n", shown(json_get_text(one, "team")),
            json_get_int(one, "handled"), json_get_int(one, "declined"), json_get_int(one, "quarantined"),
            json_get_int(one, "skipped"), json_get_int(one, "duplicate"), json_get_int(one, "late"),
            json_get_int(one, "missing"), json_get_int(one, "doubled"), json_get_int(one, "changed"));
        say_late(one);
    }
    printf("\n");
}

static void say_finding(const json_t *one) {
    printf("%s: %s", shown(json_get_text(one, "kind")), shown(json_get_text(one, "team")));
    if (json_is_integer(json_object_get(one, "partition"))) printf(", partition %lld", json_get_int(one, "partition"));
    if (json_is_integer(json_object_get(one, "offset"))) printf(", offset %lld", json_get_int(one, "offset"));
    if (*json_get_text(one, "return_id")) printf(", return %s", shown(json_get_text(one, "return_id")));
    printf(": %s\n", shown(json_get_text(one, "what")));
}

static int say(const json_t *result) {
    const json_t *one;
    size_t i;
    bool fits = json_is_true(json_object_get(result, "fits"));
    say_published(result);
    say_teams(result);
    json_array_foreach(json_object_get(result, "findings"), i, one) say_finding(one);
    if (json_get_int(result, "more")) printf("and %lld more\n", json_get_int(result, "more"));
    if (fits) printf("Nothing is missing or doubled.\n");
    return fits ? FITS : FINDINGS;
}

int reconcile_main(int n, char *arguments[]) {
    extern char **environ;
    struct settings settings;
    struct failure why;
    struct reconcile_progress progress = {0};
    json_t *result = NULL;
    bool as_json = n && !strcmp(arguments[0], "--json");
    log_start("support", LOG_ERROR);
    char **given = as_json ? arguments : arguments - 1; /* after a word that is not theirs, as main() has it */
    verdict v = settings_read(&settings, "support", 0, n + !as_json, given, environ, &why);
    if (v == OK) v = reconcile_run(&settings, &progress, &result, &why);
    settings_free(&settings);
    if (v != OK) {
        fprintf(stderr, "could not reconcile: %s\n", shown(why.text));
        return UNKNOWN;
    }
    int status = as_json ? json_is_true(json_object_get(result, "fits")) ? FITS : FINDINGS : say(result);
    if (as_json && (show_json(result, stdout, JSON_INDENT(2)) || printf("\n") < 0)) status = UNKNOWN;
    json_decref(result);
    return fflush(stdout) ? UNKNOWN : status;
}
