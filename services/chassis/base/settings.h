/* settings: one table (settings.c) of everything that can be set: name, type, default, bounds, unit, help. It drives
 * the environment (RETURNS_KAFKA, RETURNS_DATA_DIR, …), the flags (--kafka, --data-dir), --help and
 * docs/operations.md's table. A flag wins over the environment. A secret is read from the file that its …_FILE variable
 * or --…-file flag names. Any librdkafka property passes through as -X name=value, or from a file of such lines
 * (--kafka-config). */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTINGS_MAX = 64, SETTING_NAME = 64 };

struct property { /* of librdkafka */
    const char *name, *value;
};

struct settings {
    const char *service; /* its name, not a setting */
    const char *namespace, *host;
    const char *public_url;    /* "" was replaced by http://localhost:<port> */
    const char *allowed_hosts; /* "host:port,…", each checked */
    const char *data_dir, *kafka, *kafka_config;
    const char *registry, *registry_user, *registry_password;
    const char *log_level, *call_urls;
    const char *peer_hosts; /* "host,…" */
    const char *policy;     /* "name=value,…", for all services. Each reads its own names */
    const char *instance;
    const char *schemas; /* folder of schemas that stand in for the program's own. "": none */
    int64_t port, batch, http_threads, streams;
    int64_t audit_heads_ms, registry_timeout_ms, unknown_id_ms;
    int64_t drills;                        /* 0 or 1: allowed */
    int64_t comparison;                    /* 0 or 1: the traditional way is there */
    struct property *properties;           /* from -X and --kafka-config, in the order given */
    size_t properties_n, properties_given; /* the first of them with -X, the others in the file */
    char from[SETTINGS_MAX][SETTING_NAME]; /* the variable or flag that gave each. "", "default": none did */
    bool help, table;                      /* --help, --settings-table were asked for */
};

/* *out is filled from defaults, environ and argv. Its text is its own, released by settings_free(). REJECT: a wrong
 * value or an unknown flag. The text quotes the value and names the setting. The program then ends with exit code 2. */
MUST_CHECK verdict settings_read(
    struct settings *out, const char *service, int default_port, int argc, char *const argv[], char *const environ_[],
    struct failure *why);
void settings_free(struct settings *s);
void settings_help(const struct settings *s, const char *duty); /* to stdout */
/* What is in force: [{"name","value","from","help"}], from being "default", a variable or a flag, with the properties
 * of librdkafka at the end. Nothing that is or may hold a secret is in it: of such only whether it is set. The
 * caller's. */
json_t *settings_json(const struct settings *s);
void settings_table(void); /* Markdown, to stdout */

/* Where that service is called, by call_urls. Otherwise: it is not named there. Returns out. */
const char *
settings_call_url(const struct settings *s, const char *name, const char *otherwise, char *out, size_t size);

/* Whether what a service says of its own address may be asked and linked: http(s)://host:port/ and nothing more, on
 * this machine, on the host of the public URL, or on one of call_urls or peer_hosts. */
bool settings_peer_allowed(const struct settings *s, const char *url);

/* What the policy of that name is. Returns out. */
const char *settings_policy(const struct settings *s, const char *name, const char *otherwise, char *out, size_t size);
/* REJECT: it is set, and is none of the words in `values`. The text quotes it. */
MUST_CHECK verdict
settings_check_policy(const struct settings *s, const char *name, const char *values, struct failure *why);

/* True: its value, or one mistyped for it, may be a secret: it is never told. */
bool settings_property_secret(const char *name);
/* What that property of librdkafka is set to, by -X or else by the file. NULL: by neither. */
const char *settings_property(const struct settings *s, const char *name);

/* "support.events", or "demo2.support.events" in namespace demo2. Returns out. */
const char *settings_scoped(const struct settings *s, const char *name, char *out, size_t size);

/* Where the service's database is. Returns out. */
enum { DATABASE_PATH = 4096 };
const char *settings_database(const struct settings *s, char out[DATABASE_PATH]);
