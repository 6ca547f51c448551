#include "chassis/outgoing/relay_private.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/events/letter.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/delivery.h"

#include <stdio.h>
#include <string.h>

static rd_kafka_headers_t *headers_of(const struct relay *r, const struct rows *row) {
    char id[UUID_TEXT], time[TIME_TEXT], received[TIME_TEXT], sequence[24];
    struct uuid event_id;
    (void)rows_uuid(row, 1, &event_id);
    snprintf(sequence, sizeof sequence, "%019lld", (long long)rows_int(row, 0));
    const char *const values[EVENT_HEADERS] = {
        [CE_SPECVERSION] = "1.0",
        [CE_ID] = uuid_text(event_id, id),
        [CE_TYPE] = rows_text(row, 2),
        [CE_SOURCE] = r->o.settings->public_url,
        [CE_TIME] = time_text(rows_int(row, 6), time),
        [CONTENT_TYPE] = "application/avro",
        [TRACEPARENT] = rows_text(row, 5),
        [CE_SEQUENCE] = sequence,
        [CE_RECEIVEDTIME] = rows_null(row, 8) ? NULL : time_text(rows_int(row, 8), received),
    };
    rd_kafka_headers_t *headers = rd_kafka_headers_new(EVENT_HEADERS);
    for (int i = 0; i < EVENT_HEADERS; i++)
        if (values[i]) rd_kafka_header_add(headers, topic_spec_events.headers[i].name, -1, values[i], -1);
    return headers;
}

/* The headers are the producer's when it took the record. What does not fit into its empty queue never will. */
static verdict produce(
    struct relay *r, const char *topic, const struct raw *raw, rd_kafka_headers_t *headers, int64_t outbox_row,
    struct failure *why) {
    rd_kafka_resp_err_t error = rd_kafka_producev(
        r->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(raw->key, raw->key_n),
        RD_KAFKA_V_VALUE((void *)raw->value, raw->value_n), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE((void *)(intptr_t)outbox_row), RD_KAFKA_V_END);
    if (!error) return OK;
    rd_kafka_headers_destroy(headers);
    bool full = error == RD_KAFKA_RESP_ERR__QUEUE_FULL;
    if (full && rd_kafka_outq_len(r->producer) > 0) return fail(why, RETRY, "the producer takes no more for now");
    if (!full && !delivery_refuses(error)) relay_try_again(r, rd_kafka_err2str(error));
    return fail(
        why, full || delivery_refuses(error) ? REJECT : RETRY, "the producer refused it: %s", rd_kafka_err2str(error));
}

/* A letter that is refused as it is goes without what came with it. */
static verdict letter_produce(struct relay *r, struct connection *c, int64_t row, int64_t id, struct failure *why) {
    struct dead_letter letter;
    struct raw raw;
    verdict v = dead_letter_read(c, id, &letter, why);
    if (v == RETRY) relay_try_again(r, why->text);
    for (size_t room = r->bare == row ? LETTER_BARE : LETTER_ROOM; v == OK; room = LETTER_BARE) {
        rd_kafka_headers_t *headers = letter_record(&letter, r->o.settings->service, room, &raw);
        v = produce(r, r->dead_letters, &raw, headers, row, why);
        if (v != REJECT || room == LETTER_BARE) break;
        v = OK;
    }
    dead_letter_free(&letter);
    return v == FATAL ? REJECT : v;
}

static verdict event_produce(struct relay *r, struct connection *c, const struct rows *row, struct failure *why) {
    int32_t schema_id;
    size_t body_n;
    const char *key = rows_text(row, 3);
    const void *body = rows_blob(row, 4, &body_n);
    verdict v =
        event_schemas_id(r->schemas, c, rows_text(row, 2), !rows_null(row, 9), rows_int(row, 9), &schema_id, why);
    if (v == OK && body_n > EVENT_BYTES_MAX)
        v = fail(why, REJECT, "its body of %zu bytes is longer than any event may be", body_n);
    if (v != OK) return v;
    buffer_auto record = BUFFER(EVENT_BYTES_MAX + FRAME_SIZE);
    frame_write(&record, schema_id);
    buffer_bytes(&record, body, body_n);
    if (record.failed) return fail(why, RETRY, "out of memory"); /* it would be sent without its value */
    struct raw raw = {.key = key, .key_n = strlen(key), .value = record.data, .value_n = record.length};
    return produce(r, r->topic, &raw, headers_of(r, row), rows_int(row, 0), why);
}

verdict relay_produce(struct relay *r, struct connection *c, const struct rows *row, struct failure *why) {
    if (rows_null(row, 7)) return event_produce(r, c, row, why);
    return letter_produce(r, c, rows_int(row, 0), rows_int(row, 7), why);
}
