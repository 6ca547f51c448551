/* known: what a service has published already, by its own topic: which events it answered each event with, when, and in
 * which order it did so over all partitions (header ce_sequence); and what people decided. Kept in memory: about a
 * hundred bytes an event; the decisions' contents are in a table of the database that is being built. One thread. */
#pragma once

#include "chassis/base/ids.h"
#include "chassis/events/core.h"

struct connection;

struct published_event { /* one that was published in reaction */
    struct uuid id;
    int64_t sequence;
    uint64_t content; /* of published_content() */
    int32_t partition;
    int64_t offset; /* -1: not in the topic yet */
    size_t next;    /* the next one of the same reaction; SIZE_MAX: none */
};
struct published_reaction {
    struct uuid cause;
    int64_t sequence, occurred_at; /* of its first event */
    size_t first, next_met;        /* next_met: the first event that a replay has not met yet */
    bool replayed;
};
struct published_index {
    struct published_event *events;
    struct published_reaction *reactions;
    size_t events_n, events_size, reactions_n, reactions_size;
    struct published_slots {
        size_t *slots, size, n; /* 0: empty; else a place + 1 */
    } by_cause, by_id;
    struct published_own {
        struct uuid id;
        int64_t sequence;
        bool decided;
    } * own;
    size_t own_n, own_size;
    int64_t last_sequence;
};
void published_close(struct published_index *k);

/* The table of decisions, in this database. */
void published_prepare(struct connection *c);
void published_forget(struct connection *c);

struct published_note {
    struct uuid id;
    const char *type, *key, *trace_parent;
    int64_t sequence, occurred_at, version;
    int32_t partition;
    int64_t offset; /* -1: not in the topic yet */
    const json_t *data;
};
/* Takes up one; a second time it does nothing. Errors of the database are sticky. */
MUST_CHECK verdict
published_add(struct published_index *k, struct connection *c, const struct published_note *e, struct failure *why);

/* NULL: nothing was published in reaction to that event. */
struct published_reaction *published_of(const struct published_index *k, const struct uuid *cause);
/* The sequence of what was published; 0: it was not. */
int64_t known_sequence(const struct published_index *k, const struct uuid *id);
/* The sequence of a decision; 0: the event is none. */
int64_t published_decision(const struct published_index *k, const struct uuid *id);
/* The event that was known next of that reaction; NULL: no more. */
struct published_event *published_next(struct published_index *k, struct published_reaction *r);

/* A fingerprint of type, key and all fields but the event's own id. */
uint64_t published_content(const char *type, const char *key, const json_t *data);

/* Gives the first decision behind that sequence and at most `most` to service.decided(); its sequence, or 0: none. */
int64_t published_next_decision(struct connection *c, int64_t after, int64_t most);
MUST_CHECK verdict
published_decide(const struct core *core, struct connection *c, int64_t sequence, struct failure *why);
