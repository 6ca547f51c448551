/* reaction: what a handler gets, and what it may call: on the thread that handles, inside the transaction at hand. */
#pragma once

#include "chassis/avro/codec.h"
#include "chassis/base/failure.h"
#include "chassis/events/event.h"
#include "chassis/store/store.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One event being handled. Everything done through it is committed together, or not at all. */
struct reaction {
    const struct event *event;
    struct connection *store;
    int64_t now; /* ms: the moment of this reaction, and its events' occurred_at. The same again when it is replayed, so
                    a handler takes the time from here, never from the clock. A handler that publishes nothing keeps the
                    event's own occurred_at, since nobody knows later when that was */
    struct reaction_private *private;
};

/* Publishes an event of this service in reaction, with the return's id and version, caused_by and trace filled in.
 * fields: json_pack("{s:s}", "order_id", …). The reference is taken. A failure is sticky: the record is quarantined. */
void reaction_emit(struct reaction *r, const char *type, json_t *fields);
/* The same about another return than the event's, which had waited for it. */
void reaction_emit_for(struct reaction *r, const char *return_id, int64_t version, const char *type, json_t *fields);

/* What the audit row of this event says. The last call counts. outcome: "handled" or "declined". */
void reaction_audit(struct reaction *r, const char *outcome, const char *action, const char *summary_format, ...)
    __attribute__((format(printf, 4, 5)));

/* In the handler of a request, when its return has a row here already: REJECT, as another event asked for it before. */
verdict reaction_answered(const struct reaction *r, struct failure *why);

/* Whether the policy of that name is `value`. The service's declaration says what it is when nothing is set. */
bool reaction_policy_is(const struct reaction *r, const char *name, const char *value);

struct handler {
    const char *type;           /* full name of the event. "*": every other one, and then fields are NULL */
    const struct field *fields; /* the projection: what the handler gets to see */
    size_t fields_n, size;      /* size: of the struct that the fields fill */
    /* OK, or REJECT to quarantine the event with what `why` says. Database errors need no look: they are sticky. */
    verdict (*handle)(struct reaction *r, const void *fields, struct failure *why);
};
#define FIELDS(array, type) (array), sizeof(array) / sizeof *(array), sizeof(type)
