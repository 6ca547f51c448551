#include "cli.h"

#include "chassis/base/http_request.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/terminal.h"

#include <curl/curl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MAX = 8 << 20 };

/* --- Options */

static const struct cli_option *option_find(const struct cli_option *options, const char *word) {
    for (const struct cli_option *o = options; o->name; o++)
        if (!strcmp(o->name, word)) return o;
    return NULL;
}

verdict cli_options(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why) {
    for (int i = 0; i < n; i++) {
        const char *word = arguments[i];
        const struct cli_option *o = option_find(options, word);
        if (!o && word[0] == '-' && word[1])
            return fail(
                why, REJECT, "\"%.*s\": no such option", (int)strcspn(word, "="), word); /* a secret may follow */
        if (o ? o->n && *o->n == CLI_WORDS : c->words_n == CLI_WORDS)
            return fail(why, REJECT, "\"%s\": more than %d words", word, CLI_WORDS);
        if (o && o->value && i + 1 == n) return fail(why, REJECT, "%s: its value is missing", word);
        if (!o)
            c->words[c->words_n++] = word;
        else if (o->value)
            o->value[o->n ? (*o->n)++ : 0] = arguments[++i];
        else
            *o->given = true;
    }
    return OK;
}

verdict
cli_settings(struct settings *s, const char *service, int n, char *arguments[], bool *as_json, struct failure *why) {
    extern char **environ;
    bool skipped = as_json && n && !strcmp(arguments[0], "--json");
    if (as_json) *as_json = skipped;
    log_start(service, LOG_ERROR);
    return settings_read(s, service, 0, n + !skipped, skipped ? arguments : arguments - 1, environ, why);
}

verdict cli_open(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why) {
    *c = (struct cli){0};
    verdict v = cli_settings(&c->settings, "returns", 0, arguments, NULL, why);
    return v == OK ? cli_options(c, n, arguments, options, why) : v;
}

void cli_close(struct cli *c) {
    reader_close(&c->reader);
    settings_free(&c->settings);
}

int cli_end(verdict v, const struct failure *why) {
    if (v == OK) return CLI_YES;
    fprintf(stderr, "%s\n", shown(why->text));
    return CLI_UNKNOWN;
}

void cli_print(const json_t *json, size_t flags) {
    (void)show_json(json, stdout, flags);
    putchar('\n');
}

verdict cli_number(const char *text, const char *option, int64_t *out, struct failure *why) {
    size_t n = strlen(text);
    *out = n && n < 16 && strspn(text, "0123456789") == n ? atoll(text) : 0;
    return *out > 0 ? OK : fail(why, REJECT, "%s \"%s\": must be a whole number, at least 1", option, text);
}

/* --- Topics */

const char *cli_unscoped(const struct settings *settings, const char *topic) {
    size_t n = strlen(settings->namespace);
    return n && !strncmp(topic, settings->namespace, n) && topic[n] == '.' ? topic + n + 1 : topic;
}

static bool is_added(const struct cli *c, const char *topic) {
    size_t n;
    const struct place *places = reader_places(c->reader, &n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(places[i].topic, topic)) return true;
    return false;
}

/* A star stands for no dot, so that a pattern stays within its namespace, and within the services' topics. */
static bool is_meant(const char *pattern, const char *topic) {
    char parts[2][CLI_NAME];
    const char *texts[] = {pattern, topic};
    for (int i = 0; i < 2; i++) {
        snprintf(parts[i], CLI_NAME, "%s", texts[i]);
        for (char *p = parts[i]; *p; p++)
            if (*p == '.') *p = '/';
    }
    return !fnmatch(parts[0], parts[1], FNM_PATHNAME);
}

static verdict
unknown_topic(const struct settings *settings, const char *word, const json_t *topics, struct failure *why) {
    char scoped[CLI_NAME];
    buffer_auto list = BUFFER(300);
    size_t left = 0;
    settings_scoped(settings, "*.*", scoped, sizeof scoped);
    json_each(i, topic, topics) {
        const char *name = json_string_value(topic), *own = cli_unscoped(settings, name);
        if (!is_meant(scoped, name)) continue;
        if (left || list.length + strlen(own) > 250)
            left++;
        else
            buffer_format(&list, "%s%s", list.length ? ", " : "", own);
    }
    if (left) buffer_format(&list, ", and %zu more", left);
    return fail(
        why, REJECT, "no topic is named \"%.100s\". There %s %s", word,
        list.length ? "are" : "is none in this namespace", list.data ? list.data : "");
}

verdict cli_topics(struct cli *c, const char *word, struct failure *why) {
    char scoped[CLI_NAME];
    json_auto_t *topics = NULL;
    bool found = false;
    settings_scoped(&c->settings, word, scoped, sizeof scoped);
    verdict v = c->reader ? OK : reader_open(&c->reader, &c->settings, why);
    if (v == OK) v = reader_topics(c->reader, &topics, why);
    json_each(i, topic, topics) {
        const char *name = json_string_value(topic);
        if (v != OK || (!is_meant(scoped, name) && strcmp(word, name) != 0)) continue; /* a whole name may leave it */
        found = true;
        if (!is_added(c, name)) v = reader_add(c->reader, name, why);
    }
    return v == OK && !found ? unknown_topic(&c->settings, word, topics, why) : v;
}

/* --- The registry */

static verdict
answer_read(const struct settings *s, long status, const struct buffer *answer, json_t **out, struct failure *why) {
    json_auto_t *said =
        json_loadb(answer->data ? answer->data : "", answer->length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const char *reason = json_string_value(json_object_get(said, "message"));
    if (status / 100 != 2 || !said)
        return fail(
            why, status / 100 == 4 ? REJECT : RETRY, "the registry at %s answered %ld: %s", s->registry, status,
            reason ? reason : "no reason given");
    *out = json_incref(said);
    return OK;
}

verdict cli_registry(const struct settings *s, struct cli_request request, json_t **out, struct failure *why) {
    buffer_auto answer = BUFFER(ANSWER_MAX), url = BUFFER(8192);
    text_auto text = request.body ? json_dumps(request.body, JSON_COMPACT) : NULL;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/vnd.schemaregistry.v1+json");
    long status = 0;
    *out = NULL;
    buffer_format(&url, "%s%s", s->registry, request.path);
    if (request.name) buffer_percent(&url, request.name);
    if (request.rest) buffer_text(&url, request.rest);
    CURL *easy = url.failed || (request.body && !text) ? NULL : curl_easy_init();
    bool made = easy && http_request_set(easy, url.data, s->registry_timeout_ms, headers, &answer);
    verdict v = made ? OK : fail(why, RETRY, "out of memory");
    if (made) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method);
        if (*s->registry_user) {
            curl_easy_setopt(easy, CURLOPT_USERNAME, s->registry_user);
            curl_easy_setopt(easy, CURLOPT_PASSWORD, s->registry_password);
        }
        if (text) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, text);
        CURLcode code = curl_easy_perform(easy);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        v = code ? fail(why, RETRY, "the registry at %s does not answer: %s", s->registry, curl_easy_strerror(code))
                 : answer_read(s, status, &answer, out, why);
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    return v;
}
