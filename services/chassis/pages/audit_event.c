/* The event that an audit row is about, as it is in Kafka now: a service keeps what it did, not what it was told. */
#include "chassis/audit/audit.h"
#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/utf8.h"
#include "chassis/events/record.h"
#include "chassis/kafka/reader.h"
#include "chassis/pages/page.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 3000, AT_ONCE = 2 };

/* REJECT: it is there no more. *m is the caller's; NULL: none. */
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

static json_t *record_json(const struct runtime *rt, const struct record *record) {
    const struct raw *raw = &record->raw;
    const struct event event = {.raw = raw};
    int32_t id;
    char at[TIME_TEXT], *headers = event_headers(&event);
    bool shown = raw->value && raw->value_n <= FRAME_SIZE + EVENT_BYTES_MAX;
    bool framed = frame_schema(raw->value, raw->value_n, &id);
    int version = framed ? registry_version(rt->core.registry, id) : 0;
    json_t *data = json_pack(
        "{s:s, s:i, s:I, s:s?, s:o, s:s?, s:O?, s:o, s:o, s:o, s:o}", "topic", raw->topic, "partition", raw->partition,
        "offset", (json_int_t)raw->offset, "recorded_at", raw->at ? time_text(raw->at, at) : NULL, "key",
        text_json(raw->key, raw->key_n), "type", record->event.type, "data", record->written.data, "schema_id",
        framed ? json_integer(id) : json_null(), "schema_version", version ? json_integer(version) : json_null(),
        "headers", headers ? json_loads(headers, JSON_ALLOW_NUL, NULL) : json_array(), "record",
        shown ? hex_json(raw->value, raw->value_n) : json_null());
    json_object_set_new(data, "reason", record->state == OK ? json_null() : utf8_json(record->why.text));
    free(headers);
    return data;
}

/* --- /audit/{id}/event */

static void decorate(json_t *data, const char *id) {
    json_t *lines = json_array(), *pair;
    size_t i;
    json_array_foreach(json_object_get(data, "headers"), i, pair) {
        const char *name = json_string_value(json_array_get(pair, 0)),
                   *value = json_string_value(json_array_get(pair, 1));
        json_array_append_new(
            lines, json_pack("{s:s, s:s}", "name", name ? name : "(no text)", "value", value ? value : "(no text)"));
    }
    json_object_set_new(data, "header_lines", lines);
    char *text = json_dumps(json_object_get(data, "data"), JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_object_set_new(data, "data_text", json_string(text ? text : ""));
    free(text);
    page_add_moment(data, "recorded_at", "recorded_text");
    json_object_set_new(data, "row_id", json_string(id));
    json_object_set_new(data, "heading", json_sprintf("The event of row %s", id));
    json_object_set_new(data, "api_url", json_sprintf("/api/audit/%s/event", id));
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
    bool is_number = strlen(id) <= 18 && !id[strspn(id, "0123456789")];
    json_t *one = is_number ? audit_one(reader, strtoll(id, NULL, 10)) : NULL, *row = json_object_get(one, "row");
    const char *topic = json_string_value(json_object_get(row, "topic"));
    int64_t offset = json_integer_value(json_object_get(row, "offset"));
    struct place at = {
        .partition = (int32_t)json_integer_value(json_object_get(row, "partition")), .next = offset, .end = offset + 1};
    snprintf(at.topic, sizeof at.topic, "%s", topic ? topic : "");
    if (!page_reader_ok(x, reader)) {
    } else if (!one) {
        exchange_problem(x, 404, "There is no row \"%.60s\" in this audit log; /audit shows those that there are.", id);
    } else if (!topic) {
        exchange_problem(x, 404, "Row %s is about no event: it was done by hand.", id);
    } else if (atomic_fetch_add(&now, 1) >= AT_ONCE) {
        atomic_fetch_sub(&now, 1);
        exchange_set_header(x, "Retry-After", "1");
        exchange_problem(x, 503, "Others are having events shown just now; try again in a second.");
    } else {
        event_show(x, &at, id);
        atomic_fetch_sub(&now, 1);
    }
    json_decref(one);
}
