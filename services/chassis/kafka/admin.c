#include "chassis/kafka/admin.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    const struct admin *a, const char *group, const rd_kafka_topic_partition_list_t *wanted,
    const rd_kafka_topic_partition_list_t **found, rd_kafka_resp_err_t *error) {
    rd_kafka_ListConsumerGroupOffsets_t *question = rd_kafka_ListConsumerGroupOffsets_new(group, wanted);
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
