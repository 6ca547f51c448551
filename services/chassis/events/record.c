#include "chassis/events/record.h"

#include "chassis/avro/registry.h"
#include "chassis/base/input.h"
#include "chassis/base/wait.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* NAME of "demo2.NAME.events" */
static void source_read(const struct core *core, const char *topic, char out[SOURCE_NAME]) {
    const char *namespace = core->settings->namespace;
    if (*namespace) topic += strlen(namespace) + 1;
    size_t n = strlen(topic) - strlen(".events");
    if (n >= SOURCE_NAME) n = SOURCE_NAME - 1;
    memcpy(out, topic, n);
    out[n] = '\0';
}

/* The key is the return's id. Should it be something else, the audit row goes without one. */
static void read_key(struct record *r) {
    struct failure why;
    const struct raw *raw = &r->raw;
    if (!raw->key || raw->key_n >= sizeof r->key || input_id(raw->key, raw->key_n, &why) != OK) return;
    memcpy(r->key, raw->key, raw->key_n);
    r->event.return_id = r->event.key = r->key;
}

/* A record without a trace begins one, the same for whoever reads it, and whenever. */
static void read_trace(struct record *r) {
    char place[500];
    (void)raw_header(&r->raw, "traceparent", r->trace, sizeof r->trace);
    if (trace_valid(r->trace)) return;
    snprintf(place, sizeof place, "%s[%d]@%lld", r->raw.topic, r->raw.partition, (long long)r->raw.offset);
    trace_named(place, r->trace);
}

/* What every event has (DESIGN: Events). */
static verdict read_common(struct record *r) {
    struct common {
        const char *event_id, *return_id;
        int64_t version, occurred_at;
    } common;
    static const struct field fields[] = {
        FIELD_TEXT(struct common, event_id),
        {"return_id", TYPE_TEXT, offsetof(struct common, return_id), ""},
        FIELD_INT(struct common, version),
        FIELD_MOMENT(struct common, occurred_at),
    };
    verdict v = project(&r->written, fields, sizeof fields / sizeof *fields, &common, &r->why);
    if (v != OK) return v;
    if (!uuid_parse(common.event_id, &r->event.id))
        return fail(&r->why, REJECT, "event_id \"%.60s\" is not a UUID", common.event_id);
    r->has_id = true;
    bool of_return = schema_has(r->schema, "return_id");
    struct failure why;
    if (of_return && input_id(common.return_id, strlen(common.return_id), &why) != OK)
        return fail(&r->why, REJECT, "return_id %s", why.text);
    r->event.return_id = of_return ? common.return_id : NULL;
    r->event.version = common.version;
    r->event.occurred_at = common.occurred_at;
    r->event.written = &r->written;
    return OK;
}

static verdict read_value(const struct core *core, struct patience *patience, struct record *r) {
    int32_t id;
    const void *body;
    size_t n;
    verdict v = frame_read(r->raw.value, r->raw.value_n, &id, &body, &n, &r->why);
    if (v != OK) return v;
    v = registry_schema(core->registry, id, patience, &r->schema, &r->why);
    if (v != OK) return v;
    r->event.type = schema_name(r->schema);
    v = codec_read(r->schema, body, n, &r->written, &r->why);
    return v == OK ? read_common(r) : v;
}

verdict record_decode(
    const struct core *core, const struct raw *raw, struct patience *patience, struct record *out,
    struct failure *why) {
    *out = (struct record){
        .raw = *raw,
        .event = {
            .source = out->source,
            .received_at = clock_ms(),
            .trace_parent = out->trace,
            .topic = raw->topic,
            .partition = raw->partition,
            .offset = raw->offset,
            .recorded_at = raw->at,
            .bytes = raw->value,
            .bytes_n = raw->value_n,
            .raw = &out->raw}};
    source_read(core, raw->topic, out->source);
    read_key(out);
    read_trace(out);
    out->state = read_value(core, patience, out);
    if (out->state != RETRY) return OK;
    record_free(out);
    return fail(why, RETRY, "%s", out->why.text);
}

verdict record_decode_wait(
    struct core *core, const struct raw *raw, int64_t deadline, struct patience *patience, struct record *out,
    struct failure *why) {
    verdict v;
    lock_auto(&core->lock);
    while ((v = record_decode(core, raw, patience, out, why)) == RETRY && steady_ms() < deadline) {
        int64_t left = patience_left(patience), now = steady_ms();
        (void)wait_until(&core->news, &core->lock, left < deadline - now ? now + left : deadline);
    }
    return v;
}

void record_free(struct record *record) {
    written_free(&record->written);
    schema_free(&record->schema);
}
