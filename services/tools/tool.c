/* What ./returns cannot do in the shell: one program, a verb each. Exit status: 0, or 1: it looked, and the answer is
 * no, 2: it could not look, or was asked wrongly. */
#include "cli.h"

#include <string.h>

/* least: words that it has at the least behind its own. */
static const struct verb {
    const char *name, *part;
    int least;
    cli_verb *run;
} verbs[] = {
    {"audit", "verify", 1, audit_verify_run},
    {"audit", "heads", 1, audit_heads_run},
    {"compare", NULL, 1, compare_run},
    {"export", NULL, 0, export_run},
    {"forget", NULL, 0, forget_run},
    {"import", NULL, 0, import_run},
    {"new", NULL, 0, new_run},
    {"publish", NULL, 0, publish_run},
    {"reconcile", NULL, 0, reconcile_main},
    {"simulate", NULL, 0, simulate_run},
    {"snapshots", NULL, 0, snapshots_run},
    {"tail", NULL, 0, tail_run},
};

int main(int argc, char *argv[]) {
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        const struct verb *v = &verbs[i];
        int own = v->part ? 3 : 2;
        if (argc >= own + v->least && !strcmp(argv[1], v->name) && (!v->part || !strcmp(argv[2], v->part)))
            return v->run(argc - own, argv + own);
    }
    fputs(
        "usage: returns_tool audit verify FILE [--heads FILE|-] [--json]\n"
        "       returns_tool audit heads SERVICE [SETTING…]\n"
        "       returns_tool simulate --support URL [--team NAME=URL]… [--rate R] [--for T] …\n"
        "       returns_tool compare URL [--rate R] [--for SECONDS] [--json]\n"
        "       returns_tool reconcile [--json] [SETTING…]\n"
        "       returns_tool snapshots [--json] [SETTING…]\n"
        "       returns_tool new NAME FOLDER PORT TYPE,… 0|1\n"
        "       returns_tool forget NAME [--topics]\n"
        "       returns_tool tail|publish|export|import …, as ./returns has them\n",
        stderr);
    return CLI_UNKNOWN;
}
