#include "chassis/avro/codec_private.h"
#include "chassis/base/format.h"

#include <string.h>

/* "cost.amount" */
static void place_text(const struct place *at, char out[PLACE_TEXT]) {
    out[0] = '\0';
    if (!at) return;
    place_text(at->up, out);
    size_t n = strlen(out);
    if (at->name) snprintf(out + n, PLACE_TEXT - n, "%s%s", n ? "." : "", at->name);
}

int place_fail(
    struct failure *why, const struct place *at, const char *joint, const char *whole, const char *format, ...) {
    char where[PLACE_TEXT], text[256];
    if (why->kind) return 0;
    format_arguments(text, format);
    place_text(at, where);
    if (*where)
        (void)!fail(why, REJECT, "field \"%s\"%s%s", where, joint, text);
    else
        (void)!fail(why, REJECT, "%s%s", whole, text);
    return 0;
}
