/* A record from Kafka: key, traceparent and ce_source on a line each, then the value: frame, Avro, projection. The last
 * byte of the schema id chooses the writer's schema. */
#include "fuzz.h"

#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/events/record.h"
#include "chassis/fleet/peers.h"

#include <stdlib.h>
#include <string.h>

static const char *const texts[] = {
    "{\"type\":\"record\",\"name\":\"RefundRequest\",\"namespace\":\"returns.support\",\"fields\":["
    "{\"name\":\"event_id\",\"type\":\"string\"},{\"name\":\"return_id\",\"type\":\"string\"},"
    "{\"name\":\"version\",\"type\":\"long\"},{\"name\":\"occurred_at\",\"type\":\"long\"},"
    "{\"name\":\"caused_by\",\"type\":[\"null\",\"string\"],\"default\":null},"
    "{\"name\":\"order_id\",\"type\":\"string\"},{\"name\":\"cost\",\"type\":{\"type\":\"record\",\"name\":\"Money\","
    "\"fields\":[{\"name\":\"amount\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":15,"
    "\"scale\":2}},{\"name\":\"currency\",\"type\":\"string\"}]}}]}",
    "{\"type\":\"record\",\"name\":\"returns.other.Everything\",\"fields\":["
    "{\"name\":\"event_id\",\"type\":\"string\"},{\"name\":\"return_id\",\"type\":[\"null\",\"string\"]},"
    "{\"name\":\"version\",\"type\":\"int\"},{\"name\":\"occurred_at\",\"type\":\"long\"},"
    "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}},"
    "{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}},{\"name\":\"b\",\"type\":\"boolean\"},"
    "{\"name\":\"d\",\"type\":\"double\"},{\"name\":\"s\",\"type\":\"float\"},"
    "{\"name\":\"l\",\"type\":{\"type\":\"array\",\"items\":[\"null\",\"long\",\"E\"]}},"
    "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":\"bytes\"}}}]}"};

static struct part {
    const void *bytes;
    size_t n;
} traceparent, source;

/* --- What the record's decoding asks of librdkafka and the registry */

rd_kafka_resp_err_t
rd_kafka_header_get_last(const rd_kafka_headers_t *headers, const char *name, const void **value, size_t *n) {
    (void)headers;
    const struct part *p = !strcmp(name, "traceparent") ? &traceparent : !strcmp(name, "ce_source") ? &source : NULL;
    if (!p) return RD_KAFKA_RESP_ERR__NOENT;
    *value = p->bytes;
    *n = p->n;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

int64_t patience_left(const struct patience *p) {
    (void)p;
    return INT64_MAX;
}

verdict registry_schema(struct registry *r, int32_t id, struct patience *p, struct schema **out, struct failure *why) {
    static struct schema *schemas[2];
    (void)r, (void)p;
    int i = id & 1;
    if (!schemas[i]) must(schema_parse(texts[i], strlen(texts[i]), &schemas[i], why) == OK, "the schemas are good");
    *out = schema_share(schemas[i]);
    return OK;
}

/* --- The record */

static struct part line_next(const uint8_t **bytes, size_t *n) {
    const uint8_t *end = memchr(*bytes, '\n', *n);
    struct part p = {*bytes, end ? (size_t)(end - *bytes) : *n};
    *bytes += end ? p.n + 1 : p.n;
    *n -= end ? p.n + 1 : p.n;
    return p;
}

struct fields {
    const char *order_id;
    struct money cost;
};

/* What was read and can be written is read again as the same. */
static void value_check(struct record *r, int32_t id) {
    static const struct field fields[] = {FIELD_TEXT(struct fields, order_id), FIELD_MONEY(struct fields, cost)};
    struct schema *s = NULL;
    struct fields out;
    struct failure why;
    struct buffer body = BUFFER(EVENT_BYTES_MAX);
    json_t *again = NULL;
    const json_t *read = written_json(&r->written);
    must(read, "what was checked has its JSON");
    (void)!project(&r->written, fields, 2, &out, &why);
    must(registry_schema(NULL, id, NULL, &s, &why) == OK, "the schema is there");
    if (codec_encode(s, read, &body, &why) == OK) { /* refused: a decimal with more digits than its schema keeps */
        must(codec_decode(s, body.data, body.length, &again, &why) == OK, "what was encoded can be decoded");
        must(json_equal(read, again), "and is the same again");
        json_decref(again);
    }
    buffer_free(&body);
    schema_free(&s);
}

static void record_check(struct record *r) {
    int32_t id;
    const void *body;
    size_t n;
    struct failure why;
    must(r->state == OK || (r->state == REJECT && strlen(r->why.text) > 10), "a rejected record is told why");
    must(trace_valid(r->event.trace_parent), "a record has a trace");
    must(!strcmp(r->event.source, "support"), "a record has a source");
    if (!r->written.type) return;
    must(frame_read(r->raw.value, r->raw.value_n, &id, &body, &n, &why) == OK, "it had a frame");
    value_check(r, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const struct settings settings = {.namespace = "fuzz"};
    static const struct core core = {.settings = &settings};
    struct part key = line_next(&bytes, &n);
    traceparent = line_next(&bytes, &n);
    source = line_next(&bytes, &n);
    struct raw raw = {
        .topic = "fuzz.support.events",
        .key = key.bytes,
        .key_n = key.n,
        .value = n ? bytes : NULL,
        .value_n = n,
        .headers = (rd_kafka_headers_t *)&traceparent};
    struct record record;
    struct failure why;
    must(record_decode(&core, &raw, NULL, &record, &why) == OK, "a record is decoded, or rejected");
    record_check(&record);
    record_free(&record);
    return 0;
}
