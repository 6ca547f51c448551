#include "chassis/kafka/admin.h"

#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/topic_spec.h"

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

struct admin admin_of(rd_kafka_t *rk, int wait_ms) {
    return (struct admin){.rk = rk, .answers = rd_kafka_queue_new(rk), .wait_ms = wait_ms};
}

void admin_close(struct admin *a) {
    if (a->answers) rd_kafka_queue_destroy(a->answers);
    if (a->settings && a->rk) rd_kafka_destroy_flags(a->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/* An answer that came too late is not taken for that to the next question. */
rd_kafka_AdminOptions_t *admin_options(const struct admin *a, rd_kafka_admin_op_t operation) {
    char text[200];
    rd_kafka_event_t *late;
    while ((late = rd_kafka_queue_poll(a->answers, 0))) rd_kafka_event_destroy(late);
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

rd_kafka_event_t *admin_answer(
    const struct admin *a, rd_kafka_AdminOptions_t *options, rd_kafka_event_type_t type, rd_kafka_resp_err_t *error) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(a->answers, a->wait_ms + 500);
    rd_kafka_AdminOptions_destroy(options);
    *error = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (event && !*error && rd_kafka_event_type(event) != type) *error = RD_KAFKA_RESP_ERR__TIMED_OUT;
    return sound(event, *error);
}

rd_kafka_event_t *admin_groups(
    const struct admin *a, const rd_kafka_ConsumerGroupListing_t ***groups, size_t *n, rd_kafka_resp_err_t *error) {
    rd_kafka_AdminOptions_t *options = admin_options(a, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_ListConsumerGroups(a->rk, options, a->answers);
    rd_kafka_event_t *event = admin_answer(a, options, RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT, error);
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
    rd_kafka_AdminOptions_t *options = admin_options(a, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets(a->rk, &question, 1, options, a->answers);
    rd_kafka_event_t *event = admin_answer(a, options, RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT, error);
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

/* --- Configuration */

static bool is_named(const char *const *names, const char *name) {
    while (*names && strcmp(*names, name) != 0) names++;
    return *names;
}

static json_t *config_of(rd_kafka_event_t *event, const char *const *names, bool set, rd_kafka_resp_err_t *error) {
    size_t found_n, n;
    const rd_kafka_ConfigResource_t **found =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &found_n);
    *error = found_n ? rd_kafka_ConfigResource_error(found[0]) : RD_KAFKA_RESP_ERR__FAIL;
    if (*error) return NULL;
    json_t *config = json_object();
    const rd_kafka_ConfigEntry_t **all = rd_kafka_ConfigResource_configs(found[0], &n);
    for (size_t i = 0; i < n; i++) {
        const char *name = rd_kafka_ConfigEntry_name(all[i]), *value = rd_kafka_ConfigEntry_value(all[i]);
        if (is_named(names, name) && !(set && rd_kafka_ConfigEntry_is_default(all[i])))
            json_object_set_new(config, name, json_string(value));
    }
    return config;
}

json_t *admin_config(
    const struct admin *a, rd_kafka_ResourceType_t type, const char *resource, const char *const *names, bool set,
    rd_kafka_resp_err_t *error) {
    rd_kafka_ConfigResource_t *question = rd_kafka_ConfigResource_new(type, resource);
    rd_kafka_AdminOptions_t *options = admin_options(a, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(a->rk, &question, 1, options, a->answers);
    rd_kafka_event_t *event = admin_answer(a, options, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT, error);
    rd_kafka_ConfigResource_destroy(question);
    if (!event) return NULL;
    json_t *config = config_of(event, names, set, error);
    rd_kafka_event_destroy(event);
    return config;
}

int64_t admin_broker_number(const struct admin *a, const char *setting) {
    char broker[24];
    rd_kafka_resp_err_t error;
    if (*log_number(broker, rd_kafka_controllerid(a->rk, a->wait_ms)) == '-') return 0;
    json_auto_t *config =
        admin_config(a, RD_KAFKA_RESOURCE_BROKER, broker, (const char *const[]){setting, NULL}, false, &error);
    return strtoll(json_get_text(config, setting), NULL, 10);
}
