/* by_hand: what changes a service's state without being in a topic (a call), or out of its place there (a redrive). It
 * is kept in the order in which it was done among the service's own events, so that a rebuild can do it again there.
 * All in the caller's transaction. Errors are sticky. */
#pragma once

#include "chassis/events/record.h"

struct connection;

/* Both after the record had its effect. */
void by_hand_call(struct connection *c, const struct record *r);
/* The letter is redriven, and others are told: by this record, which is its own, or its event in another one. */
void by_hand_redrive(struct connection *c, int64_t letter, const struct record *r);
