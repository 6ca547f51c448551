#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/wait.h"
#include "chassis/incoming/consumer_private.h"
#include "chassis/kafka/client.h"
#include "chassis/store/store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_FIRST_MS = 20, HELD_TOLD_MS = 320, HELD_MOST_MS = 2000 };

/* --- Its state */

#define TO(state) (1u << PARTITION_##state)
static const unsigned moves[PARTITION_STATES] = {
    [PARTITION_CHECKING] = TO(CHECKING) | TO(READING) | TO(LOST),
    [PARTITION_READING] = TO(CHECKING) | TO(HELD) | TO(PASSING_OVER) | TO(LOST),
    [PARTITION_HELD] = TO(READING) | TO(HELD_PASSING_OVER),
    [PARTITION_PASSING_OVER] = TO(CHECKING) | TO(READING) | TO(HELD_PASSING_OVER) | TO(LOST),
    [PARTITION_HELD_PASSING_OVER] = TO(HELD) | TO(PASSING_OVER),
    [PARTITION_LOST] = TO(CHECKING) | TO(READING),
};

static const char *const names[PARTITION_STATES] = {
    [PARTITION_CHECKING] = "checking",
    [PARTITION_READING] = "reading",
    [PARTITION_HELD] = "held",
    [PARTITION_PASSING_OVER] = "passing over",
    [PARTITION_HELD_PASSING_OVER] = "held, passing over",
    [PARTITION_LOST] = "lost",
};

bool partition_may_move(enum partition_state from, enum partition_state to) {
    return moves[from] >> to & 1;
}

bool partition_move(struct partition *p, enum partition_state to) {
    static bool told;
    bool legal = partition_may_move(p->state, to);
    if (!legal && !told) {
        char id[24];
        told = true;
        log_line(
            LOG_ERROR, "a partition was to make a move that is not legal; it stays as it is (a fault of this program)",
            "topic", p->topic, "partition", log_number(id, p->id), "from", names[p->state], "to", names[to], NULL);
    }
    assert(legal);
    if (legal) p->state = to;
    return legal;
}

bool partition_is_held(const struct partition *p) {
    return p->state == PARTITION_HELD || p->state == PARTITION_HELD_PASSING_OVER;
}

bool partition_passes_over(const struct partition *p) {
    return p->state == PARTITION_PASSING_OVER || p->state == PARTITION_HELD_PASSING_OVER;
}

/* --- Those that are owned */

struct partition *partition_find(struct consumer *c, const char *topic, int32_t id) {
    each_partition(p, c)
        if (p->id == id && !strcmp(p->topic, topic)) return p;
    return NULL;
}

void partitions_clear(struct consumer *c) {
    lock_auto(&c->lock);
    each_partition(p, c) {
        partition_shift(p, p->waiting_n);
        free(p->waiting);
    }
    free(c->partitions);
    c->partitions = NULL;
    c->partitions_n = 0;
}

/* Where the service's own database says to go on. An absolute offset starts fastest, so 0 for a first run. */
verdict partition_init(struct consumer *c, struct partition *p, const char *topic, int32_t id, struct failure *why) {
    struct connection *reader = store_reader(c->core->store);
    *p = (struct partition){
        .id = id,
        .state = PARTITION_READING,
        .next = OFFSET_NONE,
        .mark_of = OFFSET_NONE,
        .ended = OFFSET_NONE,
        .end_first = OFFSET_NONE,
        .patience = {.left_ms = c->core->settings->unknown_id_ms}};
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    for (struct rows r = store_rows(
             reader, "SELECT next_offset, mark, cluster FROM consumer_offset WHERE topic = ? AND partition = ?",
             value_text(topic), value_int(id));
         rows_next(&r);) {
        p->next = rows_int(&r, 0);
        if (!rows_null(&r, 1)) p->mark_of = p->next - 1;
        p->mark = rows_int(&r, 1);
        snprintf(p->cluster, sizeof p->cluster, "%s", rows_text(&r, 2));
    }
    if (store_check(reader, why) != OK) return FATAL;
    p->fetched = partition_next(p);
    if (p->mark_of != OFFSET_NONE) partition_check(p);
    return OK;
}

verdict partitions_set(struct consumer *c, rd_kafka_topic_partition_list_t *list, struct failure *why) {
    struct partition *all = calloc((size_t)list->cnt + 1, sizeof *all);
    if (!all) return fail(why, FATAL, "out of memory");
    for (int i = 0; i < list->cnt; i++) {
        verdict v = partition_init(c, &all[i], list->elems[i].topic, list->elems[i].partition, why);
        if (v == OK) continue;
        free(all);
        return v;
    }
    partitions_clear(c);
    lock_auto(&c->lock);
    c->partitions = all;
    c->partitions_n = (size_t)list->cnt;
    return OK;
}

/* --- Holding */

/* set: rd_kafka_pause_partitions or rd_kafka_resume_partitions */
static void fetching_set(
    struct consumer *c, const struct partition *p,
    rd_kafka_resp_err_t (*set)(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)) {
    places_auto *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->id);
    set(c->rk, list);
}

void partition_pause(struct consumer *c, const struct partition *p) {
    fetching_set(c, p, rd_kafka_pause_partitions);
}

void partition_hold(struct consumer *c, struct partition *p, const char *why) {
    if (!partition_is_held(p)) {
        if (!partition_move(p, partition_passes_over(p) ? PARTITION_HELD_PASSING_OVER : PARTITION_HELD)) return;
        metric_add(METRIC_partitions_held, 1);
        partition_pause(c, p);
    }
    p->held_for = !p->held_for ? HELD_FIRST_MS : p->held_for < HELD_MOST_MS / 2 ? 2 * p->held_for : HELD_MOST_MS;
    int64_t left = patience_left(&p->patience);
    p->held_until = steady_ms() + (left < p->held_for ? left : p->held_for);
    char id[24];
    if (p->held_for == HELD_TOLD_MS) /* a schema that is merely being fetched is no news */
        log_line(
            LOG_WARNING, "partition held", "topic", p->topic, "partition", log_number(id, p->id), "reason", why, NULL);
}

int64_t partition_wait(const struct partition *p, int64_t now) {
    return partition_is_held(p) && p->held_until > now ? p->held_until - now : 0;
}

/* All that waited was handled, and there is no more: the next doubted id is waited for anew. */
static void partition_rest(const struct consumer *c, struct partition *p) {
    if (!p->waiting_n && p->ended >= 0) p->patience = (struct patience){.left_ms = c->core->settings->unknown_id_ms};
}

void partition_resume(struct consumer *c, struct partition *p) {
    partition_rest(c, p);
    if (!partition_is_held(p)) return;
    partition_move(p, partition_passes_over(p) ? PARTITION_PASSING_OVER : PARTITION_READING);
    p->held_for = p->held_until = 0;
    fetching_set(c, p, rd_kafka_resume_partitions);
    c->resumed = true;
}

/* --- What comes */

void partition_check(struct partition *p) {
    partition_move(p, PARTITION_CHECKING);
    p->fetched = p->mark_of;
    p->short_since = 0;
}

void partition_checked(struct partition *p) {
    partition_move(p, PARTITION_READING);
    p->fetched = p->next;
}

verdict partition_add(struct partition *p, rd_kafka_message_t *m) {
    if (p->waiting_n == p->waiting_size) {
        size_t size = p->waiting_size ? 2 * p->waiting_size : 64;
        rd_kafka_message_t **grown = realloc(p->waiting, size * sizeof *grown);
        if (!grown) return RETRY;
        p->waiting = grown;
        p->waiting_size = size;
    }
    p->waiting[p->waiting_n++] = m;
    p->fetched = m->offset + 1;
    p->ended = OFFSET_NONE;
    return OK;
}

void partition_shift(struct partition *p, size_t n) {
    for (size_t k = 0; k < n; k++) rd_kafka_message_destroy(p->waiting[k]);
    p->waiting_n -= n;
    if (p->waiting_n) memmove(p->waiting, p->waiting + n, p->waiting_n * sizeof *p->waiting);
}

void partition_pass_over(struct consumer *c, struct partition *p) {
    lock_auto(&c->lock);
    p->ended = OFFSET_NONE;
    if (!partition_passes_over(p))
        partition_move(p, partition_is_held(p) ? PARTITION_HELD_PASSING_OVER : PARTITION_PASSING_OVER);
}

void partition_drop(struct consumer *c, struct partition *p) {
    partition_resume(c, p);
    lock_auto(&c->lock);
    partition_shift(p, p->waiting_n);
    p->taken = 0;
    p->read_to = 0;
}

void partition_end(struct consumer *c, struct partition *p, int64_t offset) {
    lock_auto(&c->lock);
    p->ended = offset;
    if (!partition_passes_over(p)) p->read_to = offset;
    partition_rest(c, p);
}

void partitions_unread(struct consumer *c) {
    lock_auto(&c->lock);
    each_partition(p, c) {
        if (partition_passes_over(p)) partition_move(p, partition_is_held(p) ? PARTITION_HELD : PARTITION_READING);
        p->ended = OFFSET_NONE;
    }
}

/* --- Where it is */

int64_t partition_next(const struct partition *p) {
    return p->next == OFFSET_NONE ? 0 : p->next;
}

int64_t partition_position(const struct partition *p) {
    int64_t next = partition_next(p);
    return !p->waiting_n && p->read_to > next ? p->read_to : next;
}
