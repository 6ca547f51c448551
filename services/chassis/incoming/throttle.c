#include "chassis/base/ids.h"
#include "chassis/incoming/consumer_private.h"

enum { KEPT_PAUSED = 1 /* its age is the age of the oldest */, KEPT_SLOW = 1000 };

void throttle_follow(struct consumer *c) {
    struct drill_state now = drill_now(c->options.drill);
    if (now.mode != c->drill.mode || now.ms != c->drill.ms) c->due = 0;
    c->drill = now;
    each_partition(p, c) {
        if (partition_passes_over(p) && (now.mode == DRILL_NONE || (now.mode == DRILL_SLOW && !p->waiting_n)))
            c->assign_again = true;
    }
}

bool throttle_keeps(struct consumer *c, struct partition *p) {
    size_t most = c->drill.mode == DRILL_PAUSED ? KEPT_PAUSED : c->drill.mode == DRILL_SLOW ? KEPT_SLOW : SIZE_MAX;
    if (!partition_passes_over(p) && p->waiting_n < most) return true;
    partition_pass_over(c, p);
    return false;
}

const struct partition *throttle_turn(const struct consumer *c, size_t most) {
    const struct partition *turn = NULL;
    int64_t oldest = INT64_MAX, now = steady_ms();
    if (most != 1) return NULL;
    each_partition(p, c) {
        if (!p->waiting_n || partition_wait(p, now)) continue;
        int64_t at = rd_kafka_message_timestamp(p->waiting[0], NULL);
        if (turn && at >= oldest) continue;
        turn = p;
        oldest = at;
    }
    return turn;
}

size_t throttle_take(struct consumer *c) {
    int64_t now = steady_ms();
    if (c->drill.mode == DRILL_NONE) return SIZE_MAX;
    if (c->drill.mode == DRILL_PAUSED) return 0;
    if (!c->due && throttle_turn(c, 1)) c->due = now + c->drill.ms;
    if (!c->due || now < c->due) return 0;
    c->due = 0;
    return 1;
}

int64_t throttle_wait(const struct consumer *c, int64_t wait) {
    if (c->drill.mode != DRILL_SLOW) return wait;
    int64_t left = c->due ? c->due - steady_ms() : throttle_turn(c, 1) ? 0 : wait;
    return left < 0 ? 0 : left < wait ? left : wait;
}
