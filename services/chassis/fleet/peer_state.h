/* peer_state: what is the matter with a service, in one word and one sentence, from the facts that are known of it. One
 * pure function, so that every row of its table can be tested. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct peer_facts {
    enum {
        PEER_ANSWERS,
        PEER_REFUSES, /* nobody listens at its address */
        PEER_SILENT,  /* somebody does, and does not answer in time */
        PEER_UNASKED, /* it was not asked yet */
        PEER_NOWHERE, /* it tells nobody its address */
    } contact;
    int64_t silent_ms;    /* since its last answer. −1: it never gave one */
    const char *health;   /* its own "up", "waiting" or "failed". NULL: it did not say */
    const char *words;    /* what it says that it waits for, or what failed. Or NULL */
    const char *drill;    /* "paused", "slow", or NULL */
    int64_t drill_ms;     /* how slow: for each event */
    int64_t dead_letters; /* open ones */
    int64_t behind;       /* events that it has not handled yet. −1: not known */
    int64_t oldest_ms;    /* the age of the oldest of them. −1: not known */
    double handled;       /* events a second */
    int64_t to_go_ms;     /* until it has handled all. −1: not known, or never at this rate */
};

enum { PEER_TEXT = 600 };
struct peer_state {
    const char *name; /* "stopped", "does not answer", "needs a hand", "waiting", "quarantining", "paused", "slow",
                         "catching up", "up", "not asked yet", "reading" */
    const char *tone; /* ok, wait or bad */
    char text[PEER_TEXT];
};

void peer_judge(const struct peer_facts *f, struct peer_state *out);
