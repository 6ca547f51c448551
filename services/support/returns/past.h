/* past: a return as it stood at one of its versions, or at a moment.
 *
 *     ?version=N     support's own events up to version N, and what the teams published in reaction to those. A refusal
 *                    has the version that it found, and makes none
 *     ?as_of=MOMENT  every event that had occurred by then (moment.h)
 *
 * A return is folded anew from its events up to that bound, the same way whichever of the two it is. What no event
 * tells is how far a subscriber was that publishes nothing: at a moment it counts from when its group was seen to pass
 * (`passed`). One that publishes, but nothing about this return, from when the record was in the topic. */
#pragma once

#include "chassis/web/http.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Holds for an event whose version and moment are neither above it. INT64_MAX is no limit, and none twice is now. */
struct bound {
    int64_t version, at;
};
extern const struct bound bound_now;
bool past_is_now(const struct bound *b);

/* What the query asks for. False: both at once, or what is no number and no moment. Answered with 400. */
MUST_CHECK bool past_asked(struct exchange *x, struct bound *b);

/* False: there is no such return, or it was not there yet. Answered with 404 that says which versions there are, or
 * since when. one: of returns_one(). */
MUST_CHECK bool past_there(struct exchange *x, const char *id, const json_t *one, const struct bound *b);

/* For the page at that address: "when": what its form for a moment has in it. "past": whether it is. And the API's
 * address, which keeps the bound. data: what returns_one() or returns_page() says. */
void past_view(json_t *data, const char *url, const struct bound *b);
