/* peers: the thread that observes how the other services are, for people to look at. Nothing else hangs on it.
 *
 * A service that watches its subscribers asks each for its /api/status, all at once, with
 * short timeouts: twice a second while somebody looks, else every second and a half. Every other service asks that one
 * for its list, and only while somebody looks, where the setting call-urls says that it is.
 *
 * Where the others are, they say with the offsets that they commit, and settings_peer_allowed() has the last word. No
 * address is taken from a record.
 *
 *     every service ◀─/api/status─ the one that keeps the list ◀─/api/peers─ every service
 *
 * A page takes the last answers as they are: nobody ever waits for one. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>

struct peers;
struct settings;
struct store;
struct subscribers;
struct connection;

struct peers_options {
    const struct settings *settings;
    struct store *store;
    bool keeps_list;                 /* this service keeps the list of all, by its subscribers */
    struct subscribers *subscribers; /* whose addresses it asks. NULL: there are none */
    const char *keeper;              /* else the service that keeps the list. NULL: nobody is asked */
    /* What this service says of itself at /api/status, on the thread of peers. The caller's. */
    json_t *(*status)(void *context, struct connection *reader);
    void *context;
};
/* Runs only while what status() tells of is there. peers_close() also after a failure. */
MUST_CHECK verdict peers_start(struct peers **out, const struct peers_options *o, struct failure *why);
void peers_stop(struct peers *p); /* within 200 ms, also while requests hang. Accepts NULL, and what was not started */
void peers_close(struct peers **p);

/* All of these: any thread. p may be NULL. */

void peers_look(struct peers *p); /* somebody looks at a page now */

/* {"peers":[{"name","title","url","state","tone","text","answered_at","behind","oldest_unhandled_ms",
 * "handled_per_second","published_per_second","to_go_ms","dead_letters","subscribes"}],"stale"}: itself first, then
 * the others by name. What is not known is null. stale: since when the service that keeps the list has not answered, or
 * null. The caller's. */
MUST_CHECK json_t *peers_json(struct peers *p);
