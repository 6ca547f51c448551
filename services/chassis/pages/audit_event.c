/* The event that an audit row is about, as it is in Kafka now: a service keeps what it did, not what it was told. */
#include "chassis/audit/audit.h"
#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/events/record.h"
#include "chassis/kafka/reader.h"
#include "chassis/pages/page.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 3000, AT_ONCE = 2 };

/* REJECT: it is there no more. *m is the caller's. NULL: none. */
static verdict record_get(struct reader *r, const struct place *at, rd_kafka_message_t **m, struct failure *why) {
    size_t n;
    verdict v = reader_add_part(r, at->topic, at->partition, at->next, at->end, why);
    if (v == OK) v = reader_get(r, reader_places(r, &n), WAIT_MS, m, why);
    if (v == RETRY || *m) return v;
    return fail(
        why, REJECT, "The record %s[%d]@%lld is not in Kafka any more.", at->topic, at->partition, (long long)at->next);
}

/* --- As data */

static json_t *text_json(const void *bytes, size_t n) {
    return bytes && utf8_valid(bytes, n) ? json_stringn(bytes, n) : json_null();
}

static json_t *record_json(const struct runtime *rt, struct record *record) {
    const struct raw *raw = &record->raw;
    const struct event event = {.raw = raw};
    int32_t id;
    char at[TIME_TEXT];
    text_auto headers = event_headers(&event);
    bool shown = raw->value && raw->value_n <= FRAME_SIZE + EVENT_BYTES_MAX;
    bool framed = frame_schema(raw->value, raw->value_n, &id);
    int version = framed ? registry_version(rt->core.registry, id) : 0;
    return json_pack(
        "{s:s, s:i, s:I, s:s?, s:o, s:s?, s:O?, s:o, s:o, s:o, s:o, s:o}", "topic", raw->topic, "partition",
        raw->partition, "offset", (json_int_t)raw->offset, "recorded_at", raw->at ? time_text(raw->at, at) : NULL,
        "key", text_json(raw->key, raw->key_n), "type", record->event.type, "data", written_json(&record->written),
        "schema_id", framed ? json_integer(id) : json_null(), "schema_version",
        version ? json_integer(version) : json_null(), "headers",
        headers ? json_loads(headers, JSON_ALLOW_NUL, NULL) : json_array(), "record",
        shown ? hex_json(raw->value, raw->value_n) : json_null(), "reason",
        record->state == OK ? json_null() : utf8_json(record->why.text));
}

/* --- /audit/{id}/event */

static void decorate(json_t *data, const char *id) {
    json_t *lines = json_array();
    json_each(i, pair, json_object_get(data, "headers")) {
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));
        json_array_append_new(
            lines, json_pack("{s:s, s:s}", "name", name ? name : "(no text)", "value", value ? value : "(no text)"));
    }
    text_auto text = json_dumps(json_object_get(data, "data"), JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_add(
        data, "{s:o, s:o, s:s, s:o, s:o}", "header_lines", lines, "data_text", json_string(text ? text : ""), "row_id",
        id, "heading", json_sprintf("The event of row %s", id), "api_url", json_sprintf("/api/audit/%s/event", id));
}

static void event_show(struct exchange *x, const struct place *at, const char *id) {
    struct runtime *rt = x->context;
    struct failure why;
    struct record record;
    struct reader *r = NULL;
    rd_kafka_message_t *m = NULL;
    verdict v = reader_open(&r, rt->core.settings, &why);
    if (v == OK) v = record_get(r, at, &m, &why);
    if (v == OK) {
        struct raw raw = raw_of(m);
        v = record_decode_wait(&rt->core, &raw, steady_ms() + WAIT_MS, NULL, &record, &why);
    }
    if (v == OK) {
        x->data = record_json(rt, &record);
        record_free(&record);
    }
    if (m) rd_kafka_message_destroy(m);
    reader_close(&r);
    if (v == OK && !x->api) decorate(x->data, id);
    if (v == RETRY) exchange_set_header(x, "Retry-After", "2");
    if (v != OK) exchange_problem(x, v == REJECT ? 404 : 503, "%s", why.text);
}

/* A web thread waits for Kafka here, so only a few may at once. */
void audit_event_get(struct exchange *x) {
    static atomic_int now;
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    const char *id = exchange_parameter(x, "id");
    json_auto_t *one = page_id(id) ? audit_one(reader, page_id(id)) : NULL;
    const json_t *row = json_object_get(one, "row");
    const char *topic = json_get_text(row, "topic");
    int64_t offset = json_get_int(row, "offset");
    struct place at = {.partition = (int32_t)json_get_int(row, "partition"), .next = offset, .end = offset + 1};
    snprintf(at.topic, sizeof at.topic, "%s", topic);
    if (!page_reader_ok(x, reader)) return;
    if (!one) {
        exchange_problem(x, 404, "There is no row \"%.60s\" in this audit log; /audit shows those that there are.", id);
    } else if (!*topic) {
        exchange_problem(x, 404, "Row %s is about no event: it was done by hand.", id);
    } else {
        if (atomic_fetch_add(&now, 1) < AT_ONCE)
            event_show(x, &at, id);
        else
            exchange_busy(x, "Others are having events shown just now; try again in a second.");
        atomic_fetch_sub(&now, 1);
    }
}
