#include "chassis/outgoing/delivery.h"

#include <stddef.h>

/* What librdkafka 2.0 to 2.8 returns from rd_kafka_producev() and in delivery reports, as far as it is about a record.
 * All else passes, or is about the topic, the rights or the producer: authorization, leaders, replicas, timeouts, the
 * queue, the idempotent producer's numbers, compression and message format that the topic does not allow. A damaged
 * request (INVALID_MSG) is whole when it is made again. */
static const struct {
    rd_kafka_resp_err_t error;
    bool by_size;
} refusals[] = {
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, true},    /* of the producer too, which counts headers and key */
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, true}, /* larger than a segment of the topic */
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, false},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, false},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, false},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, false}, /* such as one without a key, in a compacted topic */
};

static bool is_refusal(rd_kafka_resp_err_t error, bool by_size_alone) {
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].error == error) return refusals[i].by_size || !by_size_alone;
    return false;
}

bool delivery_refuses(rd_kafka_resp_err_t error) {
    return is_refusal(error, false);
}

bool delivery_by_size(rd_kafka_resp_err_t error) {
    return is_refusal(error, true);
}

bool delivery_unheard(const rd_kafka_message_t *report) {
    return !report->err && report->offset < 0;
}
