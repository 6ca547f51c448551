#include "chassis/base/settings.h"

#include "chassis/base/authority.h"
#include "chassis/base/input.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table. A name gives the flag (--data-dir) and the variable (RETURNS_DATA_DIR). */
static const struct setting {
    const char *name;
    enum { SETTING_TEXT, SETTING_NUMBER, SETTING_SECRET, SETTING_WORD, SETTING_SWITCH } type;
    /* WORD: one of the words in `unit`. SWITCH: 0 or 1. The flag alone is 1. */
    size_t offset;
    const char *fallback; /* NULL: the service's own port */
    int64_t min, max;
    const char *unit, *help;
} table[] = {
#define AT(member) offsetof(struct settings, member)
    {"namespace", SETTING_TEXT, AT(namespace), "", 0, 40, "a-z 0-9 -",
     "put before every topic, subject, consumer group and database name, with a dot"},
    {"host", SETTING_TEXT, AT(host), "127.0.0.1", 1, 255, "IPv4 address", "where the web server listens"},
    {"port", SETTING_NUMBER, AT(port), NULL, 0, 65535, "", "the web server's port; 0 takes any free one"},
    {"public-url", SETTING_TEXT, AT(public_url), "", 0, 500, "URL",
     "where others reach this service; the source in its events (default http://localhost:PORT)"},
    {"allowed-hosts", SETTING_TEXT, AT(allowed_hosts), "", 0, 2000, "host:port,…",
     "further names by which it is asked, besides those of the public URL and of the address that it listens on; other requests get 421"},
    {"data-dir", SETTING_TEXT, AT(data_dir), "var/data", 1, 3000, "folder",
     "holds the service's database; made when it is not there"},
    {"kafka", SETTING_TEXT, AT(kafka), "127.0.0.1:9092", 1, 2000, "host:port,…", "Kafka's bootstrap servers"},
    {"kafka-config", SETTING_TEXT, AT(kafka_config), "", 0, 3000, "file",
     "librdkafka properties, one name=value a line"},
    {"registry", SETTING_TEXT, AT(registry), "http://127.0.0.1:8081/apis/ccompat/v7", 1, 2000, "URL",
     "the Schema Registry's Confluent API"},
    {"registry-user", SETTING_TEXT, AT(registry_user), "", 0, 200, "", "for basic authentication with the registry"},
    {"registry-password", SETTING_SECRET, AT(registry_password), "", 0, 4000, "file",
     "its password is read from this file"},
    {"registry-timeout-ms", SETTING_NUMBER, AT(registry_timeout_ms), "2000", 10, 60000, "ms",
     "how long one request to the registry may take"},
    {"unknown-id-ms", SETTING_NUMBER, AT(unknown_id_ms), "10000", 0, 3600000, "ms",
     "how long, in all, a partition waits for schema ids that the registry does not know or answers wrongly, before "
     "their records are quarantined"},
    {"batch", SETTING_NUMBER, AT(batch), "500", 1, 10000, "records", "at most so many records in one transaction"},
    {"audit-heads-ms", SETTING_NUMBER, AT(audit_heads_ms), "10000", 100, 86400000, "ms",
     "how often the heads of the audit log's chains are published, when there are new rows"},
    {"http-threads", SETTING_NUMBER, AT(http_threads), "16", 2, 500, "threads", "requests answered at the same time"},
    {"streams", SETTING_NUMBER, AT(streams), "100", 0, 500, "",
     "how many may watch the audit log live at the same time; pages beyond that ask again and again"},
    {"instance", SETTING_TEXT, AT(instance), "", 0, 100, "",
     "- for dynamic membership in the consumer group; else its static membership, by the service's name. Only a "
     "service in memory runs as several processes, each with a name of its own"},
    {"schemas", SETTING_TEXT, AT(schemas), "", 0, 3000, "folder",
     "a NAME.avsc in it stands in for this program's own schema of that name, once the registry has taken it"},
    {"log-level", SETTING_WORD, AT(log_level), "info", 0, 0, "error warning info debug",
     "the least important entries that are logged"},
    {"call-urls", SETTING_TEXT, AT(call_urls), "", 0, 2000, "name=URL,…",
     "where this service asks others, and the only addresses that it calls them at; none is taken from a record"},
    {"peer-hosts", SETTING_TEXT, AT(peer_hosts), "", 0, 2000, "host,…",
     "hosts, besides this machine, that of the public URL and those of call-urls, where a service may be that "
     "says its own address with the offsets it commits; it is then asked how it is, and linked"},
    {"policy", SETTING_TEXT, AT(policy), "", 0, 2000, "name=value,…",
     "rules that are to be other than usual: unknown-orders=refund also refunds orders that were never placed"},
    {"drills", SETTING_SWITCH, AT(drills), "0", 0, 1, "0 or 1",
     "allow drills: pausing, slowing down and crashing this service from its page, and simulated load"},
    {"comparison", SETTING_SWITCH, AT(comparison), "0", 0, 1, "0 or 1",
     "have the traditional way beside the events: this service can be called, and calls others, outside of the log"},
#undef AT
};
static bool is_number(const struct setting *row) {
    return row->type == SETTING_NUMBER || row->type == SETTING_SWITCH;
}

enum { TABLE_N = sizeof table / sizeof *table };
_Static_assert(sizeof table / sizeof *table <= SETTINGS_MAX, "each has its place in settings.from");

static const char **text_of(struct settings *s, const struct setting *row) {
    return (const char **)((char *)s + row->offset);
}

static void variable_name(const struct setting *row, char out[SETTING_NAME]) {
    snprintf(out, SETTING_NAME, "RETURNS_%s%s", row->name, row->type == SETTING_SECRET ? "_FILE" : "");
    for (char *c = out; *c; c++) *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

static void flag_name(const struct setting *row, char out[SETTING_NAME]) {
    snprintf(out, SETTING_NAME, "--%s%s", row->name, row->type == SETTING_SECRET ? "-file" : "");
}

/* --- Lists: "a,b,c" */

/* The value of that name in "name=value,…". */
static const char *pair_value(const char *pairs, const char *name, const char *otherwise, char *out, size_t size) {
    size_t name_n = strlen(name), n;
    snprintf(out, size, "%s", otherwise);
    for (const char *item; item_next(&pairs, ',', &item, &n);) {
        if (n <= name_n || strncmp(item, name, name_n) != 0 || item[name_n] != '=') continue;
        snprintf(out, size, "%.*s", (int)(n - name_n - 1), item + name_n + 1);
        break;
    }
    return out;
}

const char *
settings_call_url(const struct settings *s, const char *name, const char *otherwise, char *out, size_t size) {
    return pair_value(s->call_urls, name, otherwise, out, size);
}

const char *settings_policy(const struct settings *s, const char *name, const char *otherwise, char *out, size_t size) {
    return pair_value(s->policy, name, otherwise, out, size);
}

/* The host of an item: a host, or where `site` an address, which may stand behind "name=". */
static bool item_host(const char *item, size_t n, bool site, struct authority *out) {
    char text[600];
    const char *equals = site ? memchr(item, '=', n) : NULL, *from = equals ? equals + 1 : item;
    if (snprintf(text, sizeof text, "%.*s", (int)(item + n - from), from) >= (int)sizeof text) return false;
    return site ? site_read(text, out) : authority_read(text, strlen(text), out);
}

static bool host_in(const char *list, bool sites, const char *host) {
    struct authority one;
    size_t n;
    for (const char *item; item_next(&list, ',', &item, &n);)
        if (item_host(item, n, sites, &one) && !strcmp(one.host, host)) return true;
    return false;
}

bool settings_peer_allowed(const struct settings *s, const char *url) {
    struct authority at, own;
    if (!site_read(url, &at)) return false;
    if (authority_is_loopback(&at) || host_in(s->call_urls, true, at.host) || host_in(s->peer_hosts, false, at.host))
        return true;
    return s->public_url && site_read(s->public_url, &own) && !strcmp(own.host, at.host);
}

/* In place of the text before it. */
static verdict text_set(const char **text, const char *value, struct failure *why) {
    char *copy = strdup(value);
    if (!copy) return fail(why, FATAL, "could not keep the settings: out of memory");
    free((char *)*text);
    *text = copy;
    return OK;
}

/* The file's first line, without its end. */
static verdict
read_secret(struct settings *s, const struct setting *row, const char *from, const char *path, struct failure *why) {
    char line[4096];
    FILE *file = fopen(path, "re");
    if (!file) return fail(why, REJECT, "%s: could not read the secret from \"%s\": %s", from, path, strerror(errno));
    bool read = fgets(line, sizeof line, file);
    fclose(file);
    if (!read) return fail(why, REJECT, "%s: the file \"%s\" is empty; put the secret on its first line", from, path);
    line[strcspn(line, "\r\n")] = '\0';
    return text_set(text_of(s, row), line, why);
}

/* from: the flag or the variable that gave the value, for the message. */
static verdict
set_value(struct settings *s, const struct setting *row, const char *from, const char *value, struct failure *why) {
    strcpy(s->from[row - table], from);
    if (row->type == SETTING_SECRET) return read_secret(s, row, from, value, why);
    if (row->type == SETTING_WORD) {
        if (!word_in(value, row->unit))
            return fail(why, REJECT, "%s=\"%s\": must be one of: %s", from, value, row->unit);
    } else if (is_number(row)) {
        char *end;
        errno = 0;
        long long number = strtoll(value, &end, 10);
        if (errno || end == value || *end || number < row->min || number > row->max)
            return fail(
                why, REJECT, "%s=\"%.100s\": must be a whole number from %lld to %lld%s%s", from, value,
                (long long)row->min, (long long)row->max, *row->unit ? ", in " : "", row->unit);
        *(int64_t *)((char *)s + row->offset) = number;
        return OK;
    } else if ((int64_t)strlen(value) < row->min || (int64_t)strlen(value) > row->max) {
        return fail(
            why, REJECT, "%s=\"%.100s\": must be %lld to %lld characters long", from, value, (long long)row->min,
            (long long)row->max);
    }
    return text_set(text_of(s, row), value, why);
}

static verdict add_property(struct settings *s, const char *from, const char *pair, struct failure *why) {
    const char *equals = strchr(pair, '=');
    if (!equals || equals == pair) /* Only its first word, since the rest may be a secret. */
        return fail(
            why, REJECT, "%s \"%.*s\": must be name=value, a librdkafka property", from,
            (int)strspn(pair, "abcdefghijklmnopqrstuvwxyz0123456789._-"), pair);
    struct property *grown = realloc(s->properties, (s->properties_n + 1) * sizeof *grown);
    if (!grown) return fail(why, FATAL, "out of memory");
    s->properties = grown;
    grown += s->properties_n++;
    *grown = (struct property){strndup(pair, (size_t)(equals - pair)), strdup(equals + 1)};
    return grown->name && grown->value ? OK : fail(why, FATAL, "could not keep the settings: out of memory");
}

static verdict read_properties(struct settings *s, struct failure *why) {
    char line[4096];
    verdict v = OK;
    FILE *file = *s->kafka_config ? fopen(s->kafka_config, "re") : NULL;
    if (!file && *s->kafka_config)
        return fail(why, REJECT, "kafka-config: could not read \"%s\": %s", s->kafka_config, strerror(errno));
    while (file && v == OK && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line && *line != '#') v = add_property(s, s->kafka_config, line, why);
    }
    if (file) fclose(file);
    return v;
}

/* One flag, "--name value", "--name=value", "-X name=value" or "--help". Moves *i past what it used. */
static verdict read_flag(struct settings *s, char *const argv[], int argc, int *i, struct failure *why) {
    const char *given = argv[(*i)++];
    if (!strcmp(given, "--help") || !strcmp(given, "-h")) return s->help = true, OK;
    if (!strcmp(given, "--settings-table")) return s->table = true, OK;
    if (!strncmp(given, "-X", 2)) {
        if (given[2]) return add_property(s, "-X", given + 2, why);
        if (*i == argc) return fail(why, REJECT, "-X: needs name=value after it, a librdkafka property");
        return add_property(s, "-X", argv[(*i)++], why);
    }
    for (const struct setting *row = table; row < table + TABLE_N; row++) {
        char flag[SETTING_NAME];
        flag_name(row, flag);
        size_t n = strlen(flag);
        if (strncmp(given, flag, n) != 0 || (given[n] && given[n] != '=')) continue;
        if (given[n]) return set_value(s, row, flag, given + n + 1, why);
        if (row->type == SETTING_SWITCH) return set_value(s, row, flag, "1", why);
        if (*i == argc) return fail(why, REJECT, "%s: needs a value after it", flag);
        return set_value(s, row, flag, argv[(*i)++], why);
    }
    return fail(why, REJECT, "\"%.*s\": no such flag; see --help", (int)strcspn(given, "="), given);
}

static verdict read_environment(struct settings *s, char *const environ_[], struct failure *why) {
    verdict v = OK;
    for (const struct setting *row = table; row < table + TABLE_N; row++) {
        char name[SETTING_NAME];
        variable_name(row, name);
        size_t n = strlen(name);
        for (char *const *e = environ_; *e; e++)
            if (v == OK && !strncmp(*e, name, n) && (*e)[n] == '=' && (*e)[n + 1])
                v = set_value(s, row, name, *e + n + 1, why);
    }
    return v;
}

enum item { A_PAIR, A_HOST, A_SITE };

static bool item_valid(enum item kind, const char *item, size_t n) {
    struct authority host;
    const char *equals = memchr(item, '=', n);
    if (kind == A_PAIR) return equals && equals > item && equals < item + n - 1;
    return !n || item_host(item, n, kind == A_SITE, &host);
}

static verdict check_list(const char *name, const char *list, enum item kind, const char *form, struct failure *why) {
    const char *rest = list, *item;
    size_t n;
    while (item_next(&rest, ',', &item, &n))
        if (!item_valid(kind, item, n))
            return fail(
                why, REJECT, "%s=\"%.200s\": \"%.*s\" must be %s", name, list, n < 100 ? (int)n : 100, item, form);
    return OK;
}

static verdict settings_check(const struct settings *s, struct failure *why) {
    struct authority site;
    if (s->namespace[strspn(s->namespace, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return fail(
            why, REJECT, "namespace=\"%s\": may hold only a-z, 0-9 and -, since it becomes part of topic names",
            s->namespace);
    verdict v = check_list("policy", s->policy, A_PAIR, "name=value, such as unknown-orders=refund", why);
    if (v == OK && *s->public_url && !site_read(s->public_url, &site))
        v = fail(
            why, REJECT, "public-url=\"%.200s\": must be http://host:port or https://host:port, with nothing behind",
            s->public_url);
    if (v == OK) v = check_list("allowed-hosts", s->allowed_hosts, A_HOST, "host or host:port", why);
    if (v == OK) v = check_list("peer-hosts", s->peer_hosts, A_HOST, "a host", why);
    if (v == OK) v = check_list("call-urls", s->call_urls, A_SITE, "name=http://host:port", why);
    return v;
}

verdict settings_check_policy(const struct settings *s, const char *name, const char *values, struct failure *why) {
    char value[100];
    settings_policy(s, name, "", value, sizeof value);
    if (!*value || word_in(value, values)) return OK;
    return fail(why, REJECT, "policy=\"%.200s\": %s=%s must be one of: %s", s->policy, name, value, values);
}

verdict settings_read(
    struct settings *out, const char *service, int default_port, int argc, char *const argv[], char *const environ_[],
    struct failure *why) {
    *out = (struct settings){.service = service, .port = default_port};
    verdict v = OK;
    for (const struct setting *row = table; v == OK && row < table + TABLE_N; row++)
        if (row->type == SETTING_SECRET)
            v = text_set(text_of(out, row), "", why);
        else if (row->fallback)
            v = set_value(out, row, "default", row->fallback, why);
    if (v == OK) v = read_environment(out, environ_, why);
    for (int i = 1; v == OK && i < argc;) v = read_flag(out, argv, argc, &i, why);
    if (v == OK) v = settings_check(out, why);
    out->properties_given = out->properties_n;
    if (v == OK) v = read_properties(out, why);
    if (v != OK) return v;
    if (!*out->public_url) {
        char url[64];
        snprintf(url, sizeof url, "http://localhost:%lld", (long long)out->port);
        v = text_set(&out->public_url, url, why);
    }
    if (v == OK && !*out->instance) v = text_set(&out->instance, service, why);
    return v;
}

void settings_free(struct settings *s) {
    for (const struct setting *row = table; row < table + TABLE_N; row++)
        if (!is_number(row)) free((char *)*text_of(s, row));
    for (size_t i = 0; i < s->properties_n; i++) {
        free((char *)s->properties[i].name);
        free((char *)s->properties[i].value);
    }
    free(s->properties);
    *s = (struct settings){0};
}

/* How a row is told to people. */
struct told {
    char flag[SETTING_NAME], variable[SETTING_NAME], fallback[128];
};

static struct told row_told(const struct setting *row, long long port) {
    struct told t;
    flag_name(row, t.flag);
    variable_name(row, t.variable);
    snprintf(t.fallback, sizeof t.fallback, "%s", row->fallback ? row->fallback : "the service's");
    if (!row->fallback && port) snprintf(t.fallback, sizeof t.fallback, "%lld", port);
    return t;
}

void settings_help(const struct settings *s, const char *duty) {
    printf("%s: %s\n\nusage: %s [--flag value]… [-X name=value]…\n\n", s->service, duty, s->service);
    for (const struct setting *row = table; row < table + TABLE_N; row++) {
        struct told t = row_told(row, s->port);
        printf("  %-24s %s", t.flag, row->help);
        if (*row->unit) printf(" (%s)", row->unit);
        if (*t.fallback) printf(" [%s]", t.fallback);
        printf("\n  %-24s %s\n", "", t.variable);
    }
    puts("  -X name=value            any property of librdkafka; wins over --kafka-config\n"
         "  --help                   this text\n"
         "  --settings-table         the same as a Markdown table\n"
         "  --asyncapi               its topics, as an AsyncAPI document\n"
         "  --openapi                its HTTP API, as an OpenAPI document\n\n"
         "A flag wins over the environment. A wrong setting ends the program with exit code 2.");
}

void settings_table(void) {
    puts("| flag | variable | default | unit | what it is |\n| --- | --- | --- | --- | --- |");
    for (const struct setting *row = table; row < table + TABLE_N; row++) {
        struct told t = row_told(row, 0);
        printf("| `%s` | `%s` | %s | %s | %s |\n", t.flag, t.variable, t.fallback, row->unit, row->help);
    }
    puts("| `-X name=value` | | | | any property of librdkafka; wins over `--kafka-config` |");
}

/* --- What is in force */

/* Of librdkafka's properties those of these names hold secrets, or other settings that may. */
bool settings_property_secret(const char *name) {
    static const char *const words[] = {"password", "secret", "pem", "key", "token", "credential", "config", "jaas"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(name, words[i])) return true;
    return false;
}

/* A URL may hold a name and a password before its host. */
static json_t *value_json(const char *value) {
    const char *host = strstr(value, "://"), *at = host ? strrchr(host, '@') : NULL;
    return !at ? json_string(value) : json_sprintf("%.*s…%s", (int)(host + 3 - value), value, at);
}

static json_t *told_json(const char *name, bool secret, const char *value, const char *from, const char *help) {
    json_t *shown = secret ? json_string(value && *value ? "set" : "not set") : value_json(value ? value : "");
    return json_pack("{s:s, s:o, s:s, s:s}", "name", name, "value", shown, "from", from, "help", help);
}

static json_t *row_json(const struct settings *s, const struct setting *row) {
    const char *given = s->from[row - table], *from = *given ? given : "default";
    if (!is_number(row))
        return told_json(row->name, row->type == SETTING_SECRET, *text_of((struct settings *)s, row), from, row->help);
    return json_pack(
        "{s:s, s:I, s:s, s:s}", "name", row->name, "value",
        (json_int_t) * (const int64_t *)((const char *)s + row->offset), "from", from, "help", row->help);
}

json_t *settings_json(const struct settings *s) {
    json_t *all = json_array();
    for (const struct setting *row = table; row < table + TABLE_N; row++) json_array_append_new(all, row_json(s, row));
    for (size_t i = 0; i < s->properties_n; i++) {
        const struct property *p = &s->properties[i];
        const char *from = i < s->properties_given ? "-X" : s->kafka_config;
        json_array_append_new(
            all, told_json(p->name, settings_property_secret(p->name), p->value, from, "a property of librdkafka"));
    }
    return all;
}

const char *settings_property(const struct settings *s, const char *name) {
    const char *given = NULL, *filed = NULL;
    for (size_t i = 0; i < s->properties_n; i++)
        if (!strcmp(s->properties[i].name, name)) *(i < s->properties_given ? &given : &filed) = s->properties[i].value;
    return given ? given : filed;
}

const char *settings_scoped(const struct settings *s, const char *name, char *out, size_t size) {
    snprintf(out, size, "%s%s%s", s->namespace, *s->namespace ? "." : "", name);
    return out;
}

const char *settings_database(const struct settings *s, char out[DATABASE_PATH]) {
    char name[400];
    settings_scoped(s, s->service, name, sizeof name);
    snprintf(out, DATABASE_PATH, "%s/%s.db", s->data_dir, name);
    return out;
}
