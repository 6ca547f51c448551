/* hub: those who watch the audit log as it grows, and the one thread that tells all of them.
 *
 *     GET /api/stream ─▶ web worker: the head, then hands the socket over ─▶ hub ─▶ up to `streams` sockets
 *                                                                             │
 *                                      every 50 ms, while anybody watches:  new rows?  each is rendered once
 *
 * Server-Sent Events: each row is `id`, its number in the log, `event: audit`, and `data`, the row as /api/audit shows
 * it. A stream starts behind the row that Last-Event-ID or ?after= names, else behind the newest. Whoever comes back
 * with the last id that it saw misses nothing and sees nothing twice, across restarts too: rows are numbered in the
 * order of their commits, and are read only after them. ?light=1: that there is news, {"id":N,"pace":MS}, and no rows.
 * A page should not be loaded more often than every MS.
 *
 * What viewers cost has a bound, so that they do not hold up the consumer: rows in all, page loads in all (by how often
 * a light stream says that there is news), and bytes kept for one that does not read them: it is cut off. */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exchange;
struct sse;

struct sse_options {
    int64_t (*newest)(void *context); /* the number of the newest row. −1: not known */
    /* Appends at most `limit` rows after row *after, each as an event of the stream, and moves *after on. Returns how
     * many. −1: they cannot be read now. Both on the hub's thread. */
    int (*read)(void *context, int64_t *after, int limit, struct buffer *out);
    void *context;
    size_t row_bytes; /* which a row takes at most */
    int streams;      /* at most so many at a time. More are refused with 503 */
    int heartbeat_ms; /* a comment after so long a silence. 0: 10 s */
    int life_ms;      /* then a stream ends, and its viewer comes back. 0: 10 min */
    int patience_ms;  /* with a viewer that takes no bytes. 0: 5 s */
};
MUST_CHECK verdict sse_start(struct sse **out, const struct sse_options *o, struct failure *why);
int sse_watched(struct sse *h); /* how many streams there are. Any thread. 0 for NULL */

/* Answers with a stream: the socket is the hub's from now on. after: the last row that its viewer knows. light: only
 * that there is news. Where no place is left, with 503. Any thread. */
void sse_answer(struct sse *h, struct exchange *x, bool light, int64_t after);

/* Ends all streams. After the last thread that may call sse_answer(), so after http_stop(). Accepts NULL. */
void sse_stop(struct sse **h);
