/* redrive: gives a dead letter its effect after all, once what was in its way is mended: a schema was registered, a
 * handler was corrected. Its bytes are decoded anew. Effect, outgoing events, audit row ("by hand", with who asked) and
 * the letter's new state are one transaction. It has one effect however often it is asked for: the letter's state and
 * the event's id see to that. Any thread but the consumer's. May wait until the deadline for a schema. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/events/core.h"

#include <jansson.h>
#include <stdint.h>

struct connection;

enum { REDRIVE_WAIT_MS = 3000, REDRIVE_AT_ONCE = 500 };

struct redrive {
    int64_t id;
    const char *actor; /* who asks */
    int64_t deadline;  /* by steady_ms() */
    /* The result, before it is committed: the asker's answer. NULL: nobody waits for it alone. */
    void (*answer)(void *context, json_t *result);
    /* Commits the transaction, with that answer. NULL: as usual. */
    verdict (*commit)(void *context, struct connection *c, struct failure *why);
    void *context;
};

/* OK: *result, the caller's, is {"id","state","outcome","reason"}: state redriven, or still open for that reason.
 * Events may wait in the outbox then.
 * REJECT: there is no such letter. RETRY: its schema or the database cannot be had now. Nothing was done. */
MUST_CHECK verdict redrive_one(struct core *core, const struct redrive *asked, json_t **result, struct failure *why);

/* Open ones, oldest first, from id `after` on. At most REDRIVE_AT_ONCE. {"redriven":n,"open":n,"results":[…],
 * "next":id or null}: next is the `after` that goes on. One whose schema cannot be had now counts as open. Each is a
 * transaction of its own, and may be asked for again. */
MUST_CHECK verdict
redrive_all(struct core *core, int64_t after, const char *actor, json_t **result, struct failure *why);
