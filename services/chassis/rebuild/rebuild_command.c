#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"

#include "chassis/base/log.h"
#include "chassis/base/terminal.h"
#include "chassis/kafka/client.h"
#include "chassis/rebuild/rebuild.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES = 20, LINES_MAX = 1000000 };

struct command {
    struct rebuild_options options;
    const char *name, *ready;
    bool json, terminal;
    int64_t told;
};

/* --- What it says meanwhile: on a terminal one line that is written over, else one every ten seconds. */

static void command_progress(void *context, const char *doing, int64_t done, int64_t all) {
    struct command *c = context;
    int64_t now = steady_ms();
    if (!c->terminal && now < c->told) return;
    c->told = now + 10000;
    fprintf(stderr, "%s%s: %s", c->terminal ? "\r\033[K" : "", c->name, doing);
    if (all) fprintf(stderr, " %lld of %lld", (long long)done, (long long)all);
    fputs(c->terminal ? "" : "\n", stderr);
    fflush(stderr);
}

static void command_caught_up(void *context) {
    struct command *c = context;
    fprintf(stderr, "%s%s: waits for the running service to be stopped\n", c->terminal ? "\r\033[K" : "", c->name);
    int fd = c->ready ? open(c->ready, O_CREAT | O_WRONLY | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) close(fd);
}

/* --- What it says in the end */

static bool is(const json_t *j, const char *name) {
    return json_is_true(json_object_get(j, name));
}

static void print_json(const char *before, const json_t *value) {
    fputs(shown(before), stdout);
    if (value) (void)show_json(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void print_line(const json_t *line) {
    const json_t *old = json_object_get(line, "old"), *new = json_object_get(line, "new"), *value;
    const char *column;
    printf("  %s %s", json_is_null(old) ? "+" : json_is_null(new) ? "-" : "~", shown(json_get_text(line, "table")));
    print_json(" ", json_object_get(line, "key"));
    if (json_is_null(old) || json_is_null(new)) {
        print_json(" ", json_is_null(old) ? new : old);
    } else {
        json_object_foreach((json_t *)old, column, value) {
            printf("  %s: ", shown(column));
            print_json("", value);
            print_json(" → ", json_object_get(new, column));
        }
    }
    putchar('\n');
}

static void print_event(const json_t *line) {
    const char *was = json_get_text(line, "was"), *would_be = json_get_text(line, "would_be");
    printf("  return %s: %s → ", shown(json_get_text(line, "return_id")), *was ? shown(was) : "nothing");
    if (*would_be) print_json(would_be, NULL);
    if (*would_be) print_json(" ", json_object_get(line, "fields"));
    puts(*would_be ? "" : "nothing");
}

static void print_rejected(const json_t *report) {
    const json_t *rejected = json_object_get(report, "rejected");
    if (!json_get_int(rejected, "n")) return;
    printf(
        "%lld records%s are rejected; %s:\n", json_get_int(rejected, "n"),
        is(report, "lost") ? "" : " that had their effect",
        is(report, "switched") ? "they are open dead letters" : "they would become dead letters");
    json_each(i, one, json_object_get(rejected, "lines"))
        printf(
            "  %s[%lld]@%lld, return %s%s: %s\n", shown(json_get_text(one, "topic")), json_get_int(one, "partition"),
            json_get_int(one, "offset"), shown(json_get_text(one, "return_id")),
            is(one, "answered") ? ", which was answered" : "", shown(json_get_text(one, "reason")));
}

static void print_differences(const json_t *report) {
    const json_t *differences = json_object_get(report, "differences");
    const json_t *events = json_object_get(report, "events");
    if (json_is_object(differences)) {
        printf("%lld rows differ (+ only new, - only old, ~ changed, old → new):\n", json_get_int(differences, "rows"));
        json_each(i, one, json_object_get(differences, "tables"))
            printf(
                "  %s: %lld only old, %lld only new, %lld changed\n", shown(json_get_text(one, "table")),
                json_get_int(one, "only_old"), json_get_int(one, "only_new"), json_get_int(one, "changed"));
        json_each(i, one, json_object_get(differences, "lines")) print_line(one);
    }
    print_rejected(report);
    if (!json_get_int(events, "different")) return;
    printf("%lld events differ (what was published → what would be now):\n", json_get_int(events, "different"));
    json_each(i, one, json_object_get(events, "lines")) print_event(one);
}

static bool differs(const json_t *report) {
    return (!is(report, "lost") && !is(report, "identical")) ||
           json_get_int(json_object_get(report, "events"), "different");
}

static int exit_code(const json_t *report, bool switch_anyway) {
    if (is(report, "switched") && json_get_int(json_object_get(report, "rejected"), "n")) return 3;
    return differs(report) && !(is(report, "switched") && switch_anyway);
}

static void print_report(const json_t *report) {
    printf(
        "%s: %lld records replayed in %.1f s, %lld of them answered before; %lld rows of state\n",
        json_get_text(report, "service"), json_get_int(report, "records"),
        json_real_value(json_object_get(report, "seconds")), json_get_int(report, "answered"),
        json_get_int(report, "rows"));
    printf("  rebuilt %s\n", json_get_text(report, "hash"));
    if (!is(report, "lost"))
        printf("  before  %s%s\n", json_get_text(report, "hash_before"), is(report, "identical") ? " (identical)" : "");
    print_differences(report);
    if (is(report, "older"))
        printf(
            "The database was older than its topics. What no topic has, such as the audit log, is in %s alone.\n",
            shown(json_get_text(report, "before")));
    else if (is(report, "lost"))
        puts("There was no database. What no topic has, such as the audit log, is not back.");
    if (json_get_int(report, "left"))
        printf(
            "%lld events that were decided while Kafka was away are taken over, and published once the service runs.\n",
            json_get_int(report, "left"));
    if (is(report, "shadow"))
        puts("Nothing was changed.");
    else if (!is(report, "switched"))
        puts("The two differ, so nothing was changed. To take the rebuilt one all the same: --switch-anyway");
    else if (!is(report, "lost"))
        printf("It is in use now; the one before is kept as %s\n", shown(json_get_text(report, "before")));
}

/* --- Flags */

/* Takes its own flags out of argv, and leaves those that are settings. False: usage. */
static bool flags_take(struct command *c, int *argc, char *argv[]) {
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (!strcmp(argv[i], "--shadow")) {
            c->options.shadow = true;
        } else if (!strcmp(argv[i], "--json")) {
            c->json = true;
        } else if (!strcmp(argv[i], "--switch-anyway")) {
            c->options.switch_anyway = true;
        } else if (!strcmp(argv[i], "--ready") && i + 1 < *argc) {
            c->ready = argv[++i];
        } else if (!strcmp(argv[i], "--lines") && i + 1 < *argc) {
            const char *n = argv[++i];
            if (strlen(n) > 6 || !*n || n[strspn(n, "0123456789")]) {
                fprintf(
                    stderr, "%s: --lines \"%s\": must be a number from 0 to %d\n", c->name, shown(n), LINES_MAX - 1);
                return false;
            }
            c->options.most = atoi(n);
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    return true;
}

static int command_run(struct command *c, const struct service *service, const struct settings *settings) {
    struct failure why = {0};
    json_t *report = NULL;
    verdict v = rebuild_run(service, settings, &c->options, &report, &why);
    if (c->terminal) fputs("\r\033[K", stderr);
    if (v != OK) {
        fprintf(stderr, "%s: nothing was changed: %s\n", c->name, shown(why.text));
        return 2;
    }
    if (c->json)
        print_json("", report), putchar('\n');
    else
        print_report(report);
    int code = exit_code(report, c->options.switch_anyway);
    json_decref(report);
    return code;
}

int rebuild_main(const struct service *service, const char *name, int port, int argc, char *argv[]) {
    extern char **environ;
    struct settings settings;
    struct failure why;
    struct command c = {.name = name, .terminal = isatty(2), .options = {.most = LINES}};
    c.options.caught_up = command_caught_up;
    c.options.progress = command_progress;
    c.options.context = &c;
    log_start(name, LOG_WARNING);
    signal(SIGPIPE, SIG_IGN);
    if (!flags_take(&c, &argc, argv)) return 2;
    verdict v = settings_read(&settings, name, port, argc, argv, environ, &why);
    if (v == OK) v = kafka_check(&settings, &why);
    if (v == OK && service->in_memory)
        v = fail(&why, REJECT, "it keeps nothing that could be rebuilt: every start reads its topics anew");
    if (v != OK) fprintf(stderr, "%s: %s\n", name, shown(why.text));
    int code = v == OK ? command_run(&c, service, &settings) : 2;
    settings_free(&settings);
    return code;
}
