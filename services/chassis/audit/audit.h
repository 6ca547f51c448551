/* audit: the append-only record of what this service did, one row for each event it met and each thing a person did.
 *
 * Rows are hash-chained: one chain for each source partition ("support.events/3"), and "by-hand" for what did not come
 * from a topic. A row's hash covers the row and the hash before it in its chain (chain.h, docs/audit.md). Rows are
 * numbered 1, 2, 3 without a gap, over all chains. */
#pragma once

#include "chassis/audit/chain.h"
#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"
#include "chassis/base/ids.h"

#include <jansson.h>
#include <stdio.h>

struct connection;

struct audit_row {
    const char *action;  /* what was done, in the team's words: "refund the order" */
    const char *outcome; /* handled, declined, duplicate, skipped, quarantined. By hand: accepted, refused */
    const char *actor;   /* who caused it: the service that published the event, or "form", "api" */
    const char *return_id;
    const struct uuid *event_id;
    const char *event_type; /* full name */
    const char *topic;      /* NULL: by hand, and then partition and offset do not count */
    int32_t partition;
    int64_t offset;
    const char *summary; /* one line for people */
    const char *trace_id;
};

/* In the caller's transaction. A failure is sticky there. What is NULL is stored as absent. */
void audit_append(struct connection *c, const struct audit_row *row);

/* Counts an event that was put into the outbox in reaction to that record, in the caller's transaction (audit_heads.h).
 */
void audit_emitted(struct connection *c, const char *topic, int32_t partition, int64_t offset);

/* A page of rows, newest first: {"rows":[…],"next":id or null}. Every filter may be NULL or 0. Whatever the filter, no
 * more is read than the blocks of rows (audit_block) that hold what it asks for. With return_id, that return's rows.
 */
struct audit_filter {
    const char *return_id, *action, *outcome, *event_type;
    int64_t since, until; /* ms: since ≤ at < until */
    int64_t before;       /* id: only older rows */
    int limit;            /* 1 to 1000 */
};
MUST_CHECK json_t *audit_page(struct connection *reader, const struct audit_filter *f);

/* How many rows of the filter are newer than row `id`. Counts to `most` and no further. */
int audit_newer(struct connection *reader, const struct audit_filter *f, int64_t id, int most);

/* The moment, ms, of a row of that outcome that comes next before or after this one. 0: there is none. By the rows'
 * moments, not by their order, since a clock may have been set back between two rows. */
int64_t audit_moment_before(struct connection *reader, const char *outcome, int64_t moment);
int64_t audit_moment_after(struct connection *reader, const char *outcome, int64_t moment);

/* {"row":{…},"chain":…,"previous":{"id","hash"} or null,"next":…,"canonical":text}: a row with those beside it in its
 * chain, and the bytes that its hash is made of after the hash before it. NULL: there is none, or it cannot be read. */
MUST_CHECK json_t *audit_one(struct connection *reader, int64_t id);

/* Appends at most `limit` rows of the filter after row *after, oldest first, to `out`, each as `line` writes it, and
 * moves *after on. Returns how many. Less than `limit`: these were the last. The filter's limit does not count. */
typedef void audit_line(struct buffer *out, const struct chain_row *row);
int audit_export(
    struct connection *reader, const struct audit_filter *f, int64_t *after, int limit, audit_line *line,
    struct buffer *out);

/* Every row and the end of every chain, from one moment of the database, and every head published until then:
 * walk_end()'s answer (chain.h). The caller's. */
MUST_CHECK json_t *audit_verify(struct connection *reader);

/* A part of it: at most `most` rows after row *after, which moves on. True: those were the last, and the heads that are
 * kept beside them were compared. Look at the reader's state. After an error the walk is of no more use. */
bool audit_walk_on(struct connection *reader, struct walk *w, int64_t *after, int64_t most);

/* The same of a file that no service needs to run for: a database, or what /api/audit.jsonl answered without a filter.
 * heads: lines of JSON such as `returns_audit heads` prints, which the log must agree with. NULL: only those in the
 * database. RETRY: the file, or a line of the heads, cannot be read. A log that cannot be read as one is broken. */
MUST_CHECK verdict audit_verify_file(const char *path, FILE *heads, json_t **out, struct failure *why);
