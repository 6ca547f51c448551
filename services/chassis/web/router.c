#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/web/http_private.h"

#include <string.h>

verdict router_check(const char *path, struct failure *why) {
    char decoded[URL_MAX + 1];
    long n = percent_decode(path, strlen(path), false, decoded);
    if (n < 0)
        return fail(why, REJECT, "the path \"%.200s\" holds a %% that is not followed by two hexadecimal digits", path);
    if (!utf8_valid(decoded, (size_t)n))
        return fail(why, REJECT, "the path \"%.200s\" is not UTF-8 once it is percent-decoded", path);
    for (long i = 0; i < n; i++)
        if ((unsigned char)decoded[i] < ' ' || decoded[i] == 0x7f)
            return fail(why, REJECT, "the path \"%.200s\" holds a control character", path);
    return OK;
}

static bool
segment_matches(const char *pattern, size_t pattern_n, const char *segment, size_t segment_n, json_t *parameters) {
    char text[1024];
    if (segment_n >= sizeof text) return false;
    long n = percent_decode(segment, segment_n, false, text);
    if (n < 0) return false;
    text[n] = '\0';
    if (pattern_n < 2 || pattern[0] != '{') return (size_t)n == pattern_n && !memcmp(text, pattern, pattern_n);
    return n > 0 && !json_object_setn_new(parameters, pattern + 1, pattern_n - 2, json_string(text));
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
    for (size_t i = 0; i < TABLES_MAX; i++)
        for (const struct resource *r = x->private->http->options.tables[i]; r && (r->path || r->api_path); r++)
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

bool router_query(struct exchange *x, const struct resource *r) {
    bool is_post = !strcmp(x->method, "POST");
    const char *taken = is_post ? r->post_query : r->query;
    buffer_auto list = BUFFER(1000);
    json_members(m, x->private->query) {
        if (word_in(m.name, taken)) continue;
        for (const char *p = taken ? taken : ""; *p; p++)
            if (*p == ' ')
                buffer_text(&list, ", ");
            else
                buffer_bytes(&list, p, 1);
        exchange_problem(
            x, 400, "The query parameter \"%.60s\" is not known at \"%.200s\"; leave it out. %s takes %s%s.", m.name,
            x->path, is_post ? "POST" : "GET", list.data ? "these: " : "", list.data ? list.data : "none");
        return false;
    }
    return true;
}
