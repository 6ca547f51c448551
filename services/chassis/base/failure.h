/* failure: how a function says that it did not do what was asked, and what the caller should do about it.
 *
 * Every function that can fail returns a verdict and fills the caller's `struct failure` with one sentence for people.
 * The compiler warns about a verdict that nobody looks at. */
#pragma once

#define MUST_CHECK __attribute__((warn_unused_result))

typedef enum {
    OK = 0,
    RETRY,  /* the world is not ready (registry away, disk full): the same call may succeed later */
    REJECT, /* the input is wrong and will stay wrong: quarantine it, or tell its sender */
    FATAL,  /* this process cannot go on correctly: end it, and let it be started again */
} verdict;

struct failure {
    verdict kind;
    char text[512]; /* "could not X: reason", with the offending value quoted. Always NUL-terminated */
};

/* Fills *why (which may be NULL) and returns kind, so that a caller can write `return fail(why, REJECT, "…")`. */
__attribute__((format(printf, 3, 4))) MUST_CHECK verdict
fail(struct failure *why, verdict kind, const char *format, ...);
