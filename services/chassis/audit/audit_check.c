#include "chassis/audit/audit_check.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/wait.h"
#include "chassis/store/store.h"

#include <stdlib.h>

enum {
    CHUNK_ROWS = 1000,
    FIRST_MS = 1000,
    CHUNK_MS = 10,
    BUSY_MS = 1000,
    IDLE_MS = 2000,
    PASS_MS = 3600000,
    BROKEN_MS = 60000
};

struct audit_check {
    struct store *store;
    struct worker worker;
    struct walk *walk;                      /* the thread's own, with these */
    int64_t rows, begun, newest, looked_at; /* newest: the log's last row when it was looked at */
    enum { READING, INTACT, BROKEN } state;
    json_t *said; /* under the worker's lock. NULL: nothing yet */
};

static void say(struct audit_check *c, int state, const json_t *broken) {
    static const char *const states[] = {"reading", "intact", "broken"};
    bool news = state == BROKEN && c->state != BROKEN;
    json_t *said = json_pack(
        "{s:s, s:I, s:o, s:O?}", "state", states[state], "rows", (json_int_t)c->rows, "at", time_json(clock_ms()),
        "broken", broken);
    c->state = state;
    if (news) log_line(LOG_ERROR, "the audit log was changed", "reason", json_get_text(broken, "reason"), NULL);
    lock_auto(&c->worker.lock);
    json_decref(c->said);
    c->said = said;
}

/* A backlog is being read, at more than a row a millisecond: the check then lets it have the processor. */
static bool is_busy(struct audit_check *c, struct connection *reader) {
    int64_t now = steady_ms(), newest = store_int(reader, 0, "SELECT COALESCE(MAX(id), 0) FROM audit");
    bool busy = newest - c->newest > now - c->looked_at;
    c->newest = newest;
    c->looked_at = now;
    return busy;
}

/* Returns how long to wait before the next. A pass that could not read begins anew. What it says stands until then. */
static int check_step(struct audit_check *c) {
    struct connection *reader = store_reader(c->store);
    int64_t lasts = c->state == BROKEN ? BROKEN_MS : PASS_MS;
    if (c->walk && steady_ms() - c->begun > lasts) walk_free(&c->walk);
    if (!c->walk) {
        c->walk = walk_new();
        c->rows = 0;
        c->begun = steady_ms();
    }
    if (!c->walk || walk_broken(c->walk)) return IDLE_MS;
    bool all = audit_walk_on(reader, c->walk, &c->rows, CHUNK_ROWS), busy = is_busy(c, reader);
    json_auto_t *end = walk_broken(c->walk) ? walk_end(c->walk) : NULL;
    if (store_state(reader) != OK || (walk_broken(c->walk) && !end)) {
        walk_free(&c->walk);
        return IDLE_MS;
    }
    if (end)
        say(c, BROKEN, json_object_get(end, "broken"));
    else if (all || c->state == READING)
        say(c, all ? INTACT : READING, NULL);
    return all ? IDLE_MS : busy ? BUSY_MS : CHUNK_MS;
}

static void *check_run(void *check) {
    struct audit_check *c = check;
    int64_t due = steady_ms() + FIRST_MS;
    while (worker_pause(&c->worker, due)) due = check_step(c) + steady_ms();
    walk_free(&c->walk);
    return NULL;
}

verdict audit_check_start(struct audit_check **out, struct store *store, struct failure *why) {
    struct audit_check *c = *out = calloc(1, sizeof *c);
    if (!c) return fail(why, FATAL, "out of memory");
    c->store = store;
    return worker_start(&c->worker, "audit_check", check_run, c)
               ? OK
               : fail(why, FATAL, "could not start the thread that checks the audit log");
}

void audit_check_stop(struct audit_check **out) {
    struct audit_check *c = *out;
    if (!c) return;
    worker_stop(&c->worker);
    json_decref(c->said);
    free(c);
    *out = NULL;
}

json_t *audit_check_json(struct audit_check *c) {
    json_t *none = json_pack("{s:s, s:i, s:n, s:n}", "state", "reading", "rows", 0, "at", "broken");
    if (!c) return none;
    lock_auto(&c->worker.lock);
    json_object_update_new(none, json_deep_copy(c->said));
    return none;
}
