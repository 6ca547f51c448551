#include "chassis/base/format.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/process.h"
#include "chassis/incoming/consumer_private.h"
#include "chassis/kafka/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WATCH_MS = 1000, SHORT_MS = 3000 /* a new leader may not know the end at once */ };

/* Names the partitions of the first topic that is held, why, and what ends it. */
void log_report(struct consumer *c) {
    const struct partition *first = NULL;
    buffer_auto ids = BUFFER(200);
    int n = 0, others = 0;
    each_partition(p, c) {
        if (p->state != PARTITION_LOST) continue;
        if (!first) first = p;
        if (strcmp(p->topic, first->topic) != 0)
            others++;
        else
            buffer_format(&ids, n++ ? ",%d" : "%d", p->id);
    }
    char more[40] = "";
    if (others) snprintf(more, sizeof more, " (and %d of other topics)", others);
    if (first)
        health_set(
            c->core->health, "log", HEALTH_FAILED,
            "%.150s[%s]%s is not the log that was read: %s. It is held; nothing is skipped. Decide where to go "
            "on: ./returns accept-log %s %.150s%s%s --from beginning (or: end, here)",
            first->topic, ids.data ? ids.data : "", more, first->lost, c->core->settings->service, first->topic,
            n == 1 ? "/" : "", n == 1 ? ids.data : "");
    else
        health_set(c->core->health, "log", HEALTH_OK, "is the one that was read");
}

__attribute__((format(printf, 3, 4))) void log_lose(struct consumer *c, struct partition *p, const char *format, ...) {
    if (p->state == PARTITION_LOST) return;
    partition_drop(c, p);
    partition_move(p, PARTITION_LOST);
    pthread_mutex_lock(&c->lock);
    format_arguments(p->lost, format);
    pthread_mutex_unlock(&c->lock);
    c->assign_again = true;
    log_report(c);
}

/* The first record after a start is the last one of before. True: it was, and has had its effect. */
bool log_compare(struct consumer *c, struct partition *p, const rd_kafka_message_t *m) {
    if (p->state != PARTITION_CHECKING) return false;
    if (m->offset == p->mark_of && log_mark(m) == p->mark) {
        partition_checked(p);
        return true;
    }
    log_lose(
        c, p,
        "the record at offset %lld is another one than was read there (the topic was made anew, or this is another cluster)",
        (long long)p->mark_of);
    return true;
}

void log_clusters_compare(struct consumer *c) {
    char *id = rd_kafka_clusterid(c->rk, 0);
    if (id) snprintf(c->cluster, sizeof c->cluster, "%s", id);
    if (id) rd_kafka_mem_free(c->rk, id);
    each_partition(p, c) {
        if (*c->cluster && *p->cluster && strcmp(p->cluster, c->cluster) != 0)
            log_lose(c, p, "this is the cluster %s; it was read on %s", c->cluster, p->cluster);
    }
}

/* A log that ends before our place answers a fetch just there with nothing, as an idle one does. */
static void ends_compare(struct consumer *c) {
    int64_t now = steady_ms(), low, end;
    each_partition(p, c) {
        if (p->state == PARTITION_LOST || rd_kafka_get_watermark_offsets(c->rk, p->topic, p->id, &low, &end) ||
            end < 0 || end >= p->next)
            p->short_since = 0;
        else if (!p->short_since)
            p->short_since = now;
        else if (now - p->short_since >= SHORT_MS)
            log_lose(
                c, p, "it ends at %lld, before offset %lld (it was cut, or made anew)", (long long)end,
                (long long)p->next);
    }
}

static void partitions_check_again(struct consumer *c) {
    c->check_again = false;
    each_partition(p, c) {
        if (p->state == PARTITION_LOST || p->mark_of == OFFSET_NONE) continue;
        partition_drop(c, p);
        partition_check(p);
        c->assign_again = true;
    }
}

/* Somebody decided: the database says where to go on. */
static void partitions_accept(struct consumer *c) {
    struct failure why;
    each_partition(p, c) {
        struct partition again;
        if (p->state != PARTITION_LOST) continue;
        if (partition_init(c, &again, p->topic, p->id, &why) != OK) {
            process_end(why.text);
            return;
        }
        if (!partition_move(p, again.state)) continue;
        pthread_mutex_lock(&c->lock);
        free(p->waiting);
        *p = again;
        pthread_mutex_unlock(&c->lock);
    }
    c->assign_again = true;
    log_report(c);
}

void log_watch(struct consumer *c) {
    if (c->check_again) partitions_check_again(c);
    if (atomic_exchange(&c->log_accepted, false)) partitions_accept(c);
    if (steady_ms() < c->watch_at) return;
    c->watch_at = steady_ms() + WATCH_MS;
    log_clusters_compare(c);
    ends_compare(c);
}
