#include "chassis/fleet/subscribers.h"

#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/wait.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DAY_MS = 24 * 3600 * 1000,
    HOUR_MS = 3600 * 1000,
    MINUTE_MS = 60 * 1000,
    EVERY_MS = 400,
    ANSWER_MS = 2000,
    NAME_SIZE = 400
};

struct subscribers {
    struct subscribers_options options;
    struct admin admin;
    char topic[NAME_SIZE], own_group[NAME_SIZE];
    struct worker worker;
    bool refused;      /* in the round at hand */
    bool asked_before; /* since the start */
    json_t *said;      /* the last answer that was whole, or one without a team. Under the worker's lock */
    /* The thread's: what the tables have. known: {"NAME": {"0": next offset, …}, …}, life: {"NAME": ms, …} */
    json_t *known, *life;
    int64_t life_kept_at;
    int64_t retention_ms, retention_due; /* how long Kafka keeps the offsets of an empty group. 0: not asked yet */
};

/* An answer of Kafka is {"teams": {…}, "urls": {…}, "others": […], "listed": {…}}, where listed has every group, a
 * subscriber or not. */
static json_t *answer_new(void) {
    return json_pack("{s:{}, s:{}, s:[], s:{}}", "teams", "urls", "others", "listed");
}

/* A return seems not handled by a team that one may not ask about, so that is said. */
static void refused(struct subscribers *s, rd_kafka_resp_err_t error, struct right right) {
    char reason[DENIAL_TEXT];
    if (!denial_is(error)) return;
    s->refused = true;
    health_set(
        s->options.health, "kafka groups", HEALTH_WAITING, "how far a team is, is not known: %s",
        denial_text(s->options.settings, right, reason));
}

/* Where a group says that it is, with the offsets of that topic, or of any (NULL). Several instances may say several
 * places: always the same one of them. False: nowhere. */
static bool url_read(const rd_kafka_topic_partition_list_t *found, const char *topic, char out[SOURCE_URL]) {
    out[0] = '\0';
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *one = &found->elems[i];
        char url[SOURCE_URL] = "";
        if (!one->metadata || one->metadata_size >= sizeof url || (topic && strcmp(one->topic, topic) != 0)) continue;
        memcpy(url, one->metadata, one->metadata_size);
        if (source_url_valid(url) && (!*out || strcmp(url, out) < 0)) strcpy(out, url);
    }
    return *out;
}

static void life_note(struct subscribers *s, const char *team) {
    json_object_set_new(s->life, team, json_integer(clock_ms()));
}

static bool is_subscriber(struct subscribers *s, const char *team) {
    bool (*publishes)(struct connection * c, const char *service) = s->options.publishes;
    return json_object_get(s->known, team) || (publishes && publishes(store_reader(s->options.store), team));
}

/* What a group has committed: {"0": next offset, …} of this service's topic, and its address. */
static void
group_read(struct subscribers *s, const rd_kafka_topic_partition_list_t *found, const char *team, json_t *answer) {
    json_auto_t *offsets = admin_offsets_of(found, s->topic);
    const json_t *before = json_object_get(s->known, team);
    bool further = false;
    char url[SOURCE_URL];
    json_members(m, offsets) further |= !json_equal(m.value, json_object_get(before, m.name));
    bool reads = json_object_size(offsets), placed = url_read(found, s->topic, url) || url_read(found, NULL, url);
    /* What a known one did while this service was down is no sign of when. */
    if (further && (s->asked_before || !before)) life_note(s, team);
    if (reads && (placed || is_subscriber(s, team)))
        json_object_set(json_object_get(answer, "teams"), team, offsets);
    else if (reads)
        json_array_append_new(json_object_get(answer, "others"), json_string(team));
    if (placed) json_object_set_new(json_object_get(answer, "urls"), team, json_string(url));
}

/* For one group, of all topics, as its address may be with any. False: no answer. What one may not see is as if it were
 * not there. */
static bool group_ask(struct subscribers *s, const char *group, const char *team, json_t *answer) {
    const rd_kafka_topic_partition_list_t *found;
    rd_kafka_resp_err_t error;
    rd_kafka_event_t *event = admin_offsets(&s->admin, group, &found, &error);
    if (event && found) group_read(s, found, team, answer);
    if (event) rd_kafka_event_destroy(event);
    refused(s, error, (struct right){"Describe", "group", group});
    return !error || error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
}

/* The team of a group of this namespace. NULL for other groups and for this service's own. */
static const char *team_of(const struct subscribers *s, const char *group) {
    const struct settings *settings = s->options.settings;
    if (!strcmp(group, s->own_group) || (!*settings->namespace && strchr(group, '.'))) return NULL;
    return name_unscoped(settings, group);
}

static void answer_keep(struct subscribers *s, json_t *answer) {
    lock_auto(&s->worker.lock);
    json_decref(s->said);
    s->said = json_incref(answer);
}

static json_t *said_copy(struct subscribers *s, const char *member) {
    lock_auto(&s->worker.lock);
    return json_deep_copy(json_object_get(s->said, member));
}

json_t *subscribers_others(struct subscribers *s) {
    return s ? said_copy(s, "others") : json_array();
}

json_t *subscribers_urls(struct subscribers *s) {
    return s ? said_copy(s, "urls") : json_object();
}

/* --- What Kafka has forgotten */

static bool lives(const rd_kafka_ConsumerGroupListing_t *group) {
    rd_kafka_consumer_group_state_t state = rd_kafka_ConsumerGroupListing_state(group);
    return state == RD_KAFKA_CONSUMER_GROUP_STATE_STABLE ||
           state == RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE ||
           state == RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE;
}

/* Kafka itself forgets a group only when it was without life for that long. Where Kafka does not say how long, a day:
 * less than its default. */
static bool was_deleted(struct subscribers *s, const json_t *answer, const char *team) {
    if (json_object_get(json_object_get(answer, "listed"), team)) return false;
    if (steady_ms() >= s->retention_due) {
        int64_t minutes = admin_broker_number(&s->admin, "offsets.retention.minutes");
        s->retention_due = steady_ms() + MINUTE_MS;
        if (minutes > 0 || !s->retention_ms) s->retention_ms = minutes > 0 ? minutes * MINUTE_MS : DAY_MS;
    }
    return clock_ms() - json_get_int(s->life, team) < s->retention_ms;
}

/* A topic that was made anew holds less than was passed of the one before: of this one nothing was. False: that is not
 * known. */
static bool still_passed(struct subscribers *s, const char *partition, json_int_t *next) {
    int64_t low, high;
    if (rd_kafka_query_watermark_offsets(s->admin.rk, s->topic, (int32_t)atoi(partition), &low, &high, ANSWER_MS))
        return false;
    if (*next > high) *next = 0;
    return true;
}

/* Adds to what Kafka said what was known before: of a group that is gone, or of some partitions of one. */
static bool forgotten_add(struct subscribers *s, const json_t *answer) {
    json_t *teams = json_object_get(answer, "teams");
    json_members(team, s->known) {
        if (was_deleted(s, answer, team.name)) continue;
        json_t *offsets = json_object_get(teams, team.name);
        if (!offsets) json_object_set_new(teams, team.name, offsets = json_object());
        json_members(before, team.value) {
            json_int_t next = json_integer_value(before.value);
            if (json_object_get(offsets, before.name)) continue;
            if (!still_passed(s, before.name, &next)) return false;
            json_object_set_new(offsets, before.name, json_integer(next));
        }
    }
    return true;
}

static void known_read(struct subscribers *s) {
    struct connection *reader = store_reader(s->options.store);
    char partition[24];
    s->known = json_object(), s->life = json_object();
    for (struct rows r = store_rows(reader, "SELECT team, partition, next_offset FROM subscriber_offset");
         rows_next(&r);) {
        json_t *offsets = json_object_get(s->known, rows_text(&r, 0));
        if (!offsets) json_object_set_new(s->known, rows_text(&r, 0), offsets = json_object());
        json_object_set_new(offsets, log_number(partition, rows_int(&r, 1)), json_integer(rows_int(&r, 2)));
    }
    for (struct rows r = store_rows(reader, "SELECT team, at FROM subscriber_life"); rows_next(&r);)
        json_object_set_new(s->life, rows_text(&r, 0), json_integer(rows_int(&r, 1)));
}

/* --- Asking and keeping */

/* Every team with its offsets. NULL: Kafka does not answer. The caller's. */
static json_t *teams_ask(struct subscribers *s) {
    const rd_kafka_ConsumerGroupListing_t **groups;
    rd_kafka_resp_err_t error;
    size_t n;
    s->refused = false;
    rd_kafka_event_t *event = admin_groups(&s->admin, &groups, &n, &error);
    refused(s, error, (struct right){"Describe", "cluster", ""});
    if (!event) return NULL;
    bool answered = true;
    json_auto_t *answer = answer_new();
    for (size_t i = 0; answered && i < n; i++) {
        const char *group = rd_kafka_ConsumerGroupListing_group_id(groups[i]), *team = team_of(s, group);
        if (!team) continue;
        json_object_set_new(json_object_get(answer, "listed"), team, json_true());
        if (lives(groups[i])) life_note(s, team);
        answered = group_ask(s, group, team, answer);
    }
    rd_kafka_event_destroy(event);
    if (!answered || !forgotten_add(s, answer)) return NULL;
    if (!s->refused) health_set(s->options.health, "kafka groups", HEALTH_OK, "says how far each team is");
    answer_keep(s, answer);
    s->asked_before = true;
    return json_incref(json_object_get(answer, "teams"));
}

/* False: it is to be tried again. */
static bool teams_store(struct subscribers *s, json_t *teams) {
    struct failure why;
    struct connection *c = store_begin_relaxed(s->options.store);
    (void)store_run(c, "DELETE FROM subscriber_offset");
    (void)store_run(c, "DELETE FROM subscriber_life");
    json_members(team, teams) {
        const json_t *before = json_object_get(s->known, team.name);
        (void)store_run(
            c, "INSERT INTO subscriber_life (team, at) VALUES (?, ?)", value_text(team.name),
            value_int(json_get_int(s->life, team.name)));
        json_members(offset, team.value) {
            int64_t id = atoll(offset.name), next = json_integer_value(offset.value);
            (void)store_run(
                c, "INSERT INTO subscriber_offset (team, partition, next_offset) VALUES (?, ?, ?)",
                value_text(team.name), value_int(id), value_int(next));
            if (s->options.passed && !json_equal(offset.value, json_object_get(before, offset.name)))
                s->options.passed(c, team.name, id, next);
        }
    }
    return store_commit(c, &why) == OK;
}

static void round_run(struct subscribers *s) {
    json_auto_t *teams = teams_ask(s);
    rd_kafka_poll(s->admin.rk, 0); /* what it says of its connections */
    if (!teams || (json_equal(teams, s->known) && steady_ms() - s->life_kept_at < HOUR_MS)) return;
    if (!teams_store(s, teams)) return;
    s->life_kept_at = steady_ms();
    json_decref(s->known);
    s->known = json_incref(teams);
}

static void *subscribers_run(void *subscribers) {
    struct subscribers *s = subscribers;
    known_read(s);
    for (int64_t due = 0; worker_pause(&s->worker, due); due = steady_ms() + EVERY_MS) round_run(s);
    json_decref(s->known);
    json_decref(s->life);
    return NULL;
}

verdict subscribers_start(struct subscribers **out, const struct subscribers_options *o, struct failure *why) {
    struct subscribers *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, FATAL, "out of memory");
    s->options = *o;
    s->said = answer_new();
    topic_spec_name(&topic_spec_events, o->settings, s->topic, sizeof s->topic);
    settings_scoped(o->settings, o->settings->service, s->own_group, sizeof s->own_group);
    verdict v = admin_open(&s->admin, o->settings, ANSWER_MS, why);
    if (v != OK) return v;
    return worker_start(&s->worker, "subscribers", subscribers_run, s)
               ? OK
               : fail(why, FATAL, "could not start the subscribers' thread");
}

void subscribers_stop(struct subscribers **out) {
    struct subscribers *s = *out;
    if (!s) return;
    worker_end(&s->worker); /* before its wait for Kafka is ended, so that no other begins */
    if (s->admin.answers) rd_kafka_queue_yield(s->admin.answers);
    worker_stop(&s->worker);
    admin_close(&s->admin);
    json_decref(s->said);
    free(s);
    *out = NULL;
}
