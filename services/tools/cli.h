/* cli: the verbs of the tool, and what they have in common: their options, which topics are meant, and the registry
 * asked and answered on the spot. Settings come from the environment (RETURNS_KAFKA, RETURNS_REGISTRY, …). */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/settings.h"
#include "chassis/kafka/reader.h"

#include <stdio.h>

enum { CLI_YES = 0, CLI_NO = 1, CLI_UNKNOWN = 2, CLI_WORDS = 100, CLI_NAME = 400 };

struct cli_option {
    const char *name;   /* "--from". NULL ends the list */
    const char **value; /* NULL: it takes none, and sets *given */
    bool *given;
    int *n; /* it may come again: CLI_WORDS values, and how many there are. NULL: the last one counts */
};

struct cli {
    struct settings settings;
    const char *words[CLI_WORDS]; /* what is no option */
    int words_n;
    struct reader *reader; /* of the topics. NULL: none was asked for yet */
};

/* The settings of that service, by the environment and by flags. as_json: whether --json comes before these (NULL: it
 * is none of the flags). arguments: behind another word, as main() has them. REJECT: a wrong one. */
MUST_CHECK verdict
cli_settings(struct settings *s, const char *service, int n, char *arguments[], bool *as_json, struct failure *why);

/* REJECT: an option that is not among them, or without its value. */
MUST_CHECK verdict
cli_options(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why);

/* Both, with settings from the environment alone. cli_close() in any case. */
MUST_CHECK verdict
cli_open(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why);
void cli_close(struct cli *c);
#define cli_auto __attribute__((cleanup(cli_close))) struct cli /* closed at the end of its block */

/* Says why not, where v is not OK. What the verb ends with: CLI_YES or CLI_UNKNOWN. */
int cli_end(verdict v, const struct failure *why);
void cli_print(const json_t *json, size_t flags); /* to stdout, and a line's end. flags: as json_dumpf() has them */

/* A whole number, at least 1. REJECT quotes what it is. */
MUST_CHECK verdict cli_number(const char *text, const char *option, int64_t *out, struct failure *why);

/* Adds the topics that a word means: a name or a shell pattern, as it is or within the namespace. REJECT: none is
 * there, and which there are. */
MUST_CHECK verdict cli_topics(struct cli *c, const char *word, struct failure *why);

/* The topic's name without the namespace. Points into topic. */
const char *cli_unscoped(const struct settings *settings, const char *topic);

/* The registry's answer. *out is the caller's. RETRY: no answer. REJECT: it says no, in the text its own words. */
struct cli_request {
    const char *method, *path, *name, *rest; /* "GET", "/subjects/", a name to be encoded, "/versions". NULL: none */
    const json_t *body;                      /* NULL: none */
};
MUST_CHECK verdict
cli_registry(const struct settings *s, struct cli_request request, json_t **out, struct failure *why);

/* A verb: what comes after its word. The exit status. CLI_YES: it was done, and all is well. CLI_NO: it looked, and a
 * file was changed (audit verify), a record is missing or doubled (reconcile), a return was not handled (simulate), a
 * snapshot is not what its events come to (snapshots), or nothing was done, as it was asked wrongly (publish, import,
 * new). CLI_UNKNOWN: it could not be done, which was said. */
typedef int cli_verb(int n, char *arguments[]);
cli_verb audit_verify_run, audit_heads_run, compare_run, export_run, forget_run, import_run, new_run, publish_run,
    reconcile_main, simulate_run, snapshots_run, tail_run;
