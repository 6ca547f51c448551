#include "chassis/kafka/admin.h"

#include "chassis/base/log.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/topic_spec.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

verdict admin_open(struct admin *a, const struct settings *s, int wait_ms, struct failure *why) {
    /* It joins no group. But librdkafka ends the process where a coordinator is moving and its handle has none: seen
     * with 2.0.2, not mended as of 2.15 (rd_kafka_handle_OffsetFetch). So it has one. */
    char group[400];
    const struct property properties[] = {{"group.id", settings_scoped(s, s->service, group, sizeof group)}, {0}};
    *a = (struct admin){.settings = s, .wait_ms = wait_ms};
    verdict v = kafka_open(&a->rk, RD_KAFKA_CONSUMER, s, NULL, NULL, properties, why);
    if (v == OK) a->answers = rd_kafka_queue_new(a->rk);
    return v;
}

void admin_close(struct admin *a) {
    if (a->answers) rd_kafka_queue_destroy(a->answers);
    if (a->rk) rd_kafka_destroy_flags(a->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static rd_kafka_AdminOptions_t *options_new(const struct admin *a, rd_kafka_admin_op_t operation) {
    char text[200];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(a->rk, operation);
    rd_kafka_AdminOptions_set_request_timeout(options, a->wait_ms, text, sizeof text);
    return options;
}

/* NULL where there is an error. */
static rd_kafka_event_t *sound(rd_kafka_event_t *event, rd_kafka_resp_err_t error) {
    if (!error || !event) return event;
    rd_kafka_event_destroy(event);
    return NULL;
}

/* The answer to the question that was asked just before with these options, which end here. */
static rd_kafka_event_t *answer_await(
    const struct admin *a, rd_kafka_AdminOptions_t *options, rd_kafka_event_type_t type, rd_kafka_resp_err_t *error) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(a->answers, a->wait_ms + 500);
    rd_kafka_AdminOptions_destroy(options);
    *error = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (event && !*error && rd_kafka_event_type(event) != type) *error = RD_KAFKA_RESP_ERR__TIMED_OUT;
    return sound(event, *error);
}

rd_kafka_event_t *admin_groups(
    const struct admin *a, const rd_kafka_ConsumerGroupListing_t ***groups, size_t *n, rd_kafka_resp_err_t *error) {
    rd_kafka_AdminOptions_t *options = options_new(a, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_ListConsumerGroups(a->rk, options, a->answers);
    rd_kafka_event_t *event = answer_await(a, options, RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT, error);
    if (!event) return NULL;
    const rd_kafka_ListConsumerGroups_result_t *result = rd_kafka_event_ListConsumerGroups_result(event);
    size_t failed_n;
    const rd_kafka_error_t **failed = rd_kafka_ListConsumerGroups_result_errors(result, &failed_n);
    /* A coordinator that is away would make its groups look gone. */
    if (failed_n) *error = rd_kafka_error_code(failed[0]);
    *groups = rd_kafka_ListConsumerGroups_result_valid(result, n);
    return sound(event, *error);
}

rd_kafka_event_t *admin_offsets(
    const struct admin *a, const char *group, const rd_kafka_topic_partition_list_t **found,
    rd_kafka_resp_err_t *error) {
    rd_kafka_ListConsumerGroupOffsets_t *question = rd_kafka_ListConsumerGroupOffsets_new(group, NULL);
    rd_kafka_AdminOptions_t *options = options_new(a, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets(a->rk, &question, 1, options, a->answers);
    rd_kafka_event_t *event = answer_await(a, options, RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT, error);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    if (!event) return NULL;
    size_t n;
    const rd_kafka_group_result_t **groups =
        rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(event), &n);
    bool own = n && !strcmp(rd_kafka_group_result_name(groups[0]), group);
    *error = own ? rd_kafka_error_code(rd_kafka_group_result_error(groups[0])) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    *found = own ? rd_kafka_group_result_partitions(groups[0]) : NULL;
    return sound(event, *error);
}

json_t *admin_offsets_of(const rd_kafka_topic_partition_list_t *found, const char *topic) {
    char partition[24];
    json_t *offsets = json_object();
    for (const rd_kafka_topic_partition_t *one = found->elems; one < found->elems + found->cnt; one++)
        if (one->offset >= 0 && !strcmp(one->topic, topic))
            json_object_set_new(offsets, log_number(partition, one->partition), json_integer(one->offset));
    return offsets;
}

verdict admin_readers(const struct admin *a, const char *topic, json_t **out, struct failure *why) {
    const rd_kafka_ConsumerGroupListing_t **groups;
    const rd_kafka_topic_partition_list_t *found = NULL;
    rd_kafka_resp_err_t error;
    size_t n;
    verdict v = OK;
    rd_kafka_event_t *event = admin_groups(a, &groups, &n, &error);
    if (!event)
        return kafka_unanswered(
            a->rk, a->settings, "which consumer groups there are", error, (struct right){"Describe", "cluster", ""},
            why);
    *out = json_object();
    for (size_t i = 0; v == OK && i < n; i++) {
        const char *group = rd_kafka_ConsumerGroupListing_group_id(groups[i]),
                   *name = name_unscoped(a->settings, group);
        if (!name || strchr(name, '.')) continue;
        rd_kafka_event_t *answer = admin_offsets(a, group, &found, &error);
        if (!answer)
            v = kafka_unanswered(
                a->rk, a->settings, "how far a consumer group is", error, (struct right){"Describe", "group", group},
                why);
        json_auto_t *offsets = answer ? admin_offsets_of(found, topic) : NULL;
        if (json_object_size(offsets)) json_object_set(*out, name, offsets);
        if (answer) rd_kafka_event_destroy(answer);
    }
    rd_kafka_event_destroy(event);
    return v;
}

int64_t admin_broker_number(const struct admin *a, const char *setting) {
    char broker[24];
    int64_t number = 0;
    size_t n, entries_n;
    rd_kafka_resp_err_t error;
    snprintf(broker, sizeof broker, "%d", (int)rd_kafka_controllerid(a->rk, a->wait_ms));
    if (*broker == '-') return 0;
    rd_kafka_ConfigResource_t *question = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, broker);
    rd_kafka_AdminOptions_t *options = options_new(a, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(a->rk, &question, 1, options, a->answers);
    rd_kafka_event_t *event = answer_await(a, options, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT, &error);
    rd_kafka_ConfigResource_destroy(question);
    if (!event) return 0;
    const rd_kafka_ConfigResource_t **found =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n);
    const rd_kafka_ConfigEntry_t **all = n ? rd_kafka_ConfigResource_configs(found[0], &entries_n) : NULL;
    for (size_t i = 0; all && i < entries_n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(all[i]);
        if (value && !strcmp(rd_kafka_ConfigEntry_name(all[i]), setting)) number = strtoll(value, NULL, 10);
    }
    rd_kafka_event_destroy(event);
    return number;
}
