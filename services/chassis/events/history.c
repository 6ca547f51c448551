#include "chassis/events/history.h"

#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/wait.h"
#include "chassis/events/core.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/reader.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 400, ASK_MS = 2000, AWAY_MS = 200, AGAIN_MS = 1000, HELD_MS = 5000, LAST = 1000 };

struct history {
    struct core *core;
    void (*changed)(void *context);
    void *context;
    rd_kafka_t *rk;
    char group[NAME_SIZE];
    struct worker worker;
    bool begun, reached; /* reached: Kafka answered at all */
    atomic_bool asks, lost;
};

enum beginning history_of(struct connection *c) {
    return (enum beginning)store_int(
        c, BEGINNING_UNKNOWN, "SELECT COALESCE((SELECT ? + MAX(behind) FROM beginning), ?)", value_int(BEGUN),
        value_int(NOT_BEGUN));
}

void history_note(struct connection *c) {
    (void)store_run(c, "INSERT INTO beginning (at) VALUES (?)", value_int(clock_ms()));
}

/* False: it is told to end. */
static bool goes_on(struct history *h, int ms) {
    lock_auto(&h->worker.lock);
    return worker_rest(&h->worker, steady_ms() + ms);
}

/* --- A new database: what Kafka knows */

static verdict not_said(struct history *h, rd_kafka_resp_err_t error, struct right right, struct failure *why) {
    char reason[DENIAL_TEXT];
    rd_kafka_poll(h->rk, 0); /* what it says of its connections */
    return fail(why, RETRY, "%s", denial_reason(h->core->settings, error, right, reason));
}

/* REJECT: the topic was written to. The text says so, and gone whether nothing of that is there any more. It is asked
 * for by its name: from the list of all Kafka leaves out what this service may not describe. */
static verdict topic_empty(struct history *h, const char *topic, bool *gone, struct failure *why) {
    int32_t partitions = 0;
    verdict v = kafka_topic(h->rk, h->core->settings, topic, ASK_MS, &partitions, why);
    *gone = true;
    if (v == REJECT) return OK; /* there is none */
    for (int32_t i = 0; v != RETRY && i < partitions; i++) {
        int64_t low = 0, end = 0;
        rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(h->rk, topic, i, &low, &end, ASK_MS);
        if (error) return not_said(h, error, (struct right){"Describe", "topic", topic}, why);
        if (end > low) *gone = false;
        if (end > 0) v = fail(why, REJECT, "the topic \"%s\" was written to", topic);
    }
    return v;
}

/* REJECT: the group has read of some topic. The one that it is to read must be known. */
static verdict group_unknown(struct history *h, const rd_kafka_metadata_t *all, struct failure *why) {
    places_auto *list = rd_kafka_topic_partition_list_new(16);
    const char *owner;
    char read[NAME_SIZE];
    if (kafka_topic(
            h->rk, h->core->settings,
            topic_spec_of(&topic_spec_events, h->core->service->subscribes, h->core->settings, read, sizeof read),
            ASK_MS, NULL, why) == RETRY)
        return RETRY;
    for (const rd_kafka_metadata_topic_t *t = all->topics; t < all->topics + all->topic_cnt; t++)
        for (int k = 0; topic_owner(h->core->settings, t->topic, ".events", &owner) && k < t->partition_cnt; k++)
            rd_kafka_topic_partition_list_add(list, t->topic, t->partitions[k].id);
    rd_kafka_resp_err_t error = list->cnt ? rd_kafka_committed(h->rk, list, ASK_MS) : 0;
    verdict v = error ? not_said(h, error, (struct right){"Describe", "group", h->group}, why) : OK;
    for (int i = 0; v == OK && i < list->cnt; i++)
        if (list->elems[i].offset > 0)
            v = fail(why, REJECT, "its group has read of the topic \"%s\"", list->elems[i].topic);
    return v;
}

/* --- What is in its topic, and not in its database */

/* Behind the last record that was published to each partition. Of one that none is known of, its last records are
 * looked at. */
static void places_set(struct history *h, struct reader *own) {
    size_t n;
    struct place *places = reader_places(own, &n);
    for (struct place *p = places; p < places + n; p++) {
        int64_t sent = store_int(
            store_reader(h->core->store), -1, "SELECT record_offset FROM outbox_place WHERE partition = ?",
            value_int(p->partition));
        if (sent < 0 && p->end - p->begin > LAST) p->next = p->end - LAST;
        if (p->next <= sent) p->next = sent + 1;
    }
}

/* A record that has no number of an outbox is none of ours, whatever is in it. */
static bool is_known(struct history *h, const rd_kafka_message_t *m) {
    char sequence[24], id[UUID_TEXT + 1];
    struct uuid event;
    message_header(m, topic_spec_events.headers[CE_SEQUENCE].name, sequence, sizeof sequence);
    message_header(m, topic_spec_events.headers[CE_ID].name, id, sizeof id);
    if (strlen(sequence) != 19 || sequence[strspn(sequence, "0123456789")] || !uuid_parse(id, &event)) return true;
    return store_int(
        store_reader(h->core->store), 0, "SELECT 1 FROM outbox_state WHERE id = ? AND (event_id = ? OR state = 'sent')",
        value_int(strtoll(sequence, NULL, 10)), value_blob(event.bytes, sizeof event.bytes));
}

/* REJECT: its topic holds an event that this database never published. Of a new database all of it is read: others may
 * have written to its topic, and it finds its own first soon. */
static verdict all_known(struct history *h, struct failure *why) {
    struct reader *own = NULL;
    char name[NAME_SIZE];
    rd_kafka_message_t *m;
    topic_spec_name(&topic_spec_events, h->core->settings, name, sizeof name);
    verdict v = reader_open(&own, h->core->settings, why);
    if (v == OK && (v = reader_add(own, name, why)) == REJECT) v = OK; /* nothing was published yet */
    if (v == OK && h->begun) places_set(h, own);
    while (v == OK && goes_on(h, 0) && (v = reader_next(own, &m, why)) == OK && m) {
        if (!is_known(h, m) && (v = store_check(store_reader(h->core->store), why) == OK ? OK : RETRY) == OK)
            v = fail(
                why, REJECT, "%s[%d] holds an event at offset %lld that this database never published", name,
                m->partition, (long long)m->offset);
        rd_kafka_message_destroy(m);
    }
    reader_close(&own);
    return v;
}

/* REJECT: something is known. Others may publish to its topic of events, as another program does that takes returns
 * too. */
static verdict nothing_known(struct history *h, const rd_kafka_metadata_t *all, struct failure *why) {
    static const struct topic_spec *const own[] = {&topic_spec_events, &topic_spec_letters, &topic_spec_heads};
    char name[NAME_SIZE];
    verdict v = OK;
    bool gone;
    for (size_t i = 0; v == OK && i < sizeof own / sizeof *own; i++) {
        topic_spec_name(own[i], h->core->settings, name, sizeof name);
        v = topic_empty(h, name, &gone, why);
        if (v == REJECT && !gone && own[i] == &topic_spec_events) v = all_known(h, why);
    }
    return v == OK ? group_unknown(h, all, why) : v;
}

/* --- The thread */

static verdict look(struct history *h, struct failure *why) {
    metadata_auto *all = NULL;
    rd_kafka_resp_err_t error = kafka_topics(h->rk, &all, ASK_MS);
    h->reached = !error;
    if (error) return not_said(h, error, (struct right){"Describe", "cluster", ""}, why);
    return h->begun ? all_known(h, why) : nothing_known(h, all, why);
}

/* A rebuild goes by what is noted. */
static verdict note(struct history *h, verdict found, struct failure *why) {
    struct failure trouble;
    bool behind = found == REJECT;
    if (found == RETRY || (h->begun ? (history_of(store_reader(h->core->store)) == BEHIND) == behind : behind))
        return found;
    struct connection *c = store_begin(h->core->store);
    if (h->begun)
        (void)store_run(c, "UPDATE beginning SET behind = ?", value_int(behind));
    else
        history_note(c);
    return store_commit(c, &trouble) == OK ? found : fail(why, RETRY, "%s", trouble.text);
}

static void tell(struct history *h, verdict v, const struct failure *why) {
    char path[DATABASE_PATH];
    if (v == OK)
        health_set(
            h->core->health, "history", HEALTH_OK, "%s",
            h->begun ? "knows all that it published"
                     : "began with an empty database, and nothing was published before");
    else if (v == RETRY)
        health_set(
            h->core->health, "history", HEALTH_WAITING, "Kafka is asked whether anything was published %s: %.400s",
            h->begun ? "that the database does not know, as an older copy would not"
                     : "before, since the database is new",
            why->text);
    else
        health_set(
            h->core->health, "history", HEALTH_FAILED,
            "nothing is handled, published or accepted: %.150s, but the database \"%.160s\" is %s. Make it whole "
            "from the topics: ./returns rebuild %.40s; or start it with the %s that it had",
            why->text, settings_database(h->core->settings, path), h->begun ? "older than its topics" : "new",
            h->core->settings->service, h->begun ? "database" : "data-dir");
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
    int rest = 0;
    while (h->core->held && goes_on(h, rest)) {
        verdict v = look(h, &why);
        if (!goes_on(h, 0)) break; /* it may have looked at a part alone */
        v = note(h, v, &why);
        tell(h, v, &why);
        if (v == OK) h->core->held = false;
        if (v != RETRY) h->lost = v == REJECT;
        h->asks = false;
        h->changed(h->context);
        rest = v != RETRY ? HELD_MS : h->reached ? AGAIN_MS : AWAY_MS;
    }
    client_end(h);
    return NULL;
}

verdict history_start(
    struct history **out, struct core *core, void (*changed)(void *context), void *context, struct failure *why) {
    *out = NULL;
    if (core->service->in_memory) return OK;
    enum beginning begun = history_of(store_reader(core->store));
    if (begun == BEGINNING_UNKNOWN) return fail(why, RETRY, "the database does not say whether it has begun");
    core->held = true;
    struct history *h = *out = calloc(1, sizeof *h);
    if (!h) return fail(why, RETRY, "out of memory");
    *h = (struct history){
        .core = core, .changed = changed, .context = context, .begun = begun != NOT_BEGUN, .asks = true};
    settings_scoped(core->settings, core->settings->service, h->group, sizeof h->group);
    const struct property properties[] = {{"group.id", h->group}, {"enable.auto.commit", "false"}, {0}};
    verdict v = kafka_open(&h->rk, RD_KAFKA_CONSUMER, core->settings, NULL, NULL, properties, why);
    if (v != OK) return v;
    return worker_start(&h->worker, "history", history_run, h)
               ? OK
               : fail(why, FATAL, "could not start the history's thread");
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
    worker_stop(&h->worker);
    client_end(h);
    free(h);
    *out = NULL;
}
