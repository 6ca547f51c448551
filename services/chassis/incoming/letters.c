#include "chassis/incoming/letters.h"

#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/wait.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPICS_MS = 2000, ASK_MS = 2000, POLL_MS = 300, NAME_SIZE = 400, REASON_MAX = 1000 };

struct letters {
    struct core *core;
    rd_kafka_t *rk;
    char topic[NAME_SIZE];
    struct worker worker;
    int assigned; /* partitions. −1: of one of them reading was denied, since they were looked at */
};

/* "NAME" of "demo.NAME.dead-letters". False: it is no topic of letters of this namespace. */
static bool team_of(const struct letters *l, const char *topic, char out[NAME_SIZE]) {
    const char *name;
    size_t n = topic_owner(l->core->settings, topic, ".dead-letters", &name);
    snprintf(out, NAME_SIZE, "%.*s", (int)n, n ? name : "");
    return n > 0 && n < NAME_SIZE;
}

/* A topic that is new makes all of them be read again: who takes the letters knows them. So does a denial, which would
 * not be heard to end. */
static void topics_look(struct letters *l) {
    metadata_auto *found = NULL;
    char team[NAME_SIZE];
    if (kafka_topics(l->rk, &found, ASK_MS)) return;
    places_auto *all = rd_kafka_topic_partition_list_new(16);
    for (int i = 0; i < found->topic_cnt; i++)
        for (int p = 0; team_of(l, found->topics[i].topic, team) && p < found->topics[i].partition_cnt; p++)
            rd_kafka_topic_partition_list_add(all, found->topics[i].topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    if (l->assigned >= 0) health_set(l->core->health, "kafka letters", HEALTH_OK, "reads what services put aside");
    if (all->cnt != l->assigned && !rd_kafka_assign(l->rk, all)) l->assigned = all->cnt;
}

static void letter_take(struct letters *l, const rd_kafka_message_t *m) {
    char team[NAME_SIZE], topic[NAME_SIZE], partition[24], offset[24], reason[REASON_MAX], answered[TIME_TEXT],
        redriven[8];
    int64_t at = rd_kafka_message_timestamp(m, NULL), answered_at = 0;
    struct failure why;
    if (!team_of(l, rd_kafka_topic_name(m->rkt), team) ||
        strcmp(message_header(m, "dead-letter.topic", topic, sizeof topic), l->topic) != 0 ||
        !*message_header(m, "dead-letter.partition", partition, sizeof partition) ||
        !*message_header(m, "dead-letter.offset", offset, sizeof offset))
        return;
    if (!time_parse(message_header(m, "dead-letter.answered-at", answered, sizeof answered), &answered_at))
        answered_at = 0;
    bool done = !strcmp(message_header(m, "dead-letter.redriven", redriven, sizeof redriven), "true");
    do {
        struct connection *c = store_begin(l->core->store);
        l->core->service->put_aside(
            c, &(struct put_aside){
                   team, strtol(partition, NULL, 10), strtoll(offset, NULL, 10), at, answered_at, done,
                   message_header(m, "dead-letter.reason", reason, sizeof reason)});
        if (store_commit(c, &why) == OK) return;
        log_line(LOG_WARNING, "could not keep what a service has put aside", "reason", why.text, NULL);
    } while (worker_pause(&l->worker, steady_ms() + POLL_MS));
}

/* A return seems handled where it was put aside, so it is said. */
static void letter_denied(struct letters *l, const rd_kafka_message_t *m) {
    char text[DENIAL_TEXT];
    l->assigned = -1;
    health_set(
        l->core->health, "kafka letters", HEALTH_WAITING, "what was put aside is not known: %.400s",
        denial_text(l->core->settings, (struct right){"Read", "topic", rd_kafka_topic_name(m->rkt)}, text));
}

static void *letters_run(void *letters) {
    struct letters *l = letters;
    int64_t due = 0;
    while (worker_pause(&l->worker, 0)) {
        if (steady_ms() >= due) {
            topics_look(l);
            due = steady_ms() + TOPICS_MS;
        }
        rd_kafka_message_t *m = rd_kafka_consumer_poll(l->rk, POLL_MS);
        if (m && !m->err) letter_take(l, m);
        if (m && denial_is(m->err)) letter_denied(l, m);
        if (m) rd_kafka_message_destroy(m);
    }
    return NULL;
}

verdict letters_start(struct letters **out, struct core *core, struct failure *why) {
    struct letters *l = *out = calloc(1, sizeof *l);
    char group[NAME_SIZE];
    if (!l) return fail(why, FATAL, "out of memory");
    l->core = core;
    (void)topic_spec_name(&topic_spec_events, core->settings, l->topic, sizeof l->topic);
    /* It joins no group, but librdkafka wants one to assign partitions. */
    settings_scoped(core->settings, core->settings->service, group, sizeof group);
    const struct property properties[] = {
        {"group.id", group},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "earliest"},
        {"queued.max.messages.kbytes", "1024"},
        {0}};
    verdict v = kafka_open(&l->rk, RD_KAFKA_CONSUMER, core->settings, NULL, NULL, properties, why);
    if (v != OK) return v;
    rd_kafka_poll_set_consumer(l->rk); /* also for what it says of its connections */
    return worker_start(&l->worker, "letters", letters_run, l)
               ? OK
               : fail(why, FATAL, "could not start the letters' thread");
}

void letters_stop(struct letters **out) {
    struct letters *l = *out;
    if (!l) return;
    worker_stop(&l->worker);
    if (l->rk) {
        rd_kafka_assign(l->rk, NULL);
        rd_kafka_destroy_flags(l->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    free(l);
    *out = NULL;
}
