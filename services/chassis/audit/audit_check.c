#include "chassis/audit/audit_check.h"

#include "chassis/audit/audit.h"
#include "chassis/base/log.h"
#include "chassis/base/wait.h"
#include "chassis/store/store.h"

#include <pthread.h>
#include <stdlib.h>

enum { CHUNK_ROWS = 1000, FIRST_MS = 1000, CHUNK_MS = 10, IDLE_MS = 2000, PASS_MS = 3600000, BROKEN_MS = 60000 };

struct audit_check {
    struct store *store;
    pthread_t thread;
    bool running;

    struct walk *walk; /* the thread's own, with these */
    int64_t rows, begun;

    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t stop;
    bool stopping;
    enum { READING, INTACT, BROKEN } state;
    int64_t said_rows, said_at;
    json_t *broken;
};

static void say(struct audit_check *c, int state, json_t *broken) {
    bool news = state == BROKEN && c->state != BROKEN;
    pthread_mutex_lock(&c->lock);
    json_decref(c->broken);
    c->broken = broken;
    c->state = state;
    c->said_rows = c->rows;
    c->said_at = clock_ms();
    pthread_mutex_unlock(&c->lock);
    if (news)
        log_line(
            LOG_ERROR, "the audit log was changed", "reason", json_string_value(json_object_get(broken, "reason")),
            NULL);
}

static void pass_end(struct audit_check *c) {
    json_t *answer = walk_end(c->walk);
    if (walk_broken(c->walk)) say(c, BROKEN, json_incref(json_object_get(answer, "broken")));
    json_decref(answer);
}

/* Returns how long to wait before the next. A pass that could not read begins anew; what it says stands until then. */
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
    bool all = audit_walk_on(reader, c->walk, &c->rows, CHUNK_ROWS);
    if (store_state(reader) != OK) {
        walk_free(&c->walk);
        return IDLE_MS;
    }
    if (walk_broken(c->walk))
        pass_end(c);
    else if (all)
        say(c, INTACT, NULL);
    else if (c->state == READING)
        say(c, READING, NULL);
    return all ? IDLE_MS : CHUNK_MS;
}

/* False: time to stop. */
static bool rest(struct audit_check *c, int ms) {
    int64_t until = steady_ms() + ms;
    pthread_mutex_lock(&c->lock);
    while (!c->stopping && wait_until(&c->stop, &c->lock, until)) continue;
    bool going = !c->stopping;
    pthread_mutex_unlock(&c->lock);
    return going;
}

static void *check_run(void *check) {
    struct audit_check *c = check;
    pthread_setname_np(pthread_self(), "audit_check");
    for (int ms = FIRST_MS; rest(c, ms);) ms = check_step(c);
    walk_free(&c->walk);
    return NULL;
}

verdict audit_check_start(struct audit_check **out, struct store *store, struct failure *why) {
    struct audit_check *c = *out = calloc(1, sizeof *c);
    if (!c) return fail(why, FATAL, "out of memory");
    c->store = store;
    pthread_mutex_init(&c->lock, NULL);
    wait_init(&c->stop);
    c->running = !pthread_create(&c->thread, NULL, check_run, c);
    return c->running ? OK : fail(why, FATAL, "could not start the thread that checks the audit log");
}

void audit_check_stop(struct audit_check **out) {
    struct audit_check *c = *out;
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->stop);
    pthread_mutex_unlock(&c->lock);
    if (c->running) pthread_join(c->thread, NULL);
    json_decref(c->broken);
    pthread_cond_destroy(&c->stop);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *out = NULL;
}

json_t *audit_check_json(struct audit_check *c) {
    static const char *const states[] = {"reading", "intact", "broken"};
    char at[TIME_TEXT];
    if (!c) return json_pack("{s:s, s:i, s:n, s:n}", "state", states[READING], "rows", 0, "at", "broken");
    pthread_mutex_lock(&c->lock);
    json_t *answer = json_pack(
        "{s:s, s:I, s:s?, s:O?}", "state", states[c->state], "rows", (json_int_t)c->said_rows, "at",
        c->said_at ? time_text(c->said_at, at) : NULL, "broken", c->broken);
    pthread_mutex_unlock(&c->lock);
    return answer;
}
