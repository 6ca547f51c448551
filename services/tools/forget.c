/* What a service that was removed left in Kafka: its consumer group, for which everybody would wait. With --topics, its
 * topics too. */
#include "cli.h"

#include "chassis/base/ids.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/client.h"

#include <string.h>
#include <unistd.h>

enum { ANSWER_MS = 5000, LEAVES_MS = 20000, AGAIN_MS = 200, TOPICS = 100 };

static rd_kafka_resp_err_t group_delete_once(const struct admin *a, const char *group) {
    size_t n;
    rd_kafka_resp_err_t error;
    rd_kafka_DeleteGroup_t *question = rd_kafka_DeleteGroup_new(group);
    rd_kafka_AdminOptions_t *options = admin_options(a, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    rd_kafka_DeleteGroups(a->rk, &question, 1, options, a->answers);
    rd_kafka_event_t *event = admin_answer(a, options, RD_KAFKA_EVENT_DELETEGROUPS_RESULT, &error);
    rd_kafka_DeleteGroup_destroy(question);
    if (!event) return error;
    const rd_kafka_group_result_t **groups =
        rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event), &n);
    error = n ? rd_kafka_error_code(rd_kafka_group_result_error(groups[0])) : RD_KAFKA_RESP_ERR__FAIL;
    rd_kafka_event_destroy(event);
    return error;
}

/* A member that was killed counts until its session ends, and a coordinator may be on its way. */
static bool passes(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP || error == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
           error == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE || error == RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
}

static verdict group_delete(const struct admin *a, const char *group, struct failure *why) {
    int64_t until = steady_ms() + LEAVES_MS;
    rd_kafka_resp_err_t error;
    while (passes(error = group_delete_once(a, group)) && steady_ms() < until) usleep(AGAIN_MS * 1000);
    return !error || error == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND
               ? OK
               : fail(why, RETRY, "could not delete the consumer group \"%s\": %s", group, rd_kafka_err2str(error));
}

static verdict topics_delete(const struct admin *a, const char *prefix, struct failure *why) {
    metadata_auto *all = NULL;
    rd_kafka_DeleteTopic_t *wanted[TOPICS];
    size_t n = 0;
    rd_kafka_resp_err_t error = rd_kafka_metadata(a->rk, 1, NULL, &all, ANSWER_MS);
    if (error) return fail(why, RETRY, "could not ask which topics there are: %s", rd_kafka_err2str(error));
    for (int i = 0; i < all->topic_cnt && n < TOPICS; i++)
        if (!strncmp(all->topics[i].topic, prefix, strlen(prefix)))
            wanted[n++] = rd_kafka_DeleteTopic_new(all->topics[i].topic);
    if (!n) return OK;
    rd_kafka_AdminOptions_t *options = admin_options(a, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_DeleteTopics(a->rk, wanted, n, options, a->answers);
    rd_kafka_event_t *event = admin_answer(a, options, RD_KAFKA_EVENT_DELETETOPICS_RESULT, &error);
    size_t results_n = 0;
    const rd_kafka_topic_result_t **results =
        event ? rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &results_n) : NULL;
    while (results_n-- && !error) {
        error = rd_kafka_topic_result_error(results[results_n]);
        if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) error = 0; /* somebody else was faster */
    }
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_DeleteTopic_destroy_array(wanted, n);
    return error ? fail(why, RETRY, "could not delete the topics %s*: %s", prefix, rd_kafka_err2str(error)) : OK;
}

static verdict forget(const struct settings *s, const char *name, bool topics, struct failure *why) {
    char group[CLI_NAME], prefix[CLI_NAME + 1];
    admin_auto a;
    snprintf(prefix, sizeof prefix, "%s.", settings_scoped(s, name, group, sizeof group));
    verdict v = admin_open(&a, s, ANSWER_MS, why);
    if (v == OK) v = group_delete(&a, group, why);
    return v == OK && topics ? topics_delete(&a, prefix, why) : v;
}

int forget_run(int n, char *arguments[]) {
    cli_auto c;
    struct failure why;
    bool topics = false;
    verdict v = cli_open(&c, n, arguments, (const struct cli_option[]){{"--topics", .given = &topics}, {0}}, &why);
    if (v == OK && c.words_n != 1) v = fail(&why, REJECT, "usage: returns_tool forget NAME [--topics]");
    if (v == OK) v = forget(&c.settings, c.words[0], topics, &why);
    return cli_end(v, &why);
}
