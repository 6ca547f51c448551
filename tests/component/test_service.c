/* A whole service, with its database, web server and threads, between the mock cluster and a small registry. */
#include "helper_world.h"

#include "chassis/assets.h"
#include "chassis/codec.h"
#include "chassis/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail

#define COMMON                                                                                                                           \
    "{\"name\":\"event_id\",\"type\":\"string\"},{\"name\":\"return_id\",\"type\":\"string\"},{\"name\":\"version\",\"type\":\"long\"}," \
    "{\"name\":\"occurred_at\",\"type\":\"long\"},{\"name\":\"caused_by\",\"type\":[\"null\",\"string\"],\"default\":null}"
#define ASKED                                                                                                          \
    "{\"type\":\"record\",\"name\":\"Asked\",\"namespace\":\"returns.support\",\"fields\":[" COMMON                    \
    ",{\"name\":\"n\",\"type\":\"int\"},"                                                                              \
    "{\"name\":\"unused\",\"type\":\"string\",\"default\":\"\"}]}"
#define OTHER "{\"type\":\"record\",\"name\":\"Other\",\"namespace\":\"returns.support\",\"fields\":[" COMMON "]}"
#define ANSWERED                                                                                                       \
    "{\"type\":\"record\",\"name\":\"Answered\",\"namespace\":\"returns.probe\",\"fields\":[" COMMON                   \
    ",{\"name\":\"n\",\"type\":\"long\"}]}"

/* --- The service under test: keeps each number once, refuses negative ones, answers with the number. */

struct asked {
    int64_t n;
};
static const struct field asked_fields[] = {FIELD_INT(struct asked, n)};

static rd_kafka_mock_cluster_t
    *break_next_send; /* not NULL: the next produce request, which will be the answer's, fails */

static verdict keep(struct reaction *r, const void *fields, struct failure *why) {
    const struct asked *q = fields;
    if (break_next_send)
        rd_kafka_mock_push_request_errors(
            break_next_send, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    break_next_send = NULL;
    (void)store_run(
        r->store, "INSERT INTO kept (n, return_id) VALUES (?, ?)", value_int(q->n), value_text(r->event->return_id));
    reaction_emit(r, "Answered", json_pack("{s:I}", "n", (json_int_t)q->n));
    reaction_audit(r, "handled", "keep", "kept %lld", (long long)q->n);
    if (q->n < 0) return fail(why, REJECT, "n is %lld, and must not be negative", (long long)q->n);
    return OK;
}

static const struct handler handlers[] = {{"returns.support.Asked", FIELDS(asked_fields, struct asked), keep}, {0}};
static const struct service probe = {
    .title = "Probe", .duty = "Keeps numbers.", .subscribes = "support", .handlers = handlers};

static const struct asset probe_assets[] = {
    {"schema.sql", "CREATE TABLE kept (n BIGINT NOT NULL UNIQUE CHECK (n <> 13), return_id TEXT NOT NULL);", 0},
    {"Answered.avsc", ANSWERED, sizeof ANSWERED - 1},
};

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(probe_assets, sizeof probe_assets / sizeof *probe_assets);
    world_open(w);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

static void ask(struct world *w, int partition, const char *return_id, int n) {
    char json[500], id[UUID_TEXT];
    snprintf(
        json, sizeof json,
        "{\"event_id\":\"%s\",\"return_id\":\"%s\",\"version\":1,\"occurred_at\":1,\"caused_by\":null,\"n\":%d}",
        uuid_text(uuid_make(), id), return_id, n);
    world_publish_event(w, partition, world_schema(w, ASKED), json);
}

/* --- What it must do */

struct seen {
    struct world *world;
    int n;
    char key[64], type[64], parent[64], last_json[600];
};

static void look_at(const rd_kafka_message_t *m, void *context) {
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

static void an_event_has_its_effect_and_is_answered(void **state) {
    struct world *w = *state;
    struct seen seen = {0};
    world_start(w, &probe);
    ask(w, 3, "R-1", 42);
    world_await(w, "SELECT COUNT(*) FROM kept WHERE n = 42 AND return_id = 'R-1'", 1);
    assert_int_equal(
        world_int(w, "SELECT next_offset FROM consumer_offset WHERE topic = 'support.events' AND partition = 3"), 1);
    assert_int_equal(
        world_int(
            w,
            "SELECT COUNT(*) FROM audit WHERE outcome = 'handled' AND action = 'keep' AND summary = 'kept 42' AND actor = 'support'"),
        1);
    world_await(w, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NOT NULL AND record_offset = 0", 1);
    assert_int_equal(world_read(w, "probe.events", 1, look_at, &seen), 1);
    assert_string_equal(seen.key, "R-1");
    assert_string_equal(seen.type, "returns.probe.Answered");
    assert_true(trace_valid(seen.parent));
    assert_non_null(strstr(seen.last_json, "\"n\":42"));
    assert_non_null(strstr(seen.last_json, "\"version\":1"));
    assert_null(strstr(seen.last_json, "\"caused_by\":null"));
    assert_string_equal(w->subjects[world_schema(w, ANSWERED) - 1], "probe.events-returns.probe.Answered/versions");
}

static void a_restart_goes_on_where_the_database_says(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    for (int i = 1; i <= 5; i++) ask(w, 0, "R-1", i);
    world_await(w, "SELECT COUNT(*) FROM kept", 5);
    world_stop(w);
    for (int i = 6; i <= 9; i++) ask(w, 0, "R-1", i);
    int64_t consumed = metric_read(METRIC_events_consumed);
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM kept", 9);
    assert_int_equal(metric_read(METRIC_events_consumed) - consumed, 4);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), 9);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome <> 'handled'"), 0);
}

static void the_same_event_has_no_second_effect(void **state) {
    struct world *w = *state;
    const char *twice =
        "{\"event_id\":\"019a0000-0000-7000-8000-000000000001\",\"return_id\":\"R-1\",\"version\":1,\"occurred_at\":1,\"n\":7}";
    world_start(w, &probe);
    world_publish_event(w, 1, world_schema(w, ASKED), twice);
    world_publish_event(w, 1, world_schema(w, ASKED), twice);
    ask(w, 1, "R-1", 8);
    world_await(w, "SELECT next_offset FROM consumer_offset WHERE partition = 1", 3);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'duplicate' AND record_offset = 1"), 1);
}

static void what_cannot_be_read_is_quarantined(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    world_publish(w, 2, "R-1", "", 0);
    world_publish(w, 2, "R-1", "\x07\0\0\0\1x", 6);
    world_publish(w, 2, "R-1", "\0\0\0\0\xc8x", 6); /* an id that the registry does not know */
    char truncated[] = "\0\0\0\0\0\x10";
    truncated[4] = (char)world_schema(w, ASKED);
    world_publish(w, 2, "R-1", truncated, 6);
    ask(w, 2, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 4);
    assert_int_equal(
        world_int(
            w,
            "SELECT COUNT(*) FROM dead_letter WHERE record_offset = 1 AND value = x'070000000178' AND record_key = CAST('R-1' AS BLOB)"),
        1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'quarantined'"), 4);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM event_seen"), 1);
}

/* Neither what the handler stored nor what it published before it refused is left. */
static void what_a_handler_rejects_is_taken_back(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 2, "R-1", -5);
    ask(w, 2, "R-1", 13); /* the table's own constraint refuses it */
    ask(w, 2, "R-1", 6);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 1);
    assert_int_equal(
        world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE reason = 'n is -5, and must not be negative'"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE reason LIKE '%CHECK%'"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'"), 1);
}

static void an_event_of_no_concern_is_skipped(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    world_publish_event(
        w, 0, world_schema(w, OTHER),
        "{\"event_id\":\"019a0000-0000-7000-8000-000000000001\",\"return_id\":\"R-1\",\"version\":1,\"occurred_at\":1}");
    world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'skipped' AND event_type = 'returns.support.Other'", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
}

/* Only the partition whose schema cannot be had waits, and nothing of it is skipped. */
static void a_registry_outage_holds_and_never_skips(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    w->registry_down = true;
    world_publish_event(
        w, 4, world_schema(w, OTHER),
        "{\"event_id\":\"019a0000-0000-7000-8000-000000000001\",\"return_id\":\"R-4\",\"version\":1,\"occurred_at\":1}");
    ask(w, 4, "R-4", 4);
    ask(w, 0, "R-1", 2);
    world_await(w, "SELECT COUNT(*) FROM kept", 2);
    world_await_health(w, "registry", "waiting", "");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM consumer_offset WHERE partition = 4"), 0);
    w->registry_down = false;
    world_await(w, "SELECT next_offset FROM consumer_offset WHERE partition = 4", 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 3);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
}

static void a_broker_outage_loses_nothing(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NOT NULL", 1);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    world_await_health(w, "kafka", "waiting", "waiting for Kafka");
    world_await_health(w, "kafka producer", "waiting", "waiting for Kafka");
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    for (int i = 2; i <= 20; i++) ask(w, i % 6, "R-1", 100 + i);
    world_await(w, "SELECT COUNT(*) FROM kept", 20);
    world_await(w, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NOT NULL", 20);
    world_await_health(w, "kafka", "ok", "");
    world_await_health(w, "kafka producer", "ok", "");
    struct seen seen = {0};
    assert_int_equal(world_read(w, "probe.events", 20, look_at, &seen), 20);
}

static void a_refused_schema_stops_publishing_only(void **state) {
    struct world *w = *state;
    w->registry_refuses = true;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    world_await_health(w, "schemas", "failed", "field serial_number is missing");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL"), 1);
}

/* Both away at the start: it goes on by itself when they come. */
static void it_waits_for_nothing(void **state) {
    struct world *w = *state;
    w->registry_down = true;
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    world_start(w, &probe);
    world_await_health(w, "kafka", "waiting", "");
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    ask(w, 0, "R-1", 1);
    world_await_health(w, "registry", "waiting", "");
    w->registry_down = false;
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NOT NULL", 1);
}

/* An error of the broker on a produce request: sent again, marked once. */
static void a_failed_delivery_is_sent_again(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    int64_t failures = metric_read(METRIC_send_failures);
    break_next_send = w->cluster;
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NOT NULL", 1);
    assert_int_equal(metric_read(METRIC_send_failures) - failures, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_event_has_its_effect_and_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_goes_on_where_the_database_says, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_event_has_no_second_effect, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_quarantined, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_handler_rejects_is_taken_back, setup, teardown),
        cmocka_unit_test_setup_teardown(an_event_of_no_concern_is_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_registry_outage_holds_and_never_skips, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broker_outage_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_schema_stops_publishing_only, setup, teardown),
        cmocka_unit_test_setup_teardown(it_waits_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_delivery_is_sent_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
