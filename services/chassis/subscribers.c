#include "chassis/subscribers.h"

#include "chassis/denial.h"
#include "chassis/health.h"
#include "chassis/kafka.h"
#include "chassis/log.h"
#include "chassis/reaction.h"
#include "chassis/wait.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVERY_MS = 400, ANSWER_MS = 2000, NAME_SIZE = 400 };

struct subscribers {
    struct runtime *rt;
    rd_kafka_t *rk;
    rd_kafka_queue_t *answers;
    char topic[NAME_SIZE], own_group[NAME_SIZE];
    pthread_t thread;
    bool running, stopping;
    bool refused; /* in the round at hand */
    pthread_mutex_t lock;
    pthread_cond_t stop;
    json_t *urls; /* under the lock */
};

/* A return seems not handled by a team that one may not ask about, so that is said. */
static void refused(struct subscribers *s, rd_kafka_resp_err_t error, struct right right) {
    char reason[DENIAL_TEXT];
    if (!denial_is(error)) return;
    s->refused = true;
    health_set(
        s->rt->health, "kafka groups", HEALTH_WAITING, "how far a team is, is not known: %s",
        denial_text(s->rt->settings, right, reason));
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

/* What a group has committed: {"0": next offset, …} of this service's topic, and its address. */
static void group_read(
    const struct subscribers *s, const rd_kafka_topic_partition_list_t *found, const char *team, json_t *teams,
    json_t *urls) {
    json_t *offsets = json_object();
    char partition[24], url[SOURCE_URL];
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *one = &found->elems[i];
        if (one->offset >= 0 && !strcmp(one->topic, s->topic))
            json_object_set_new(offsets, log_number(partition, one->partition), json_integer(one->offset));
    }
    if (json_object_size(offsets)) json_object_set(teams, team, offsets);
    json_decref(offsets);
    if (url_read(found, s->topic, url) || url_read(found, NULL, url)) json_object_set_new(urls, team, json_string(url));
}

/* For one group, of all topics, as its address may be with any. False: no answer. */
static bool group_ask(struct subscribers *s, const char *group, const char *team, json_t *teams, json_t *urls) {
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
    if (found) group_read(s, found, team, teams, urls);
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    return answered;
}

/* The team of a group of this namespace; NULL for other groups and for this service's own. */
static const char *team_of(const struct subscribers *s, const char *group) {
    const char *namespace = s->rt->settings->namespace;
    size_t n = strlen(namespace);
    if (!strcmp(group, s->own_group)) return NULL;
    if (!n) return strchr(group, '.') ? NULL : group;
    return !strncmp(group, namespace, n) && group[n] == '.' ? group + n + 1 : NULL;
}

static void urls_keep(struct subscribers *s, json_t *urls) {
    pthread_mutex_lock(&s->lock);
    json_t *before = s->urls;
    s->urls = urls;
    pthread_mutex_unlock(&s->lock);
    json_decref(before);
}

json_t *subscribers_urls(struct subscribers *s) {
    if (!s) return json_object();
    pthread_mutex_lock(&s->lock);
    json_t *urls = json_deep_copy(s->urls);
    pthread_mutex_unlock(&s->lock);
    return urls ? urls : json_object();
}

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
    json_t *teams = json_object(), *urls = json_object();
    for (size_t i = 0; answered && i < n; i++) {
        const char *group = rd_kafka_ConsumerGroupListing_group_id(groups[i]), *team = team_of(s, group);
        if (team) answered = group_ask(s, group, team, teams, urls);
    }
    rd_kafka_event_destroy(event);
    if (answered) {
        if (!s->refused) health_set(s->rt->health, "kafka groups", HEALTH_OK, "says how far each team is");
        urls_keep(s, urls);
        return teams;
    }
    json_decref(urls);
    json_decref(teams);
    return NULL;
}

static void
team_passed(struct subscribers *s, struct connection *c, const char *team, json_t *offsets, json_t *before) {
    const char *partition;
    json_t *offset;
    json_object_foreach(offsets, partition, offset) if (!json_equal(offset, json_object_get(before, partition)))
        s->rt->service->subscriber_passed(c, team, atoll(partition), json_integer_value(offset));
}

/* known: what was stored last; NULL: nothing yet. */
static void teams_store(struct subscribers *s, json_t *teams, json_t *known) {
    const char *team, *partition;
    json_t *offsets, *offset;
    struct failure why;
    struct connection *c = store_begin(s->rt->store);
    (void)store_run(c, "DELETE FROM subscriber_offset");
    json_object_foreach(teams, team, offsets) json_object_foreach(offsets, partition, offset)(void) store_run(
        c, "INSERT INTO subscriber_offset (team, partition, next_offset) VALUES (?, ?, ?)", value_text(team),
        value_int(atoll(partition)), value_int(json_integer_value(offset)));
    if (s->rt->service->subscriber_passed)
        json_object_foreach(teams, team, offsets) team_passed(s, c, team, offsets, json_object_get(known, team));
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
    json_t *known = NULL;
    do {
        json_t *teams = teams_ask(s);
        if (!teams || json_equal(teams, known)) {
            json_decref(teams);
            continue;
        }
        teams_store(s, teams, known);
        json_decref(known);
        known = teams;
    } while (subscribers_sleep(s));
    json_decref(known);
    return NULL;
}

verdict subscribers_start(struct subscribers **out, struct runtime *rt, struct failure *why) {
    struct subscribers *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, FATAL, "out of memory");
    s->rt = rt;
    pthread_mutex_init(&s->lock, NULL);
    wait_init(&s->stop);
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.events", rt->settings->service);
    settings_scoped(rt->settings, name, s->topic, sizeof s->topic);
    settings_scoped(rt->settings, rt->settings->service, s->own_group, sizeof s->own_group);
    /* It joins no group. But librdkafka 2.0.2 ends the process where a coordinator is moving and its handle has none;
     * no later version's notes (to 2.15) say that this is mended, so the group stays. */
    const struct property properties[] = {{"group.id", s->own_group}, {0}};
    verdict v = kafka_open(&s->rk, RD_KAFKA_CONSUMER, rt->settings, NULL, NULL, properties, why);
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
    pthread_cond_destroy(&s->stop);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *out = NULL;
}
