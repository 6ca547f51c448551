/* reconcile: holds what support published against what each team did with it (services/support/reconcile/reconcile.h),
 * and prints it. */
#include "cli.h"

#include "../support/reconcile/reconcile.h"

#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"

static void say_published(const json_t *result) {
    printf(
        "%s, up to %s: %lld records, up to offset", shown(json_get_text(result, "topic")),
        shown(json_get_text(result, "at")), json_get_int(result, "records"));
    json_each(i, one, json_object_get(result, "watermark"))
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
    printf(
        "%-16s %9s %9s %12s %8s %9s %6s %8s %8s %8s\n", "team", "handled", "declined", "quarantined", "skipped",
        "duplicate", "late", "missing", "doubled", "changed");
    json_each(i, one, json_object_get(result, "teams")) {
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

static void say(const json_t *result) {
    say_published(result);
    say_teams(result);
    json_each(i, one, json_object_get(result, "findings")) say_finding(one);
    if (json_get_int(result, "more")) printf("and %lld more\n", json_get_int(result, "more"));
    if (json_is_true(json_object_get(result, "fits"))) printf("Nothing is missing or doubled.\n");
}

int reconcile_main(int n, char *arguments[]) {
    cli_auto c = {0};
    struct failure why;
    struct reconcile_progress progress = {0};
    json_auto_t *result = NULL;
    bool as_json;
    verdict v = cli_settings(&c.settings, "support", n, arguments, &as_json, &why);
    if (v == OK) v = reconcile_run(&c.settings, &progress, &result, &why);
    if (v != OK) {
        fprintf(stderr, "could not reconcile: %s\n", shown(why.text));
        return CLI_UNKNOWN;
    }
    if (as_json)
        cli_print(result, JSON_INDENT(2));
    else
        say(result);
    if (fflush(stdout) || ferror(stdout)) return CLI_UNKNOWN;
    return json_is_true(json_object_get(result, "fits")) ? CLI_YES : CLI_NO;
}
