/* past: a return as it stood at one of its versions, or at a moment.
 *
 *     ?version=N     support's own events up to version N, and what the teams published in reaction to those; a refusal
 *                    has the version that it found, and makes none
 *     ?as_of=MOMENT  every event that had occurred by then (moment.h)
 *
 * A return is folded anew from its events up to that bound, the same way whichever of the two it is. What no event
 * tells is how far a subscriber was that publishes nothing: at a moment it counts from when its group was seen to pass
 * (`passed`); one that publishes, but nothing about this return, from when the record was in the topic. */
#pragma once

#include "chassis/events/event.h"
#include "chassis/store/store.h"
#include "chassis/web/http.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Holds for an event whose version and moment are neither above it; INT64_MAX is no limit, and none twice is now. */
struct bound {
    int64_t version, at;
};
extern const struct bound bound_now;
bool past_is_now(const struct bound *b);

/* What the query asks for. False: both at once, or what is no number and no moment; answered with 400. */
MUST_CHECK bool past_asked(struct exchange *x, struct bound *b);

/* Support's own event of a return, noted when it is decided, or read from the topic; in the fold's transaction. */
void past_note(struct connection *c, const struct event *own);
/* How many commands were refused while the return was at that version. */
MUST_CHECK int64_t past_refusals(struct connection *c, const char *return_id, int64_t version);

/* Turns what returns_one() says of now into what it would have said then, and adds "as_of" or "at_version", "versions"
 * (the newest), and "previous" and "next", the versions beside it, or null; nothing for bound_now. False: it was not
 * there yet; then it only adds "versions". Within the reader's transaction. */
MUST_CHECK bool past_cut(struct connection *reader, json_t *one, const struct bound *b);
void past_cut_history(json_t *history, const struct bound *b);   /* of returns_history() */
void past_cut_timeline(json_t *timeline, const struct bound *b); /* of timeline_read() */

/* False: there is no such return, or it was not there yet; answered with 404 that says which versions there are, or
 * since when. one: of returns_one_then(). */
MUST_CHECK bool past_there(struct exchange *x, const char *id, const json_t *one, const struct bound *b);

/* For the pages, after view_return() or view_returns(): "past": what it says above, and its links; "when": its form. */
void past_view(json_t *one, const struct bound *b);
void past_view_list(json_t *page, const struct bound *b); /* its links keep the moment */
