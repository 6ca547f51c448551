/* log: one line an entry on stderr, in logfmt: time, level, service, msg, then the pairs given. Values are quoted and
 * escaped, so that no input can forge a line. Any thread. One write a line. */
#pragma once

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_start(const char *service, enum log_level most); /* before any thread */

/* log_line(LOG_INFO, "return accepted", "return_id", id, "trace", trace, NULL): pairs of names and text, then NULL.
 * A pair whose value is NULL is left out. */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));
const char *log_number(char out[24], long long n); /* returns out. For a pair's value, or a name in JSON */
