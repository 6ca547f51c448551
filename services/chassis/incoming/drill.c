#include "chassis/incoming/drill.h"

#include "chassis/base/ids.h"
#include "chassis/base/wait.h"

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

struct drill_state drill_now(struct drill *d) {
    if (!d) return (struct drill_state){0};
    lock_auto(&d->lock);
    return d->state;
}

json_t *drill_json(struct drill_state s) {
    char since[TIME_TEXT];
    if (s.mode == DRILL_NONE) return json_null();
    return json_pack(
        "{s:s, s:I, s:s}", "mode", s.mode == DRILL_PAUSED ? "paused" : "slow", "ms", (json_int_t)s.ms, "since",
        time_text(s.since, since));
}

verdict drill_change(struct drill *d, const struct drill_change *change, struct failure *why) {
    lock_auto(&d->change);
    struct drill_state state = {change->mode, change->mode == DRILL_SLOW ? change->ms : 0, clock_ms()};
    if (change->stays) state = drill_now(d);
    verdict v = change->commit ? change->commit(change->context, state, why) : OK;
    if (v != OK || change->stays) return v;
    pthread_mutex_lock(&d->lock);
    d->state = state;
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->lock);
    return OK;
}

/* --- Waiting */

bool drill_delay(struct drill *d, int64_t most_ms) {
    int64_t began = steady_ms(), now = began;
    if (!d) return true;
    lock_auto(&d->lock);
    for (; !d->ended && d->state.mode != DRILL_NONE; now = steady_ms()) {
        int64_t until = began + (d->state.mode == DRILL_SLOW ? d->state.ms : most_ms);
        if (now >= until) break;
        (void)wait_until(&d->news, &d->lock, until);
    }
    return !d->ended && d->state.mode != DRILL_PAUSED;
}

void drill_end(struct drill *d) {
    if (!d) return;
    lock_auto(&d->lock);
    d->ended = true;
    pthread_cond_broadcast(&d->news);
}
