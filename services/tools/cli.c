#include "cli.h"

#include "chassis/base/http_request.h"
#include "chassis/base/log.h"

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

static verdict
options_read(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why) {
    for (int i = 0; i < n; i++) {
        const char *word = arguments[i];
        const struct cli_option *o = option_find(options, word);
        if (!o && word[0] == '-' && word[1])
            return fail(
                why, REJECT, "\"%.*s\": no such option", (int)strcspn(word, "="), word); /* a secret may follow */
        if (!o && c->words_n == CLI_WORDS) return fail(why, REJECT, "\"%s\": more than %d words", word, CLI_WORDS);
        if (!o) {
            c->words[c->words_n++] = word;
        } else if (!o->value) {
            *o->given = true;
        } else {
            if (i + 1 == n) return fail(why, REJECT, "%s: its value is missing", word);
            *o->value = arguments[++i];
        }
    }
    return OK;
}

verdict cli_open(struct cli *c, int n, char *arguments[], const struct cli_option *options, struct failure *why) {
    extern char **environ;
    *c = (struct cli){0};
    log_start("returns", LOG_ERROR);
    char name[] = "returns", *no_flags[] = {name, NULL};
    verdict v = settings_read(&c->settings, "returns", 0, 1, no_flags, environ, why);
    return v == OK ? options_read(c, n, arguments, options, why) : v;
}

void cli_close(struct cli *c) {
    settings_free(&c->settings);
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

static bool is_added(struct reader *s, const char *topic) {
    size_t n;
    const struct place *places = reader_places(s, &n);
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
    struct buffer list = BUFFER(300);
    json_t *topic;
    size_t i, left = 0;
    settings_scoped(settings, "*.*", scoped, sizeof scoped);
    json_array_foreach((json_t *)topics, i, topic) {
        const char *name = json_string_value(topic), *own = cli_unscoped(settings, name);
        if (!is_meant(scoped, name)) continue;
        if (left || list.length + strlen(own) > 250)
            left++;
        else
            buffer_format(&list, "%s%s", list.length ? ", " : "", own);
    }
    if (left) buffer_format(&list, ", and %zu more", left);
    verdict v = fail(
        why, REJECT, "no topic is named \"%.100s\". There %s %s", word,
        list.length ? "are" : "is none in this namespace", list.data ? list.data : "");
    buffer_free(&list);
    return v;
}

verdict cli_topics(struct reader *s, const struct settings *settings, const char *word, struct failure *why) {
    char scoped[CLI_NAME];
    json_t *topics = NULL, *topic;
    size_t i;
    int found = 0;
    settings_scoped(settings, word, scoped, sizeof scoped);
    verdict v = reader_topics(s, &topics, why);
    json_array_foreach(topics, i, topic) {
        const char *name = json_string_value(topic);
        if (v != OK || (!is_meant(scoped, name) && strcmp(word, name) != 0)) continue; /* a whole name may leave it */
        found++;
        if (!is_added(s, name)) v = reader_add(s, name, why);
    }
    if (v == OK && !found) v = unknown_topic(settings, word, topics, why);
    json_decref(topics);
    return v;
}

/* --- The registry */

void cli_path(struct buffer *out, const char *before, const char *name, const char *after) {
    buffer_text(out, before);
    buffer_percent(out, name);
    buffer_text(out, after);
}

static verdict
answer_read(const struct settings *s, long status, const struct buffer *answer, json_t **out, struct failure *why) {
    *out = json_loadb(answer->data ? answer->data : "", answer->length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (status / 100 == 2 && *out) return OK;
    const char *said = json_string_value(json_object_get(*out, "message"));
    verdict v = fail(
        why, status / 100 == 4 ? REJECT : RETRY, "the registry at %s answered %ld: %s", s->registry, status,
        said ? said : "no reason given");
    json_decref(*out);
    *out = NULL;
    return v;
}

verdict cli_registry(
    const struct settings *s, const char *method, const char *path, const json_t *body, json_t **out,
    struct failure *why) {
    struct buffer answer = BUFFER(ANSWER_MAX), url = BUFFER(8192);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/vnd.schemaregistry.v1+json");
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    long status = 0;
    *out = NULL;
    buffer_format(&url, "%s%s", s->registry, path);
    CURL *easy = url.failed || (body && !text) ? NULL : curl_easy_init();
    bool made = easy && http_request_set(easy, url.data, s->registry_timeout_ms, headers, &answer);
    verdict v = made ? OK : fail(why, RETRY, "out of memory");
    if (v == OK) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
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
    if (easy) curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    buffer_free(&answer);
    buffer_free(&url);
    free(text);
    return v;
}
