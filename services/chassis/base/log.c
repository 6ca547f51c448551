#include "chassis/base/log.h"

#include "chassis/base/buffer.h"
#include "chassis/base/ids.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *log_service = "-";
static enum log_level log_most = LOG_INFO;

void log_start(const char *service, enum log_level most) {
    log_service = service;
    log_most = most;
}

void log_line(enum log_level level, const char *message, ...) {
    if (level > log_most) return;
    char now[TIME_TEXT];
    buffer_auto line = BUFFER(16384);
    buffer_format(
        &line, "time=%s level=%s service=%s msg=", time_text(clock_ms(), now), level_names[level], log_service);
    buffer_logfmt(&line, message);
    va_list pairs;
    va_start(pairs, message);
    for (const char *name; (name = va_arg(pairs, const char *));) {
        const char *value = va_arg(pairs, const char *);
        if (!value) continue;
        buffer_format(&line, " %s=", name);
        buffer_logfmt(&line, value);
    }
    va_end(pairs);
    buffer_text(&line, "\n");
    /* A log that cannot be written must not stop the work. */
    if (!line.failed && write(STDERR_FILENO, line.data, line.length) < 0) (void)0;
}

const char *log_number(char out[24], long long n) {
    snprintf(out, 24, "%lld", n);
    return out;
}
