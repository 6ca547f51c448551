#include "chassis/web/connection_guard.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"
#include "chassis/web/sockets.h"

#include <stdlib.h>

struct visit {
    bool taken;
    uint64_t peer;
    enum visit_state state;
    int64_t since; /* it is in this state */
};

enum { TICK_MS = 20, HEAD_MS = 200, BODY_MS = 300, ANSWER_MS = 500, CLIENTS_MAX = 2048 };

struct connection_guard {
    struct worker worker; /* its lock guards what is no atomic */
    const atomic_int *port;
    int workers;
    atomic_int taken; /* of them */
    atomic_bool crowded;
    int seen; /* connections */
    unsigned round;
    struct client {
        uint64_t peer;
        unsigned round;     /* in which it was last seen */
        int64_t since;      /* it was seen, or had an answer */
        bool spoke;         /* its whole request came while no worker had it: it has nobody wait */
    } clients[CLIENTS_MAX]; /* by descriptor */
    struct visit visits[];  /* one a worker */
};

/* --- What workers tell */

struct visit *guard_enter(struct connection_guard *c) {
    struct visit *v = c->visits;
    lock_auto(&c->worker.lock);
    while (v->taken) v++; /* one of them is this worker's */
    v->taken = true;
    if (++c->taken >= c->workers) pthread_cond_signal(&c->worker.news);
    return v;
}

void guard_move(struct connection_guard *c, struct visit *v, uint64_t peer, enum visit_state state) {
    lock_auto(&c->worker.lock);
    *v = (struct visit){true, peer, state, steady_ms()};
}

void guard_leave(struct connection_guard *c, struct visit *v) {
    lock_auto(&c->worker.lock);
    *v = (struct visit){0};
    c->taken--;
}

enum crowd guard_crowd(struct connection_guard *c) {
    return c->crowded ? CROWD_HERE : 4 * c->taken > 3 * c->workers ? CROWD_NEAR : CROWD_NONE;
}

/* --- The guard */

/* One socket of the port: true when it is to be cut. The time for a body includes that in the queue. */
static bool client_look(void *guard, int fd, uint64_t peer) {
    struct connection_guard *c = guard;
    const struct visit *v = c->visits, *end = v + c->workers;
    int64_t now = steady_ms();
    c->seen++;
    if (fd >= CLIENTS_MAX) return false;
    struct client *client = &c->clients[fd];
    bool is_new = client->peer != peer || client->round + 1 != c->round;
    *client = (struct client){peer, c->round, is_new ? now : client->since, !is_new && client->spoke};
    while (v < end && (v->peer != peer || v->state == VISIT_HEAD)) v++;
    if (v == end) client->spoke |= socket_has_request(fd);
    if (v == end) return now - client->since > HEAD_MS && !client->spoke;
    if (v->state == VISIT_READS) return now - client->since > BODY_MS && !client->spoke;
    client->since = now; /* its next request has its own time */
    client->spoke = false;
    return v->state == VISIT_ANSWERS && now - v->since > ANSWER_MS;
}

static void *guard_run(void *guard) {
    struct connection_guard *c = guard;
    lock_auto(&c->worker.lock);
    while (!c->worker.stopping) {
        c->round++; /* without a crowd, what was seen before counts no more */
        c->seen = 0;
        if (c->taken >= c->workers) sockets_each(*c->port, client_look, c);
        c->crowded = c->seen > c->workers;
        if (c->seen)
            (void)worker_rest(&c->worker, steady_ms() + TICK_MS);
        else
            pthread_cond_wait(&c->worker.news, &c->worker.lock);
    }
    return NULL;
}

verdict guard_start(struct connection_guard **out, int workers, const atomic_int *port, struct failure *why) {
    struct connection_guard *c = calloc(1, sizeof *c + (size_t)workers * sizeof *c->visits);
    if (!c) return fail(why, RETRY, "out of memory");
    c->workers = workers;
    c->port = port;
    if (!worker_start(&c->worker, "crowd", guard_run, c)) {
        free(c);
        return fail(why, RETRY, "could not start the web server's guard: out of threads");
    }
    *out = c;
    return OK;
}

void guard_stop(struct connection_guard **guard) {
    if (!*guard) return;
    worker_stop(&(*guard)->worker);
    free(*guard);
    *guard = NULL;
}
