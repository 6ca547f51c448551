#include "chassis/web/precondition.h"

#include <string.h>

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* Past the tag that begins at p; NULL: none does. */
static const char *tag_end(const char *p) {
    if (!strncmp(p, "W/", 2)) p += 2;
    if (*p++ != '"') return NULL;
    while (*p && *p != '"') {
        unsigned char c = (unsigned char)*p++;
        if (c <= ' ' || c == 0x7f) return NULL;
    }
    return *p ? p + 1 : NULL;
}

verdict precondition_fits(const char *if_match, const char *tag, bool *fits, struct failure *why) {
    size_t n = strlen(tag), tags = 0;
    const char *p = if_match;
    *fits = false;
    while (is_blank(*p)) p++;
    if (*p == '*' && !p[1 + strspn(p + 1, " \t")]) {
        *fits = true;
        return OK;
    }
    while (*p) {
        const char *end = *p == ',' ? p : tag_end(p); /* a list may have empty places */
        if (!end) break;
        tags += end > p;
        *fits = *fits || ((size_t)(end - p) == n && !memcmp(p, tag, n));
        p = end;
        while (is_blank(*p)) p++;
        if (*p && *p != ',') break;
        if (*p) p++;
        while (is_blank(*p)) p++;
    }
    if (tags && !*p) return OK;
    *fits = false;
    return fail(
        why, REJECT, "If-Match \"%.100s\" is neither * nor a list of entity tags such as \"3\", with their quotes",
        if_match);
}
