/* format: the text of a function that is called as printf() is. */
#pragma once

#include <stdarg.h>
#include <stdio.h>

/* Fills `out`, an array, by `format`, the function's last named parameter, and what follows it. What does not fit is
 * cut. */
#define format_arguments(out, format)                                                                                  \
    do {                                                                                                               \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        vsnprintf(out, sizeof(out), format, arguments);                                                                \
        va_end(arguments);                                                                                             \
    } while (0)
