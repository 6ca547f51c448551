#include "chassis/incoming/drill.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"

#include <pthread.h>
#include <stdlib.h>

struct drill {
    pthread_mutex_t change; /* one at a time, so that the audit log has them in the order in which they held */
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t news;
    struct drill_state state;
    bool ended;
};

struct drill *drill_new(void) {
    struct drill *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    pthread_mutex_init(&d->change, NULL);
    pthread_mutex_init(&d->lock, NULL);
    wait_init(&d->news);
    return d;
}

void drill_free(struct drill **out) {
    struct drill *d = *out;
    if (!d) return;
    pthread_cond_destroy(&d->news);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->change);
    free(d);
    *out = NULL;
}

static struct drill_state state_make(enum drill_mode mode, int64_t ms) {
    return (struct drill_state){mode, mode == DRILL_SLOW ? ms : 0, clock_ms()};
}

static void state_set(struct drill *d, struct drill_state state) {
    pthread_mutex_lock(&d->lock);
    d->state = state;
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->lock);
}

void drill_set(struct drill *d, enum drill_mode mode, int64_t ms) {
    state_set(d, state_make(mode, ms));
}

struct drill_state drill_now(struct drill *d) {
    if (!d) return (struct drill_state){0};
    pthread_mutex_lock(&d->lock);
    struct drill_state state = d->state;
    pthread_mutex_unlock(&d->lock);
    return state;
}

json_t *drill_state_json(struct drill_state s) {
    char since[TIME_TEXT];
    if (s.mode == DRILL_NONE) return json_null();
    return json_pack(
        "{s:s, s:I, s:s}", "mode", s.mode == DRILL_PAUSED ? "paused" : "slow", "ms", (json_int_t)s.ms, "since",
        time_text(s.since, since));
}

json_t *drill_json(struct drill *d) {
    return drill_state_json(drill_now(d));
}

verdict drill_change(struct drill *d, const struct drill_change *change, struct failure *why) {
    pthread_mutex_lock(&d->change);
    struct drill_state state = change->stays ? drill_now(d) : state_make(change->mode, change->ms);
    verdict v = change->commit(change->context, state, why);
    if (v == OK && !change->stays) state_set(d, state);
    pthread_mutex_unlock(&d->change);
    return v;
}

/* --- Waiting */

bool drill_delay(struct drill *d, int64_t most_ms) {
    int64_t began = steady_ms(), now = began;
    if (!d) return true;
    pthread_mutex_lock(&d->lock);
    for (; !d->ended && d->state.mode != DRILL_NONE; now = steady_ms()) {
        int64_t until = began + (d->state.mode == DRILL_SLOW ? d->state.ms : most_ms);
        if (now >= until) break;
        (void)wait_until(&d->news, &d->lock, until);
    }
    bool go_on = !d->ended && d->state.mode != DRILL_PAUSED;
    pthread_mutex_unlock(&d->lock);
    return go_on;
}

void drill_end(struct drill *d) {
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->ended = true;
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->lock);
}
