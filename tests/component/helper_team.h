/* helper_team: one of the teams, as it is built, in a world of its own: it is asked and cancelled by records in
 * support.events; what it decided is read from its outbox, and its views are held to what they showed before. */
#pragma once

#include "helper_world.h"

#include "chassis/base/assets.h"

struct team {
    struct world world;
    const struct service *service;
    int records;   /* audited so far */
    json_t *shown; /* what its views showed at moments: [moment, [rows of each view]] */
};

int team_setup(void **state, const char *name, const struct service *service, const struct asset *assets, size_t n);
int team_teardown(void **state);

/* What a return is of; NULL: as usual. */
struct asked {
    const char *serial_number, *model, *location, *cost;
};
/* Each returns when the record was audited. A return's records are all in one partition; another return may have
 * another one. */
#define team_ask(t, return_id, ...) team_ask_for(t, return_id, &(struct asked){__VA_ARGS__})
void team_ask_for(struct team *t, const char *return_id, const struct asked *what);
void team_cancel(struct team *t, const char *return_id);
/* A request that is quarantined, as its schema cannot be had; and its redrive once it can. One a test. */
void team_ask_unread(struct team *t, const char *return_id, const struct asked *what);
void team_redrive(struct team *t);

/* A test of its own: returns with ids as others make them, each found by its page, its API and every link. */
void team_ids_are_reached(void **state);

/* All that it decided so far: "OrderRefunded R-1, RefundReversed R-1". */
void team_said(struct team *t, const char *expected);
/* The audit row of its latest record, by topic or by hand. */
void team_audited(struct team *t, const char *outcome, const char *summary);
/* Each view with .as_of shows of each moment what it showed then. */
void team_past_is_as_it_was(struct team *t);
