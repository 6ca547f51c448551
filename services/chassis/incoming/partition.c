#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/incoming/consumer_private.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_FIRST_MS = 20, HELD_TOLD_MS = 320, HELD_MOST_MS = 2000 };

struct partition *partition_find(struct consumer *c, const char *topic, int32_t id) {
    for (size_t i = 0; i < c->partitions_n; i++)
        if (c->partitions[i].id == id && !strcmp(c->partitions[i].topic, topic)) return &c->partitions[i];
    return NULL;
}

void partitions_clear(struct consumer *c) {
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->partitions_n; i++) {
        struct partition *p = &c->partitions[i];
        for (size_t k = 0; k < p->waiting_n; k++) rd_kafka_message_destroy(p->waiting[k]);
        free(p->waiting);
    }
    free(c->partitions);
    c->partitions = NULL;
    c->partitions_n = 0;
    pthread_mutex_unlock(&c->lock);
}

/* From where to fetch: where the log has to be shown to be the one that was read, from its last record that was. */
void partition_start(struct partition *p) {
    p->checking = p->marked && p->next > 0;
    p->fetched = p->checking ? p->next - 1 : p->next;
    p->short_since = 0;
}

/* Where the service's own database says to go on; an absolute offset starts fastest, so 0 for a first run.
 */
verdict partition_init(struct consumer *c, struct partition *p, const char *topic, int32_t id, struct failure *why) {
    struct connection *reader = store_reader(c->core->store);
    *p = (struct partition){
        .id = id, .fresh = true, .ended = -1, .patience = {.left_ms = c->core->settings->unknown_id_ms}};
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    for (struct rows r = store_rows(
             reader, "SELECT next_offset, mark, cluster FROM consumer_offset WHERE topic = ? AND partition = ?",
             value_text(topic), value_int(id));
         rows_next(&r);) {
        p->fresh = false;
        p->next = rows_int(&r, 0);
        p->marked = !rows_null(&r, 1);
        p->mark = rows_int(&r, 1);
        snprintf(p->cluster, sizeof p->cluster, "%s", rows_text(&r, 2));
    }
    if (store_state(reader) != OK) return fail(why, FATAL, "%s", store_error(reader));
    partition_start(p);
    return OK;
}

verdict partitions_set(struct consumer *c, rd_kafka_topic_partition_list_t *list, struct failure *why) {
    struct partition *all = calloc((size_t)list->cnt + 1, sizeof *all);
    if (!all) return fail(why, FATAL, "out of memory");
    for (int i = 0; i < list->cnt; i++) {
        verdict v = partition_init(c, &all[i], list->elems[i].topic, list->elems[i].partition, why);
        if (v != OK) {
            free(all);
            return v;
        }
    }
    partitions_clear(c);
    pthread_mutex_lock(&c->lock);
    c->partitions = all;
    c->partitions_n = (size_t)list->cnt;
    pthread_mutex_unlock(&c->lock);
    return OK;
}

static rd_kafka_topic_partition_list_t *partition_list(const struct partition *p) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->id);
    return list;
}

void partition_pause(struct consumer *c, const struct partition *p) {
    rd_kafka_topic_partition_list_t *list = partition_list(p);
    rd_kafka_pause_partitions(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Its records stay where they are and are tried again later; nothing new is fetched for it meanwhile. */
void partition_hold(struct consumer *c, struct partition *p, const char *why) {
    if (!p->held_for) {
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

void partitions_try(struct consumer *c) {
    int64_t now = steady_ms();
    for (size_t i = 0; i < c->partitions_n; i++)
        if (c->partitions[i].held_until > now) c->partitions[i].held_until = now;
}

/* All that waited was handled, and there is no more: the next doubted id is waited for anew. */
static void partition_rest(const struct consumer *c, struct partition *p) {
    if (!p->waiting_n && p->ended >= 0) p->patience = (struct patience){.left_ms = c->core->settings->unknown_id_ms};
}

void partition_resume(struct consumer *c, struct partition *p) {
    partition_rest(c, p);
    if (!p->held_for) return;
    p->held_for = p->held_until = 0;
    rd_kafka_topic_partition_list_t *list = partition_list(p);
    rd_kafka_resume_partitions(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
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
    p->ended = -1;
    return OK;
}

void partition_drop(struct consumer *c, struct partition *p) {
    partition_resume(c, p);
    pthread_mutex_lock(&c->lock);
    for (size_t k = 0; k < p->waiting_n; k++) rd_kafka_message_destroy(p->waiting[k]);
    p->waiting_n = p->taken = 0;
    p->read_to = 0;
    pthread_mutex_unlock(&c->lock);
}

void partition_end(struct consumer *c, struct partition *p, int64_t offset) {
    pthread_mutex_lock(&c->lock);
    p->ended = offset;
    if (!p->passed_over) p->read_to = offset;
    partition_rest(c, p);
    pthread_mutex_unlock(&c->lock);
}

void partitions_unread(struct consumer *c) {
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->partitions_n; i++) {
        c->partitions[i].passed_over = false;
        c->partitions[i].ended = -1;
    }
    pthread_mutex_unlock(&c->lock);
}

int64_t partition_position(const struct partition *p) {
    return !p->waiting_n && p->read_to > p->next ? p->read_to : p->next;
}
