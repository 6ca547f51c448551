#include "chassis/fleet/subscribers.h"

#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/wait.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <pthread.h>
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
    rd_kafka_t *rk;
    rd_kafka_queue_t *answers;
    char topic[NAME_SIZE], own_group[NAME_SIZE];
    pthread_t thread;
    bool running, stopping;
    bool refused;      /* in the round at hand */
    bool asked_before; /* since the start */
    pthread_mutex_t lock;
    pthread_cond_t stop;
    json_t *urls, *others; /* under the lock */
    /* The thread's: what the tables have. known: {"NAME": {"0": next offset, …}, …}; life: {"NAME": ms, …} */
    json_t *known, *life;
    int64_t life_kept_at;
    int64_t retention_ms, retention_due; /* how long Kafka keeps the offsets of an empty group; 0: not asked yet */
};

/* What Kafka said this time. */
struct asked {
    json_t *teams, *urls, *others;
    json_t *listed; /* every group, a subscriber or not */
};

/* A return seems not handled by a team that one may not ask about, so that is said. */
static void refused(struct subscribers *s, rd_kafka_resp_err_t error, struct right right) {
    char reason[DENIAL_TEXT];
    if (!denial_is(error)) return;
    s->refused = true;
    health_set(
        s->options.health, "kafka groups", HEALTH_WAITING, "how far a team is, is not known: %s",
        denial_text(s->options.settings, right, reason));
}

/* The answer to a question asked just before; NULL: none in time, or an error. The caller destroys it. */
static rd_kafka_event_t *answer_await(struct subscribers *s, rd_kafka_event_type_t type, struct right right) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(s->answers, ANSWER_MS + 500);
    if (event && rd_kafka_event_type(event) == type && !rd_kafka_event_error(event)) return event;
    if (event) refused(s, rd_kafka_event_error(event), right);
    if (event) rd_kafka_event_destroy(event);
    return NULL;
}

static rd_kafka_AdminOptions_t *options_new(struct subscribers *s, rd_kafka_admin_op_t operation) {
    char text[200];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(s->rk, operation);
    rd_kafka_AdminOptions_set_request_timeout(options, ANSWER_MS, text, sizeof text);
    return options;
}

/* One that came too late is about another group, whose offsets must not be taken for this one's; and a group whose
 * coordinator is away has not lost its offsets. What one may not see is as if it were not there. */
static bool is_answer(const rd_kafka_group_result_t *result, const char *group) {
    const rd_kafka_error_t *error = rd_kafka_group_result_error(result);
    return !strcmp(rd_kafka_group_result_name(result), group) &&
           (!error || rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
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

static bool came_further(const struct subscribers *s, const char *team, json_t *offsets) {
    const json_t *before = json_object_get(s->known, team);
    const char *partition;
    json_t *offset;
    json_object_foreach(
        offsets, partition, offset) if (!json_equal(offset, json_object_get(before, partition))) return true;
    return false;
}

static bool is_subscriber(struct subscribers *s, const char *team) {
    bool (*publishes)(struct connection * c, const char *service) = s->options.publishes;
    return json_object_get(s->known, team) || (publishes && publishes(store_reader(s->options.store), team));
}

/* What a group has committed: {"0": next offset, …} of this service's topic, and its address. */
static void
group_read(struct subscribers *s, const rd_kafka_topic_partition_list_t *found, const char *team, struct asked *out) {
    json_t *offsets = json_object();
    char partition[24], url[SOURCE_URL];
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *one = &found->elems[i];
        if (one->offset >= 0 && !strcmp(one->topic, s->topic))
            json_object_set_new(offsets, log_number(partition, one->partition), json_integer(one->offset));
    }
    bool reads = json_object_size(offsets), placed = url_read(found, s->topic, url) || url_read(found, NULL, url);
    /* What a known one did while this service was down is no sign of when. */
    bool seen = s->asked_before || !json_object_get(s->known, team);
    if (seen && came_further(s, team, offsets)) life_note(s, team);
    if (reads && (placed || is_subscriber(s, team)))
        json_object_set(out->teams, team, offsets);
    else if (reads)
        json_array_append_new(out->others, json_string(team));
    if (placed) json_object_set_new(out->urls, team, json_string(url));
    json_decref(offsets);
}

/* For one group, of all topics, as its address may be with any. False: no answer. */
static bool group_ask(struct subscribers *s, const char *group, const char *team, struct asked *out) {
    const struct right right = {"Describe", "group", group};
    rd_kafka_ListConsumerGroupOffsets_t *question = rd_kafka_ListConsumerGroupOffsets_new(group, NULL);
    rd_kafka_AdminOptions_t *options = options_new(s, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets(s->rk, &question, 1, options, s->answers);
    rd_kafka_event_t *event = answer_await(s, RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT, right);
    size_t n = 0;
    const rd_kafka_group_result_t **groups = event ? rd_kafka_ListConsumerGroupOffsets_result_groups(
                                                         rd_kafka_event_ListConsumerGroupOffsets_result(event), &n)
                                                   : NULL;
    bool answered = n && is_answer(groups[0], group);
    if (answered) refused(s, rd_kafka_error_code(rd_kafka_group_result_error(groups[0])), right);
    const rd_kafka_topic_partition_list_t *found = answered ? rd_kafka_group_result_partitions(groups[0]) : NULL;
    if (found) group_read(s, found, team, out);
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    return answered;
}

/* The team of a group of this namespace; NULL for other groups and for this service's own. */
static const char *team_of(const struct subscribers *s, const char *group) {
    const struct settings *settings = s->options.settings;
    if (!strcmp(group, s->own_group) || (!*settings->namespace && strchr(group, '.'))) return NULL;
    return name_unscoped(settings, group);
}

static void asked_keep(struct subscribers *s, struct asked *a) {
    pthread_mutex_lock(&s->lock);
    json_t *urls = s->urls, *others = s->others;
    s->urls = a->urls, s->others = a->others;
    pthread_mutex_unlock(&s->lock);
    json_decref(urls);
    json_decref(others);
}

json_t *subscribers_others(struct subscribers *s) {
    if (!s) return json_array();
    pthread_mutex_lock(&s->lock);
    json_t *others = json_deep_copy(s->others);
    pthread_mutex_unlock(&s->lock);
    return others ? others : json_array();
}

json_t *subscribers_urls(struct subscribers *s) {
    if (!s) return json_object();
    pthread_mutex_lock(&s->lock);
    json_t *urls = json_deep_copy(s->urls);
    pthread_mutex_unlock(&s->lock);
    return urls ? urls : json_object();
}

/* --- What Kafka has forgotten */

static bool lives(const rd_kafka_ConsumerGroupListing_t *group) {
    rd_kafka_consumer_group_state_t state = rd_kafka_ConsumerGroupListing_state(group);
    return state == RD_KAFKA_CONSUMER_GROUP_STATE_STABLE ||
           state == RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE ||
           state == RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE;
}

/* In minutes; 0: it is not among them. */
static int64_t retention_of(const rd_kafka_ConfigResource_t *broker) {
    size_t n;
    const rd_kafka_ConfigEntry_t **all = rd_kafka_ConfigResource_configs(broker, &n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rd_kafka_ConfigEntry_name(all[i]), "offsets.retention.minutes") &&
            rd_kafka_ConfigEntry_value(all[i]))
            return strtoll(rd_kafka_ConfigEntry_value(all[i]), NULL, 10);
    return 0;
}

/* Where Kafka does not say it, a day: less than its default. */
static void retention_ask(struct subscribers *s) {
    char broker[24];
    s->retention_due = steady_ms() + MINUTE_MS;
    if (!s->retention_ms) s->retention_ms = DAY_MS;
    int32_t id = rd_kafka_controllerid(s->rk, ANSWER_MS);
    if (id < 0) return;
    rd_kafka_ConfigResource_t *question = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, log_number(broker, id));
    rd_kafka_AdminOptions_t *options = options_new(s, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(s->rk, &question, 1, options, s->answers);
    rd_kafka_event_t *event = rd_kafka_queue_poll(s->answers, ANSWER_MS + 500);
    if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT && !rd_kafka_event_error(event)) {
        size_t n;
        const rd_kafka_ConfigResource_t **found =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n);
        int64_t minutes = n ? retention_of(found[0]) : 0;
        if (minutes > 0) s->retention_ms = minutes * MINUTE_MS;
    }
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(question);
}

/* Kafka itself forgets a group only when it was without life for that long. */
static bool was_deleted(struct subscribers *s, const struct asked *a, const char *team) {
    if (json_object_get(a->listed, team)) return false;
    if (steady_ms() >= s->retention_due) retention_ask(s);
    return clock_ms() - json_integer_value(json_object_get(s->life, team)) < s->retention_ms;
}

/* A topic that was made anew holds less than was passed of the one before: of this one nothing was. False: not known.
 */
static bool still_passed(struct subscribers *s, const char *partition, json_int_t *next) {
    int64_t low, high;
    if (rd_kafka_query_watermark_offsets(s->rk, s->topic, (int32_t)atoi(partition), &low, &high, ANSWER_MS))
        return false;
    if (*next > high) *next = 0;
    return true;
}

/* Adds to what Kafka said what was known before: of a group that is gone, or of some partitions of one. */
static bool forgotten_add(struct subscribers *s, struct asked *a) {
    const char *team, *partition;
    json_t *before, *offset;
    json_object_foreach(s->known, team, before) {
        if (was_deleted(s, a, team)) continue;
        json_t *offsets = json_object_get(a->teams, team);
        if (!offsets) json_object_set_new(a->teams, team, offsets = json_object());
        json_object_foreach(before, partition, offset) {
            json_int_t next = json_integer_value(offset);
            if (json_object_get(offsets, partition)) continue;
            if (!still_passed(s, partition, &next)) return false;
            json_object_set_new(offsets, partition, json_integer(next));
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

/* Every team with its offsets; NULL when Kafka does not answer. The caller's. */
static json_t *teams_ask(struct subscribers *s) {
    const struct right right = {"Describe", "cluster", ""};
    rd_kafka_AdminOptions_t *options = options_new(s, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    s->refused = false;
    rd_kafka_ListConsumerGroups(s->rk, options, s->answers);
    rd_kafka_event_t *event = answer_await(s, RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT, right);
    rd_kafka_AdminOptions_destroy(options);
    if (!event) return NULL;
    const rd_kafka_ListConsumerGroups_result_t *result = rd_kafka_event_ListConsumerGroups_result(event);
    size_t n, errors;
    const rd_kafka_ConsumerGroupListing_t **groups = rd_kafka_ListConsumerGroups_result_valid(result, &n);
    rd_kafka_ListConsumerGroups_result_errors(result, &errors);
    bool answered = !errors; /* a coordinator that is away would make its groups look gone */
    struct asked a = {json_object(), json_object(), json_array(), json_object()};
    for (size_t i = 0; answered && i < n; i++) {
        const char *group = rd_kafka_ConsumerGroupListing_group_id(groups[i]), *team = team_of(s, group);
        if (!team) continue;
        json_object_set_new(a.listed, team, json_true());
        if (lives(groups[i])) life_note(s, team);
        answered = group_ask(s, group, team, &a);
    }
    answered = answered && forgotten_add(s, &a);
    json_decref(a.listed);
    rd_kafka_event_destroy(event);
    if (answered) {
        if (!s->refused) health_set(s->options.health, "kafka groups", HEALTH_OK, "says how far each team is");
        asked_keep(s, &a);
        s->asked_before = true;
        return a.teams;
    }
    json_decref(a.urls);
    json_decref(a.others);
    json_decref(a.teams);
    return NULL;
}

static void
team_passed(struct subscribers *s, struct connection *c, const char *team, json_t *offsets, json_t *before) {
    const char *partition;
    json_t *offset;
    json_object_foreach(offsets, partition, offset) if (!json_equal(offset, json_object_get(before, partition)))
        s->options.passed(c, team, atoll(partition), json_integer_value(offset));
}

static void teams_store(struct subscribers *s, json_t *teams) {
    const char *team, *partition;
    json_t *offsets, *offset;
    s->life_kept_at = steady_ms();
    struct failure why;
    struct connection *c = store_begin(s->options.store);
    (void)store_run(c, "DELETE FROM subscriber_offset");
    json_object_foreach(teams, team, offsets) json_object_foreach(offsets, partition, offset)(void) store_run(
        c, "INSERT INTO subscriber_offset (team, partition, next_offset) VALUES (?, ?, ?)", value_text(team),
        value_int(atoll(partition)), value_int(json_integer_value(offset)));
    if (s->options.passed)
        json_object_foreach(teams, team, offsets) team_passed(s, c, team, offsets, json_object_get(s->known, team));
    (void)store_run(c, "DELETE FROM subscriber_life");
    json_object_foreach(teams, team, offsets)(void) store_run(
        c, "INSERT INTO subscriber_life (team, at) VALUES (?, ?)", value_text(team),
        value_int(json_integer_value(json_object_get(s->life, team))));
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not keep the subscribers' offsets", "reason", why.text, NULL);
}

/* False when it is time to stop. */
static bool subscribers_sleep(struct subscribers *s) {
    int64_t until = steady_ms() + EVERY_MS;
    pthread_mutex_lock(&s->lock);
    while (!s->stopping && wait_until(&s->stop, &s->lock, until)) continue;
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

static void *subscribers_run(void *subscribers) {
    struct subscribers *s = subscribers;
    pthread_setname_np(pthread_self(), "subscribers");
    known_read(s);
    do {
        json_t *teams = teams_ask(s);
        if (!teams || (json_equal(teams, s->known) && steady_ms() - s->life_kept_at < HOUR_MS)) {
            json_decref(teams);
            continue;
        }
        teams_store(s, teams);
        json_decref(s->known);
        s->known = teams;
    } while (subscribers_sleep(s));
    json_decref(s->known);
    json_decref(s->life);
    return NULL;
}

verdict subscribers_start(struct subscribers **out, const struct subscribers_options *o, struct failure *why) {
    struct subscribers *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, FATAL, "out of memory");
    s->options = *o;
    pthread_mutex_init(&s->lock, NULL);
    wait_init(&s->stop);
    topic_spec_name(&topic_spec_events, o->settings, s->topic, sizeof s->topic);
    settings_scoped(o->settings, o->settings->service, s->own_group, sizeof s->own_group);
    /* It joins no group. But librdkafka ends the process where a coordinator is moving and its handle has none: seen
     * with 2.0.2, not mended as of 2.15 (rd_kafka_handle_OffsetFetch). So it has one. */
    const struct property properties[] = {{"group.id", s->own_group}, {0}};
    verdict v = kafka_open(&s->rk, RD_KAFKA_CONSUMER, o->settings, NULL, NULL, properties, why);
    if (v != OK) return v;
    s->answers = rd_kafka_queue_new(s->rk);
    s->running = !pthread_create(&s->thread, NULL, subscribers_run, s);
    return s->running ? OK : fail(why, FATAL, "could not start the subscribers' thread");
}

void subscribers_stop(struct subscribers **out) {
    struct subscribers *s = *out;
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->stop);
    pthread_mutex_unlock(&s->lock);
    if (s->answers) rd_kafka_queue_yield(s->answers);
    if (s->running) pthread_join(s->thread, NULL);
    if (s->answers) rd_kafka_queue_destroy(s->answers);
    if (s->rk) rd_kafka_destroy_flags(s->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    json_decref(s->urls);
    json_decref(s->others);
    pthread_cond_destroy(&s->stop);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *out = NULL;
}
