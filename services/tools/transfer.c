#include "transfer.h"

#include "chassis/base/buffer.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *b) {
    free(b->at);
}

json_t *base64_json(const void *bytes, size_t n) {
    if (!bytes) return json_null();
    text_auto text = malloc(4 * ((n + 2) / 3) + 1);
    return text ? json_stringn(text, (size_t)EVP_EncodeBlock((unsigned char *)text, bytes, (int)n)) : NULL;
}

bool base64_read(const json_t *json, struct bytes *out) {
    size_t length = json_string_length(json), padding = 0;
    const char *text = json_string_value(json);
    *out = (struct bytes){0};
    if (json_is_null(json)) return true;
    if (!text || length % 4 || length > INT32_MAX) return false;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') padding++;
    out->at = malloc(length / 4 * 3 + 1);
    int decoded = out->at ? EVP_DecodeBlock(out->at, (const unsigned char *)text, (int)length) : -1;
    if (decoded >= 0) out->n = (size_t)decoded - padding;
    return decoded >= 0;
}

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

json_t *config_read(
    rd_kafka_t *rk, rd_kafka_ResourceType_t type, const char *resource, const char *const *names, bool set,
    rd_kafka_resp_err_t *error) {
    rd_kafka_ConfigResource_t *question = rd_kafka_ConfigResource_new(type, resource);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DescribeConfigs(rk, &question, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CONFIG_MS);
    *error = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    json_t *config = *error ? NULL : config_of(event, names, set, error);
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(question);
    return config;
}
