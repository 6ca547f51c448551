#include "chassis/base/failure.h"

#include "chassis/base/format.h"

verdict fail(struct failure *why, verdict kind, const char *format, ...) {
    if (!why) return kind;
    char text[sizeof why->text]; /* the arguments may quote why->text itself */
    format_arguments(text, format);
    why->kind = kind;
    snprintf(why->text, sizeof why->text, "%s", text);
    return kind;
}
