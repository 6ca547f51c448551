/* by_hand: what changes a service's state without being in a topic (a call), or out of its place there (a redrive). It
 * is kept in the order in which it was done among the service's own events, so that a rebuild can do it again there.
 * All in the caller's transaction. Errors are sticky. */
#pragma once

#include "chassis/events/record.h"

struct connection;

/* Both after the record had its effect. */
void by_hand_call(struct connection *c, const struct record *r);
/* The letter is redriven, and others are told, unless the service is one in memory: by this record, which is its own,
 * or its event in another one. */
void by_hand_redrive(const struct core *core, struct connection *c, int64_t letter, const struct record *r);
