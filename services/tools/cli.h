/* cli: what the subcommands on topics have in common: their options, which topics are meant, and the registry asked and
 * answered on the spot. Settings come from the environment (RETURNS_KAFKA, RETURNS_REGISTRY, RETURNS_NAMESPACE, …). */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/settings.h"
#include "chassis/kafka/reader.h"

#include <stdio.h>

enum { CLI_YES = 0, CLI_NO = 1, CLI_UNKNOWN = 2, CLI_WORDS = 100, CLI_NAME = 400 };

struct cli_option {
    const char *name;   /* "--from"; NULL ends the list */
    const char **value; /* NULL: it takes none, and sets *given */
    bool *given;
};

struct cli {
    struct settings settings;
    const char *words[CLI_WORDS]; /* what is no option */
    int words_n;
};

/* REJECT: an option that is not among them, or without its value; a wrong setting. cli_close() in any case. */
MUST_CHECK verdict
cli_open(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why);
void cli_close(struct cli *c);

/* A whole number, at least 1; REJECT quotes what it is. */
MUST_CHECK verdict cli_number(const char *text, const char *option, int64_t *out, struct failure *why);

/* Adds the topics that a word means: a name or a shell pattern, as it is or within the namespace. REJECT: none is
 * there, and which there are. */
MUST_CHECK verdict cli_topics(struct reader *s, const struct settings *settings, const char *word, struct failure *why);

/* The topic's name without the namespace; points into topic. */
const char *cli_unscoped(const struct settings *settings, const char *topic);

/* The registry's answer to GET, or to POST or PUT of a body; *out is the caller's. RETRY: no answer; REJECT: it says
 * no, in the text its own words. path: "/subjects", already encoded. */
MUST_CHECK verdict cli_registry(
    const struct settings *s, const char *method, const char *path, const json_t *body, json_t **out,
    struct failure *why);

/* "T" of a path's text, encoded. */
void cli_path(struct buffer *out, const char *before, const char *name, const char *after);

int tail_run(int n, char *arguments[]);
int publish_run(int n, char *arguments[]);
int export_run(int n, char *arguments[]);
int import_run(int n, char *arguments[]);
int forget_run(int n, char *arguments[]);
