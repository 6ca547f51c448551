#include "chassis/web/connection_guard.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"
#include "chassis/web/sockets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_MS = 20, HEAD_MS = 200, BODY_MS = 300, ANSWER_MS = 500, CLIENTS_MAX = 2048 };

/* A connection as the guard has seen it since the crowd began. */
struct client {
    char peer_address[16];
    int peer_port;
    unsigned round; /* in which it was last seen */
    int64_t since;
};

struct connection_guard {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    int workers, taken, port;
    bool crowded, stopping;
    struct visit *visits;

    /* The guard's alone. */
    struct client clients[CLIENTS_MAX]; /* by descriptor */
    unsigned round;
};

/* --- What workers tell */

void guard_enter(struct connection_guard *c) {
    pthread_mutex_lock(&c->lock);
    if (++c->taken >= c->workers) pthread_cond_signal(&c->news);
    pthread_mutex_unlock(&c->lock);
}

void guard_leave(struct connection_guard *c) {
    pthread_mutex_lock(&c->lock);
    c->taken--;
    pthread_mutex_unlock(&c->lock);
}

bool guard_is_crowded(struct connection_guard *c) {
    pthread_mutex_lock(&c->lock);
    bool crowded = c->crowded;
    pthread_mutex_unlock(&c->lock);
    return crowded;
}

/* A kept connection keeps its worker, too, so a few dozen live pages would take them all between two refreshes. */
bool guard_is_nearly_crowded(struct connection_guard *c) {
    pthread_mutex_lock(&c->lock);
    bool nears = c->crowded || 4 * c->taken > 3 * c->workers;
    pthread_mutex_unlock(&c->lock);
    return nears;
}

void guard_begin(struct connection_guard *c, struct visit *v, const char *peer_address, int peer_port) {
    *v = (struct visit){.peer_address = peer_address, .peer_port = peer_port, .since = steady_ms()};
    pthread_mutex_lock(&c->lock);
    v->next = c->visits;
    c->visits = v;
    pthread_mutex_unlock(&c->lock);
}

void guard_move(struct connection_guard *c, struct visit *v, enum visit_state state) {
    pthread_mutex_lock(&c->lock);
    v->state = state;
    v->since = steady_ms();
    pthread_mutex_unlock(&c->lock);
}

void guard_end(struct connection_guard *c, struct visit *v) {
    pthread_mutex_lock(&c->lock);
    struct visit **p = &c->visits;
    while (*p != v) p = &(*p)->next;
    *p = v->next;
    pthread_mutex_unlock(&c->lock);
}

/* --- The guard */

/* NULL: a descriptor beyond those that are watched. */
static struct client *client_note(struct connection_guard *c, const struct socket_seen *s, int64_t now) {
    if (s->fd >= CLIENTS_MAX) return NULL;
    struct client *client = &c->clients[s->fd];
    bool same = client->peer_port == s->peer_port && !strcmp(client->peer_address, s->peer_address) &&
                client->round + 1 == c->round;
    *client = (struct client){.peer_port = s->peer_port, .round = c->round, .since = same ? client->since : now};
    memcpy(client->peer_address, s->peer_address, sizeof client->peer_address);
    return client;
}

/* Whether a worker has a request of that client; *out is a copy. */
static bool visit_find(struct connection_guard *c, const struct socket_seen *s, struct visit *out) {
    bool found = false;
    pthread_mutex_lock(&c->lock);
    for (const struct visit *v = c->visits; v && !found; v = v->next) {
        found = v->peer_port == s->peer_port && !strcmp(v->peer_address, s->peer_address);
        *out = *v;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

struct look {
    struct connection_guard *guard;
    int64_t now;
    int seen;
};

/* One socket of the port: true when it is to be cut. The time for a body includes that in the queue. */
static bool client_look(const struct socket_seen *s, void *context) {
    struct look *look = context;
    struct visit visit;
    struct client *client = client_note(look->guard, s, look->now);
    look->seen++;
    if (!client) return false;
    if (!visit_find(look->guard, s, &visit)) return look->now - client->since > HEAD_MS && !socket_has_request(s->fd);
    if (visit.state == VISIT_READS) return look->now - client->since > BODY_MS;
    client->since = look->now; /* its next request has its own time */
    return visit.state == VISIT_ANSWERS && look->now - visit.since > ANSWER_MS;
}

static void clients_look(struct connection_guard *c, int port) {
    struct look look = {.guard = c, .now = steady_ms()};
    c->round++;
    sockets_each(port, client_look, &look);
    pthread_mutex_lock(&c->lock);
    c->crowded = look.seen > c->workers;
    pthread_mutex_unlock(&c->lock);
}

static void *guard(void *crowd) {
    struct connection_guard *c = crowd;
    pthread_setname_np(pthread_self(), "crowd");
    pthread_mutex_lock(&c->lock);
    while (!c->stopping) {
        if (c->taken < c->workers) {
            c->crowded = false;
            c->round++; /* what was seen before counts no more */
            pthread_cond_wait(&c->news, &c->lock);
            continue;
        }
        int port = c->port;
        pthread_mutex_unlock(&c->lock);
        clients_look(c, port);
        pthread_mutex_lock(&c->lock);
        int64_t until = steady_ms() + TICK_MS;
        while (!c->stopping && wait_until(&c->news, &c->lock, until)) continue;
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* --- Start and stop */

verdict guard_start(struct connection_guard **out, int workers, struct failure *why) {
    struct connection_guard *c = calloc(1, sizeof *c);
    if (!c) return fail(why, RETRY, "out of memory");
    c->workers = workers;
    pthread_mutex_init(&c->lock, NULL);
    wait_init(&c->news);
    if (pthread_create(&c->thread, NULL, guard, c)) {
        pthread_cond_destroy(&c->news);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return fail(why, RETRY, "could not start the web server's guard: out of threads");
    }
    *out = c;
    return OK;
}

void guard_watch(struct connection_guard *c, int port) {
    pthread_mutex_lock(&c->lock);
    c->port = port;
    pthread_mutex_unlock(&c->lock);
}

void guard_stop(struct connection_guard **crowd) {
    struct connection_guard *c = *crowd;
    if (!c) return;
    *crowd = NULL;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->news);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->news);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
