#include "chassis/history.h"

#include "chassis/denial.h"
#include "chassis/health.h"
#include "chassis/kafka.h"
#include "chassis/published.h"
#include "chassis/service.h"
#include "chassis/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_SIZE = 400, FIRST_MS = 500, ASK_MS = 2000, AGAIN_MS = 200, HELD_MS = 5000, POLL_MS = 20 };

struct history {
    struct runtime *rt;
    void (*changed)(void *runtime);
    rd_kafka_t *rk;
    char group[NAME_SIZE];
    pthread_t thread;
    bool running;
    atomic_bool stopping, asks, lost;
};

/* -1: it cannot be read. */
static int64_t has_begun(struct connection *c) {
    return store_int(c, -1, "SELECT EXISTS (SELECT 1 FROM beginning)");
}

bool history_is_new(struct connection *c) {
    return has_begun(c) == 0;
}

void history_note(struct connection *c) {
    (void)store_run(c, "INSERT INTO beginning (at) VALUES (?)", value_int(clock_ms()));
}

/* --- What Kafka knows */

static verdict not_said(struct history *h, rd_kafka_resp_err_t error, struct right right, struct failure *why) {
    char reason[DENIAL_TEXT];
    rd_kafka_poll(h->rk, 0); /* what it says of its connections */
    return fail(why, RETRY, "%s", denial_reason(h->rt->settings, error, right, reason));
}

/* REJECT: the topic was written to; the text says so. */
static verdict topic_empty(struct history *h, const rd_kafka_metadata_topic_t *topic, struct failure *why) {
    const struct right right = {"Describe", "topic", topic->topic};
    if (topic->err) return not_said(h, topic->err, right, why);
    for (int i = 0; i < topic->partition_cnt; i++) {
        int64_t low = 0, end = 0;
        rd_kafka_resp_err_t error =
            rd_kafka_query_watermark_offsets(h->rk, topic->topic, topic->partitions[i].id, &low, &end, ASK_MS);
        if (error) return not_said(h, error, right, why);
        if (end > 0) return fail(why, REJECT, "the topic \"%s\" holds what it published", topic->topic);
    }
    return OK;
}

static bool is_read(const struct history *h, const char *topic) {
    static const char ending[] = ".events";
    const char *namespace = h->rt->settings->namespace;
    size_t n = strlen(topic), k = sizeof ending - 1;
    return n > k && !strcmp(topic + n - k, ending) && !strncmp(topic, namespace, strlen(namespace));
}

/* REJECT: the group has read of some topic. */
static verdict group_unknown(struct history *h, const rd_kafka_metadata_t *all, struct failure *why) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (int i = 0; i < all->topic_cnt; i++)
        for (int k = 0; is_read(h, all->topics[i].topic) && k < all->topics[i].partition_cnt; k++)
            rd_kafka_topic_partition_list_add(list, all->topics[i].topic, all->topics[i].partitions[k].id);
    rd_kafka_resp_err_t error = list->cnt ? rd_kafka_committed(h->rk, list, ASK_MS) : 0;
    verdict v = error ? not_said(h, error, (struct right){"Describe", "group", h->group}, why) : OK;
    for (int i = 0; v == OK && i < list->cnt; i++)
        if (list->elems[i].offset > 0)
            v = fail(why, REJECT, "its group has read of the topic \"%s\"", list->elems[i].topic);
    rd_kafka_topic_partition_list_destroy(list);
    return v;
}

static verdict look(struct history *h, struct failure *why) {
    static const struct published *const own[] = {&published_events, &published_letters, &published_heads};
    const rd_kafka_metadata_t *all;
    char name[NAME_SIZE];
    rd_kafka_resp_err_t error = rd_kafka_metadata(h->rk, 1, NULL, &all, h->asks ? FIRST_MS : ASK_MS);
    if (error) return not_said(h, error, (struct right){"Describe", "cluster", ""}, why);
    verdict v = OK;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        published_topic(own[i], h->rt->settings, name, sizeof name);
        for (int k = 0; v == OK && k < all->topic_cnt; k++)
            if (!strcmp(all->topics[k].topic, name)) v = topic_empty(h, &all->topics[k], why);
    }
    if (v == OK) v = group_unknown(h, all, why);
    rd_kafka_metadata_destroy(all);
    return v;
}

/* --- The thread */

static verdict begin(struct history *h, struct failure *why) {
    struct connection *c = store_begin(h->rt->store);
    history_note(c);
    return store_commit(c, why);
}

static void tell(struct history *h, verdict v, const struct failure *why) {
    char path[DATABASE_PATH];
    if (v == OK)
        health_set(h->rt->health, "history", HEALTH_OK, "began with an empty database and empty topics");
    else if (v == RETRY)
        health_set(
            h->rt->health, "history", HEALTH_WAITING,
            "the database is new, so Kafka is asked whether anything was published before: %.400s", why->text);
    else
        health_set(
            h->rt->health, "history", HEALTH_FAILED,
            "nothing is handled, published or accepted: %.150s, but the database \"%.160s\" is new. Make it whole from the topics: ./returns rebuild %.40s; or start it with the data-dir that it had",
            why->text, settings_database(h->rt->settings, path), h->rt->settings->service);
}

static void pause_for(const struct history *h, int ms) {
    for (int64_t until = steady_ms() + ms; !h->stopping && steady_ms() < until;) usleep(POLL_MS * 1000);
}

/* It was never a member of its group, so there is nothing to leave. */
static void client_end(struct history *h) {
    if (h->rk) rd_kafka_destroy_flags(h->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    h->rk = NULL;
}

/* One that is held looks again: whoever forgets a service on purpose removes its topics and its group. */
static void *history_run(void *history) {
    struct history *h = history;
    struct failure why = {0};
    pthread_setname_np(pthread_self(), "history");
    while (!h->stopping && h->rt->held) {
        verdict v = look(h, &why);
        if (v == OK) v = begin(h, &why);
        if (h->stopping) break;
        tell(h, v, &why);
        if (v == OK) h->rt->held = false;
        if (v != RETRY) h->lost = v == REJECT;
        h->asks = false;
        h->changed(h->rt);
        if (v != OK) pause_for(h, v == RETRY ? AGAIN_MS : HELD_MS);
    }
    client_end(h);
    return NULL;
}

verdict history_start(struct history **out, struct runtime *rt, void (*changed)(void *runtime), struct failure *why) {
    *out = NULL;
    if (rt->service->in_memory) return OK;
    int64_t begun = has_begun(store_reader(rt->store));
    if (begun < 0) return fail(why, RETRY, "the database does not say whether it has begun");
    rt->held = !begun;
    if (!rt->held) return OK;
    struct history *h = *out = calloc(1, sizeof *h);
    if (!h) return fail(why, RETRY, "out of memory");
    *h = (struct history){.rt = rt, .changed = changed, .asks = true};
    settings_scoped(rt->settings, rt->settings->service, h->group, sizeof h->group);
    const struct property properties[] = {{"group.id", h->group}, {"enable.auto.commit", "false"}, {0}};
    verdict v = kafka_open(&h->rk, RD_KAFKA_CONSUMER, rt->settings, NULL, NULL, properties, why);
    if (v != OK) return v;
    h->running = !pthread_create(&h->thread, NULL, history_run, h);
    return h->running ? OK : fail(why, FATAL, "could not start the history's thread");
}

bool history_asks(const struct history *h) {
    return h && h->asks;
}

bool history_lost(const struct history *h) {
    return h && h->lost;
}

void history_stop(struct history **out) {
    struct history *h = *out;
    if (!h) return;
    h->stopping = true;
    if (h->running) pthread_join(h->thread, NULL);
    client_end(h);
    free(h);
    *out = NULL;
}
