#include "chassis/web/precondition.h"

#include <string.h>

/* Past the tag that begins at p. NULL: none does. */
static const char *tag_end(const char *p) {
    if (!strncmp(p, "W/", 2)) p += 2;
    if (*p++ != '"') return NULL;
    while ((unsigned char)*p > ' ' && *p != 0x7f && *p != '"') p++;
    return *p == '"' ? p + 1 : NULL;
}

verdict precondition_fits(const char *if_match, const char *tag, bool *fits, struct failure *why) {
    const char *p = if_match + strspn(if_match, " \t");
    bool any = *p == '*' && !p[1 + strspn(p + 1, " \t")], found = any;
    size_t n = strlen(tag), tags = 0;
    for (p += strspn(p, ", \t"); !any && *p; p += strspn(p, ", \t")) { /* a list may have empty places */
        const char *end = tag_end(p);
        if (!end || (end[strspn(end, " \t")] && end[strspn(end, " \t")] != ',')) break;
        found |= (size_t)(end - p) == n && !memcmp(p, tag, n);
        p = end;
        tags++;
    }
    bool valid = any || (tags && !*p);
    *fits = valid && found;
    if (valid) return OK;
    return fail(
        why, REJECT, "If-Match \"%.100s\" is neither * nor a list of entity tags such as \"3\", with their quotes",
        if_match);
}
