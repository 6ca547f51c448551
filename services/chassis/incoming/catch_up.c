#include "chassis/base/health.h"
#include "chassis/incoming/consumer_private.h"

/* False: where a partition ends is not known yet, since none of it was fetched. */
static bool partition_count(struct consumer *c, struct partition *p, int64_t *done, int64_t *all) {
    int64_t low, end;
    if (p->end_first == OFFSET_NONE) {
        if (rd_kafka_get_watermark_offsets(c->rk, p->topic, p->id, &low, &end) || end < 0) return false;
        p->begin_first = low > 0 ? low : 0;
        p->end_first = end;
    }
    /* Behind what can be read there may be an open transaction's records, which nobody waits for. */
    int64_t to = p->ended >= 0 && p->ended < p->end_first ? p->ended : p->end_first, at = partition_position(p);
    int64_t read = (at < to ? at : to) - p->begin_first;
    *all += to - p->begin_first;
    *done += read > 0 ? read : 0;
    return true;
}

/* Each partition counts from when it was assigned, so one of a topic that appears meanwhile is waited for as well. */
void catch_up_watch(struct consumer *c) {
    if (!c->catching_up) return;
    int64_t done = 0, all = 0;
    bool known = c->partitions_n > 0;
    each_partition(p, c) known = partition_count(c, p, &done, &all) && known;
    if (!known || done < all) {
        health_set(
            c->core->health, "replay", HEALTH_WAITING,
            "it is in memory and reads all anew: it has read %lld of %s%lld events", (long long)done,
            known ? "" : "at least ", (long long)all);
        return;
    }
    c->catching_up = false;
    c->commit_wanted = true;
    health_set(
        c->core->health, "replay", HEALTH_OK,
        "it is in memory, and has read the %lld events that there were at its start", (long long)all);
}
