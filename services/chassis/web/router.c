#include "chassis/base/utf8.h"
#include "chassis/web/http_private.h"

#include <stdlib.h>
#include <string.h>

verdict router_check(const char *path, struct failure *why) {
    char *decoded = malloc(strlen(path) + 1);
    if (!decoded) return fail(why, RETRY, "out of memory");
    long n = percent_decode(path, strlen(path), false, decoded);
    verdict v = OK;
    if (n < 0)
        v = fail(why, REJECT, "the path \"%.200s\" holds a %% that is not followed by two hexadecimal digits", path);
    else if (!utf8_valid(decoded, (size_t)n))
        v = fail(why, REJECT, "the path \"%.200s\" is not UTF-8 once it is percent-decoded", path);
    for (long i = 0; v == OK && i < n; i++)
        if ((unsigned char)decoded[i] < ' ' || decoded[i] == 0x7f)
            v = fail(why, REJECT, "the path \"%.200s\" holds a control character", path);
    free(decoded);
    return v;
}

static bool
segment_matches(const char *pattern, size_t pattern_n, const char *segment, size_t segment_n, json_t *parameters) {
    char text[1024], name[64];
    if (segment_n >= sizeof text || pattern_n >= sizeof name) return false;
    long n = percent_decode(segment, segment_n, false, text);
    if (n < 0) return false;
    text[n] = '\0';
    if (pattern_n < 2 || pattern[0] != '{') return (size_t)n == pattern_n && !memcmp(text, pattern, pattern_n);
    memcpy(name, pattern + 1, pattern_n - 2);
    name[pattern_n - 2] = '\0';
    return n > 0 && !json_object_set_new(parameters, name, json_string(text));
}

/* By segments of the raw path, decoded one by one, so that what is in a segment can never become a separator. */
static bool path_matches(const char *pattern, const char *path, json_t *parameters) {
    json_object_clear(parameters);
    while (*pattern == '/' && *path == '/') {
        size_t pattern_n = strcspn(++pattern, "/"), path_n = strcspn(++path, "/");
        if (!segment_matches(pattern, pattern_n, path, path_n, parameters)) return false;
        pattern += pattern_n;
        path += path_n;
    }
    return !*pattern && !*path;
}

static bool resource_matches(const struct resource *r, struct exchange *x) {
    json_t *parameters = x->private->parameters;
    if (!x->api) return r->path && path_matches(r->path, x->path, parameters);
    if (r->api_path) return *r->api_path && path_matches(r->api_path, x->path, parameters);
    return path_matches(r->path, x->path + strlen("/api"), parameters);
}

const struct resource *router_find(struct exchange *x) {
    const struct http_options *o = x->private->options;
    for (size_t i = 0; i < o->tables_n; i++)
        for (const struct resource *r = o->tables[i]; r && (r->path || r->api_path); r++)
            if (resource_matches(r, x)) {
                x->page = r->page;
                return r;
            }
    return NULL;
}

const char *router_allow(const struct resource *r) {
    if (r->get && r->post) return "GET, HEAD, POST";
    return r->get ? "GET, HEAD" : "POST";
}

/* The word at p, and what follows it. */
static size_t word_length(const char *p) {
    return strcspn(p, " ");
}

static const char *word_next(const char *p) {
    p += word_length(p);
    return p + strspn(p, " ");
}

bool query_takes(const char *query, const char *name) {
    size_t n = strlen(name);
    for (const char *p = query ? query : ""; *p; p = word_next(p))
        if (word_length(p) == n && !memcmp(p, name, n)) return true;
    return false;
}

bool router_query(struct exchange *x, const struct resource *r) {
    const char *method = strcmp(x->method, "POST") ? "GET" : "POST", *name;
    const char *taken = strcmp(x->method, "POST") ? r->query : r->post_query;
    struct buffer list = BUFFER(1000);
    json_t *value;
    json_object_foreach(x->private->query, name, value) {
        if (query_takes(taken, name)) continue;
        for (const char *p = taken ? taken : ""; *p; p = word_next(p))
            buffer_format(&list, "%s%.*s", p == taken ? "these: " : ", ", (int)word_length(p), p);
        exchange_problem(
            x, 400, "The query parameter \"%.60s\" is not known at \"%.200s\"; leave it out. %s takes %s.", name,
            x->path, method, list.data ? list.data : "none");
        buffer_free(&list);
        return false;
    }
    return true;
}
