/* known: what a service has published already, by its own topic: which events it answered each event with, when, and in
 * which order it did so over all partitions (header ce_sequence); and what people decided. Kept in memory: about a
 * hundred bytes an event; the decisions' contents are in a table of the database that is being built. One thread. */
#pragma once

#include "chassis/core.h"
#include "chassis/ids.h"
#include "chassis/store.h"

struct known_event { /* one that was published in reaction */
    struct uuid id;
    int64_t sequence;
    uint64_t content; /* of known_content() */
    int32_t partition;
    int64_t offset; /* -1: not in the topic yet */
    size_t next;    /* the next one of the same reaction; SIZE_MAX: none */
};
struct known_reaction {
    struct uuid cause;
    int64_t sequence, occurred_at; /* of its first event */
    size_t first, next_met;        /* next_met: the first event that a replay has not met yet */
    bool replayed;
};
struct known {
    struct known_event *events;
    struct known_reaction *reactions;
    size_t events_n, events_size, reactions_n, reactions_size;
    struct known_index {
        size_t *slots, size, n; /* 0: empty; else a place + 1 */
    } by_cause, by_id;
    struct known_own {
        struct uuid id;
        int64_t sequence;
        bool decided;
    } * own;
    size_t own_n, own_size;
    int64_t last_sequence;
};
void known_close(struct known *k);

/* The table of decisions, in this database. */
void known_prepare(struct connection *c);
void known_forget(struct connection *c);

struct known_note {
    struct uuid id;
    const char *type, *key, *trace_parent, *source_url;
    int64_t sequence, occurred_at, version;
    int32_t partition;
    int64_t offset; /* -1: not in the topic yet */
    const json_t *data;
};
/* Takes up one; a second time it does nothing. Errors of the database are sticky. */
MUST_CHECK verdict known_add(struct known *k, struct connection *c, const struct known_note *e, struct failure *why);

/* NULL: nothing was published in reaction to that event. */
struct known_reaction *known_of(const struct known *k, const struct uuid *cause);
/* The sequence of what was published; 0: it was not. */
int64_t known_sequence(const struct known *k, const struct uuid *id);
/* The sequence of a decision; 0: the event is none. */
int64_t known_decision(const struct known *k, const struct uuid *id);
/* The event that was known next of that reaction; NULL: no more. */
struct known_event *known_next(struct known *k, struct known_reaction *r);

/* A fingerprint of type, key and all fields but the event's own id. */
uint64_t known_content(const char *type, const char *key, const json_t *data);

/* Gives the first decision behind that sequence and at most `most` to service.decided(); its sequence, or 0: none. */
int64_t known_next_decision(struct connection *c, int64_t after, int64_t most);
MUST_CHECK verdict known_decide(const struct core *core, struct connection *c, int64_t sequence, struct failure *why);
