/* What ./returns cannot do in the shell: one program, a subcommand each. Exit status: 0; 1: it looked, and the answer
 * is no; 2: it could not look, or was asked wrongly. */
#include "cli.h"
#include "compare.h"
#include "new.h"
#include "reconcile.h"
#include "simulate.h"
#include "snapshots.h"

#include "chassis/audit/audit.h"
#include "chassis/base/log.h"
#include "chassis/base/terminal.h"
#include "chassis/outgoing/audit_heads.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { YES = 0, NO = 1, UNKNOWN = 2 };

static int refuse(const char *text) {
    fprintf(stderr, "%s\n", shown(text));
    return UNKNOWN;
}

/* --- audit verify FILE [--heads FILE|-] [--json] */

static int say(const json_t *answer, const char *path) {
    const json_t *broken = json_object_get(answer, "broken"), *published = json_object_get(answer, "published");
    long long rows = json_integer_value(json_object_get(answer, "rows"));
    const char *chain = json_string_value(json_object_get(broken, "chain"));
    long long id = json_integer_value(json_object_get(broken, "id"));
    if (!broken) {
        printf(
            "%s: intact, %lld rows in %zu chains", shown(path), rows,
            json_array_size(json_object_get(answer, "chains")));
        long long heads = json_integer_value(json_object_get(published, "heads"));
        if (heads)
            printf(
                "; it agrees with %lld published heads, the last at %lld rows", heads,
                (long long)json_integer_value(json_object_get(published, "rows")));
        else
            printf("; there were no published heads to compare with, so a tail that was cut off would not be missed");
        printf("\n");
        return YES;
    }
    printf("%s: BROKEN", shown(path));
    if (id) printf(" at row %lld", id);
    if (chain) printf(" of the chain %s", shown(chain));
    printf(": %s. The %lld rows before fit.\n", shown(json_string_value(json_object_get(broken, "reason"))), rows);
    return NO;
}

static int audit_verify_run(int n, char *arguments[]) {
    const char *path = NULL, *heads_path = NULL;
    bool as_json = false;
    for (int i = 0; i < n; i++) {
        if (!strcmp(arguments[i], "--json"))
            as_json = true;
        else if (!strcmp(arguments[i], "--heads") && i + 1 < n)
            heads_path = arguments[++i];
        else if (!path && arguments[i][0] != '-')
            path = arguments[i];
        else
            return refuse("usage: returns_tool audit verify FILE [--heads FILE|-] [--json]");
    }
    if (!path) return refuse("audit verify: name the file, a database or lines of JSON");
    FILE *heads = !heads_path ? NULL : !strcmp(heads_path, "-") ? stdin : fopen(heads_path, "re");
    if (heads_path && !heads) {
        fprintf(stderr, "could not open \"%s\": %s\n", shown(heads_path), strerror(errno));
        return UNKNOWN;
    }
    struct failure why;
    json_t *answer = NULL;
    verdict v = audit_verify_file(path, heads, &answer, &why);
    if (heads && heads != stdin) fclose(heads);
    if (v != OK) return refuse(why.text);
    int status = as_json ? json_is_true(json_object_get(answer, "intact")) ? YES : NO : say(answer, path);
    if (as_json) (void)show_json(answer, stdout, JSON_INDENT(2));
    if (as_json) printf("\n");
    json_decref(answer);
    return status;
}

/* --- audit heads NAME [SETTING…] */

static void print_heads(void *context, const json_t *heads) {
    (void)context;
    (void)show_json(heads, stdout, JSON_COMPACT);
    printf("\n");
}

static int audit_heads_run(int n, char *arguments[]) {
    extern char **environ;
    struct settings settings;
    struct failure why;
    if (n < 1 || arguments[0][0] == '-') return refuse("usage: returns_tool audit heads SERVICE [--kafka HOST:PORT …]");
    log_start(arguments[0], LOG_ERROR);
    verdict v = settings_read(&settings, arguments[0], 0, n, arguments, environ, &why);
    if (v == OK) v = audit_heads_read(&settings, print_heads, NULL, &why);
    settings_free(&settings);
    return v == OK && !fflush(stdout) ? YES : refuse(v == OK ? strerror(errno) : why.text);
}

int main(int argc, char *argv[]) {
    if (argc > 3 && !strcmp(argv[1], "audit") && !strcmp(argv[2], "verify"))
        return audit_verify_run(argc - 3, argv + 3);
    if (argc > 1 && !strcmp(argv[1], "simulate")) return simulate_run(argc - 2, argv + 2);
    if (argc > 3 && !strcmp(argv[1], "audit") && !strcmp(argv[2], "heads")) return audit_heads_run(argc - 3, argv + 3);
    static const struct {
        const char *name;
        int (*run)(int n, char *arguments[]);
    } on_topics[] = {
        {"tail", tail_run},
        {"publish", publish_run},
        {"export", export_run},
        {"import", import_run},
        {"forget", forget_run}};
    for (size_t i = 0; argc > 1 && i < sizeof on_topics / sizeof *on_topics; i++)
        if (!strcmp(argv[1], on_topics[i].name)) return on_topics[i].run(argc - 2, argv + 2);
    if (argc > 2 && !strcmp(argv[1], "compare")) return compare_run(argc - 2, argv + 2);
    if (argc > 1 && !strcmp(argv[1], "new")) return new_run(argc - 2, argv + 2);
    if (argc > 1 && !strcmp(argv[1], "reconcile")) return reconcile_main(argc - 2, argv + 2);
    if (argc > 1 && !strcmp(argv[1], "snapshots")) return snapshots_run(argc - 2, argv + 2);
    return refuse("usage: returns_tool audit verify FILE [--heads FILE|-] [--json]\n"
                  "       returns_tool audit heads SERVICE [SETTING…]\n"
                  "       returns_tool simulate --support URL [--team NAME=URL]… [--rate R] [--for T] …\n"
                  "       returns_tool compare URL [--rate R] [--for SECONDS] [--json]\n"
                  "       returns_tool reconcile [--json] [SETTING…]\n"
                  "       returns_tool snapshots [--json] [SETTING…]\n"
                  "       returns_tool new NAME FOLDER PORT TYPE,… 0|1\n"
                  "       returns_tool forget NAME [--topics]\n"
                  "       returns_tool tail|publish|export|import …, as ./returns has them");
}
