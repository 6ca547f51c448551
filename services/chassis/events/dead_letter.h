/* dead_letter: records that could not be decoded or that a handler rejected, kept as they came, and published so to
 * <service>.dead-letters through the outbox. Each is open until a redrive (redrive.h) gives it its effect.
 *
 * The order of its return is given up: later events of the same return do not wait behind a dead letter, since often
 * not even the return can be read from it, and one bad record would stop a partition for ever. Whoever redrives is told
 * how many have had their effect since. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/kafka/raw.h"

#include <jansson.h>

struct connection;

enum { DEAD_LETTER_BYTES_MAX = 8 << 20, DEAD_LETTER_REASON = 1000 };

/* Stores it in the caller's transaction. Returns its id. */
int64_t dead_letter_keep(struct connection *c, const struct raw *raw, int64_t at, const char *reason);
/* Adds a row of the outbox that publishes the letter of that id. */
void dead_letter_publish(struct connection *c, int64_t id, const char *trace_parent, int64_t at);

struct dead_letter {
    int64_t id;
    struct raw raw; /* its bytes belong to the letter */
    bool open;
    int64_t
        answered_at; /* ms: the moment of what was published in reaction to it before a rebuild rejected it. 0: none */
    char reason[DEAD_LETTER_REASON];
};
/* REJECT: there is none of that id, or what is stored cannot be read. FATAL: nor can the database. RETRY: not now.
 * dead_letter_free() in any case. */
MUST_CHECK verdict dead_letter_read(struct connection *c, int64_t id, struct dead_letter *out, struct failure *why);
void dead_letter_free(struct dead_letter *letter);

int64_t dead_letter_open(struct connection *c); /* how many are */

/* {"dead_letters":[…],"next":id or null}, newest first. before: 0, or only older ones. Values and keys longer than 1
 * KiB are cut there, and headers of more than 4 KiB left out, with "cut" true. Fewer than limit where they hold more
 * than a page may. The caller's. */
MUST_CHECK json_t *dead_letter_page(struct connection *reader, int64_t before, int limit);
/* One of them, in full. NULL: none. */
MUST_CHECK json_t *dead_letter_one(struct connection *reader, int64_t id);
