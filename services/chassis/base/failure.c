#include "chassis/base/failure.h"

#include <stdarg.h>
#include <stdio.h>

verdict fail(struct failure *why, verdict kind, const char *format, ...) {
    if (!why) return kind;
    char text[sizeof why->text]; /* the arguments may quote why->text itself */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    why->kind = kind;
    snprintf(why->text, sizeof why->text, "%s", text);
    return kind;
}
