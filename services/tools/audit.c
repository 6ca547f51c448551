/* audit verify: holds an audit log against its own chains, and against the heads that were published of it. audit
 * heads: prints these. */
#include "chassis/audit/audit.h"

#include "cli.h"

#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/outgoing/audit_heads.h"

#include <errno.h>
#include <string.h>

static void say(const json_t *answer, const char *path) {
    const json_t *broken = json_object_get(answer, "broken"), *published = json_object_get(answer, "published");
    long long rows = json_get_int(answer, "rows"), heads = json_get_int(published, "heads");
    if (broken) {
        printf("%s: BROKEN", shown(path));
        if (json_get_int(broken, "id")) printf(" at row %lld", json_get_int(broken, "id"));
        if (*json_get_text(broken, "chain")) printf(" of the chain %s", shown(json_get_text(broken, "chain")));
        printf(": %s. The %lld rows before fit.\n", shown(json_get_text(broken, "reason")), rows);
        return;
    }
    printf(
        "%s: intact, %lld rows in %zu chains", shown(path), rows, json_array_size(json_object_get(answer, "chains")));
    if (heads)
        printf(
            "; it agrees with %lld published heads, the last at %lld rows\n", heads, json_get_int(published, "rows"));
    else
        printf("; there were no published heads to compare with, so a tail that was cut off would not be missed\n");
}

int audit_verify_run(int n, char *arguments[]) {
    const char *heads_path = NULL;
    bool as_json = false;
    struct cli c = {0};
    struct failure why;
    const struct cli_option options[] = {{"--heads", .value = &heads_path}, {"--json", .given = &as_json}, {0}};
    json_auto_t *answer = NULL;
    if (cli_options(&c, n, arguments, options, &why) != OK || c.words_n > 1)
        return cli_end(fail(&why, REJECT, "usage: returns_tool audit verify FILE [--heads FILE|-] [--json]"), &why);
    if (!c.words_n)
        return cli_end(fail(&why, REJECT, "audit verify: name the file, a database or lines of JSON"), &why);
    FILE *heads = !heads_path ? NULL : !strcmp(heads_path, "-") ? stdin : fopen(heads_path, "re");
    if (heads_path && !heads)
        return cli_end(fail(&why, RETRY, "could not open \"%s\": %s", heads_path, strerror(errno)), &why);
    verdict v = audit_verify_file(c.words[0], heads, &answer, &why);
    if (heads && heads != stdin) fclose(heads);
    if (v != OK) return cli_end(v, &why);
    if (as_json)
        cli_print(answer, JSON_INDENT(2));
    else
        say(answer, c.words[0]);
    return json_object_get(answer, "broken") ? CLI_NO : CLI_YES;
}

static void print_heads(void *context, const json_t *heads) {
    (void)context;
    cli_print(heads, JSON_COMPACT);
}

int audit_heads_run(int n, char *arguments[]) {
    cli_auto c = {0};
    struct failure why;
    if (arguments[0][0] == '-')
        return cli_end(fail(&why, REJECT, "usage: returns_tool audit heads SERVICE [--kafka HOST:PORT …]"), &why);
    verdict v = cli_settings(&c.settings, arguments[0], n - 1, arguments + 1, NULL, &why);
    if (v == OK) v = audit_heads_read(&c.settings, print_heads, NULL, &why);
    if (v == OK && fflush(stdout)) v = fail(&why, RETRY, "%s", strerror(errno));
    return cli_end(v, &why);
}
