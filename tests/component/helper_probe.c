#include "helper_probe.h"

#include "chassis/avro/codec.h"
#include "chassis/base/assets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail

struct asked {
    int64_t n;
};
static const struct field asked_fields[] = {FIELD_INT(struct asked, n)};

rd_kafka_mock_cluster_t *_Atomic break_next_send;
rd_kafka_resp_err_t break_with = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
int break_times = 1;

static verdict keep(struct reaction *r, const void *fields, struct failure *why) {
    const struct asked *q = fields;
    rd_kafka_mock_cluster_t *broken = atomic_exchange(&break_next_send, NULL);
    for (int i = 0; broken && i < break_times; i++)
        rd_kafka_mock_push_request_errors(broken, 0 /* Produce */, 1, break_with);
    (void)store_run(
        r->store, "INSERT INTO kept (n, return_id) VALUES (?, ?)", value_int(q->n), value_text(r->event->return_id));
    reaction_emit(r, "Answered", json_pack("{s:I}", "n", (json_int_t)q->n));
    reaction_audit(r, "handled", "keep", "kept %lld", (long long)q->n);
    if (q->n < 0) return fail(why, REJECT, "n is %lld, and must not be negative", (long long)q->n);
    return OK;
}

static const struct handler handlers[] = {{"returns.support.Asked", FIELDS(asked_fields, struct asked), keep}, {0}};
const struct service probe = {
    .title = "Probe", .duty = "Keeps numbers.", .subscribes = "support", .handlers = handlers};

static const struct asset probe_assets[] = {
    {"schema.sql", "CREATE TABLE kept (n BIGINT NOT NULL UNIQUE CHECK (n <> 13), return_id TEXT NOT NULL);", 0},
    {"Answered.avsc", ANSWERED, sizeof ANSWERED - 1},
};

void probe_assets_use(void) {
    assets_of_service(probe_assets, sizeof probe_assets / sizeof *probe_assets);
}

int probe_setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    probe_assets_use();
    world_open(w);
    return 0;
}

int probe_teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

void ask(struct world *w, int partition, const char *return_id, int n) {
    char json[500], id[UUID_TEXT];
    snprintf(
        json, sizeof json,
        "{\"event_id\":\"%s\",\"return_id\":\"%s\",\"version\":1,\"occurred_at\":1,\"caused_by\":null,\"n\":%d}",
        uuid_text(uuid_make(), id), return_id, n);
    world_publish_event(w, partition, world_schema(w, ASKED), json);
}

void look_at(const rd_kafka_message_t *m, void *context) {
    struct seen *s = context;
    int32_t id;
    const void *body, *value;
    size_t n;
    struct failure why;
    struct schema *schema;
    json_t *event;
    rd_kafka_headers_t *headers;
    assert_int_equal(frame_read(m->payload, m->len, &id, &body, &n, &why), OK);
    assert_int_equal(schema_parse(ANSWERED, strlen(ANSWERED), &schema, &why), OK);
    assert_int_equal(codec_decode(schema, body, n, &event, &why), OK);
    char *text = json_dumps(event, JSON_COMPACT);
    snprintf(s->last_json, sizeof s->last_json, "%s", text);
    snprintf(s->key, sizeof s->key, "%.*s", (int)m->key_len, (const char *)m->key);
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    assert_int_equal(rd_kafka_header_get_last(headers, "ce_type", &value, &n), 0);
    snprintf(s->type, sizeof s->type, "%.*s", (int)n, (const char *)value);
    assert_int_equal(rd_kafka_header_get_last(headers, "traceparent", &value, &n), 0);
    snprintf(s->parent, sizeof s->parent, "%.*s", (int)n, (const char *)value);
    s->n++;
    free(text);
    json_decref(event);
    schema_free(&schema);
}
