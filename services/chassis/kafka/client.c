#include "chassis/kafka/client.h"

#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/denial.h"

#include <stdlib.h>
#include <string.h>

/* Called on librdkafka's own threads. */
static void kafka_log(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    (void)rk;
    /* That a broker is away, denies something or is not believed is told by the health components, once. librdkafka
     * says it at every attempt. */
    static const char *const at_every_attempt[] = {"FAIL", "ERROR", "FATAL", "SSLCERTVRFY", "PARTCNT"};
    enum log_level most = level <= 3 ? LOG_WARNING : level <= 5 ? LOG_INFO : LOG_DEBUG;
    for (size_t i = 0; i < sizeof at_every_attempt / sizeof *at_every_attempt; i++)
        if (!strcmp(facility, at_every_attempt[i])) most = LOG_DEBUG;
    log_line(most, text, "facility", facility, NULL);
}

bool kafka_lost(
    struct health *h, const char *component, const struct settings *s, rd_kafka_resp_err_t error, const char *text) {
    char entry[DENIAL_TEXT];
    bool all = error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, kept_out = denial_hear(error, text);
    if ((all || kept_out) && denial_entry(s, entry))
        health_set(h, component, HEALTH_WAITING, "%s", entry);
    else if (all)
        health_set(
            h, component, HEALTH_WAITING, "waiting for Kafka at %s: %s. See whether it runs, and the setting kafka",
            s->kafka, text);
    return all;
}

/* Of a client that nobody waits for, or where whoever asks it something is told. */
static void on_error(rd_kafka_t *rk, int error, const char *text, void *opaque) {
    (void)rk, (void)opaque;
    denial_hear(error, text);
}

/* The value of a name that librdkafka does not know may be a secret whose name was mistyped. */
static verdict set(rd_kafka_conf_t *conf, const struct property *p, struct failure *why) {
    char text[400];
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, p->name, p->value, text, sizeof text);
    if (result == RD_KAFKA_CONF_OK) return OK;
    if (result == RD_KAFKA_CONF_UNKNOWN)
        return fail(why, REJECT, "librdkafka has no property \"%.200s\" (-X, or the file of --kafka-config)", p->name);
    if (settings_property_secret(p->name))
        return fail(why, REJECT, "librdkafka refuses the value of -X %.200s, which is not shown", p->name);
    return fail(why, REJECT, "librdkafka refuses -X %s=%s: %s", p->name, p->value, text);
}

/* A property of the other kind of client is only warned about by librdkafka, so one list serves both. Those of the file
 * come first, since the last one counts. */
static verdict set_of_settings(rd_kafka_conf_t *conf, const struct settings *s, struct failure *why) {
    verdict v = set(conf, &(struct property){"bootstrap.servers", s->kafka}, why);
    for (size_t i = s->properties_given; v == OK && i < s->properties_n; i++) v = set(conf, &s->properties[i], why);
    for (size_t i = 0; v == OK && i < s->properties_given; i++) v = set(conf, &s->properties[i], why);
    return v;
}

verdict kafka_check(const struct settings *s, struct failure *why) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    verdict v = set_of_settings(conf, s, why);
    rd_kafka_conf_destroy(conf);
    return v;
}

void places_destroy(rd_kafka_topic_partition_list_t **places) {
    rd_kafka_topic_partition_list_destroy(*places);
}

void metadata_destroy(const rd_kafka_metadata_t **metadata) {
    if (*metadata) rd_kafka_metadata_destroy(*metadata);
}

/* What every client is given: from the librdkafka that knows the property (as rd_kafka_version() tells it) on. */
static const struct {
    int from;       /* 0: every one that this program runs with */
    bool consumers; /* alone */
    struct property property;
} common[] = {
    /* What a service waits for is a topic that somebody is about to create, or a broker that is coming back. */
    {0, false, {"socket.nagle.disable", "true"}},
    {0, false, {"reconnect.backoff.ms", "50"}},
    {0, false, {"reconnect.backoff.max.ms", "1000"}},
    {0, false, {"topic.metadata.refresh.interval.ms", "3000"}},
    {0, false, {"topic.metadata.refresh.fast.interval.ms", "100"}},
    /* Of every consumer, also one without a group: librdkafka refuses a -X max.poll.interval.ms that is less. */
    {0, true, {"session.timeout.ms", "6000"}},
    /* How long a partition is not fetched once its queue was full: a second, unless it is told. The queues are small
     * here, and one is empty long before that. */
    {0x020200ff, true, {"fetch.queue.backoff.ms", "20"}},
};

static verdict set_common(rd_kafka_conf_t *conf, rd_kafka_type_t type, struct failure *why) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < sizeof common / sizeof *common; i++)
        if (rd_kafka_version() >= common[i].from && (type == RD_KAFKA_CONSUMER || !common[i].consumers))
            v = set(conf, &common[i].property, why);
    return v;
}

verdict kafka_open(
    rd_kafka_t **out, rd_kafka_type_t type, const struct settings *s, void (*prepare)(rd_kafka_conf_t *conf),
    void *opaque, const struct property *properties, struct failure *why) {
    char text[400];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    verdict v = set(conf, &(struct property){"client.id", s->service}, why);
    if (v == OK) v = set_common(conf, type, why);
    for (const struct property *p = properties; v == OK && p->name; p++) v = set(conf, p, why);
    if (v == OK) v = set_of_settings(conf, s, why);
    if (v != OK) {
        rd_kafka_conf_destroy(conf);
        return v;
    }
    rd_kafka_conf_set_log_cb(conf, kafka_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    const char *verifies = settings_property(s, "enable.ssl.certificate.verification");
    if (!verifies || !strchr("fF0", *verifies)) rd_kafka_conf_set_ssl_cert_verify_cb(conf, denial_certificate);
    rd_kafka_conf_set_opaque(conf, opaque);
    if (prepare) prepare(conf);
    *out = rd_kafka_new(type, conf, text, sizeof text);
    if (*out) return OK;
    rd_kafka_conf_destroy(conf);
    return fail(why, FATAL, "could not start librdkafka: %s", text);
}

/* RETRY, with words for why Kafka did not do what was asked about the topic. */
static verdict not_done(
    rd_kafka_t *rk, const struct settings *s, const char *what, rd_kafka_resp_err_t error, struct right right,
    struct failure *why) {
    char reason[DENIAL_TEXT];
    if (rd_kafka_type(rk) == RD_KAFKA_CONSUMER) rd_kafka_poll(rk, 0); /* what it says of its connections */
    return fail(
        why, RETRY, "could not %s the topic \"%s\": %s", what, right.name, denial_reason(s, error, right, reason));
}

enum { CONNECT_MS = 500 };

rd_kafka_resp_err_t kafka_topics(rd_kafka_t *rk, const rd_kafka_metadata_t **found, int timeout_ms) {
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 1, NULL, found, CONNECT_MS);
    return error == RD_KAFKA_RESP_ERR__TIMED_OUT ? rd_kafka_metadata(rk, 1, NULL, found, timeout_ms) : error;
}

verdict kafka_topic(
    rd_kafka_t *rk, const struct settings *s, const char *topic, int timeout_ms, int32_t *has, struct failure *why) {
    const struct right right = {"Describe", "topic", topic};
    metadata_auto *found = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    if (!handle) return not_done(rk, s, "ask for", rd_kafka_last_error(), right, why);
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, handle, &found, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (error) return not_done(rk, s, "ask for", error, right, why);
    error = found->topic_cnt ? found->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    int32_t partitions = error ? 0 : found->topics[0].partition_cnt;
    if (has) *has = partitions;
    if (denial_is(error)) return not_done(rk, s, "ask for", error, right, why);
    return partitions ? OK : fail(why, REJECT, "there is no topic \"%s\" in Kafka at %s", topic, s->kafka);
}

static verdict create_topic(
    rd_kafka_t *rk, const struct settings *s, const char *topic, int partitions, const struct property *config,
    int timeout_ms, struct failure *why) {
    char text[300];
    size_t n = 0;
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, partitions, -1, text, sizeof text);
    if (!wanted) return fail(why, FATAL, "could not create the topic \"%s\": %s", topic, text);
    for (const struct property *p = config; p->name; p++) rd_kafka_NewTopic_set_config(wanted, p->name, p->value);
    admin_auto a = admin_of(rk, timeout_ms);
    rd_kafka_resp_err_t error;
    rd_kafka_AdminOptions_t *options = admin_options(&a, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(rk, &wanted, 1, options, a.answers);
    rd_kafka_event_t *event = admin_answer(&a, options, RD_KAFKA_EVENT_CREATETOPICS_RESULT, &error);
    const rd_kafka_topic_result_t **results =
        event ? rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n) : NULL;
    const char *said = n ? rd_kafka_topic_result_error_string(results[0]) : NULL;
    if (!error) error = n ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
    verdict v = OK;
    if (error && error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        v = results && !denial_is(error)
                ? fail(
                      why, RETRY, "could not create the topic \"%s\": %s; create it, or allow this service to", topic,
                      said ? said : rd_kafka_err2str(error))
                : not_done(rk, s, "create", error, (struct right){"Create", "topic", topic}, why);
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(wanted);
    return v;
}

verdict kafka_ensure_topic(
    rd_kafka_t *rk, const struct settings *s, const char *topic, int partitions, const struct property *config,
    int timeout_ms, int32_t *has, struct failure *why) {
    verdict v = kafka_topic(rk, s, topic, timeout_ms, has, why);
    if (v == OK) denial_over();
    if (v != REJECT) return v;
    v = create_topic(rk, s, topic, partitions, config, timeout_ms, why);
    /* Created is not yet known everywhere: producing before that would only fail. */
    return v == OK ? kafka_topic(rk, s, topic, timeout_ms, has, why) == OK ? OK : RETRY : v;
}

json_t *kafka_headers_json(rd_kafka_headers_t *headers) {
    json_t *all = json_array();
    bool whole = all != NULL;
    const char *name;
    const void *value;
    size_t n;
    for (size_t i = 0; whole && headers && !rd_kafka_header_get_all(headers, i, &name, &value, &n); i++)
        whole = !json_array_append_new(all, json_pack("[o, o]", bytes_json(name, strlen(name)), bytes_json(value, n)));
    if (whole) return all;
    json_decref(all);
    return NULL;
}

int64_t kafka_time(const rd_kafka_message_t *m) {
    int64_t at = rd_kafka_message_timestamp(m, NULL);
    return time_valid(at) ? at : 0;
}
