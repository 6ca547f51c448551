/* A whole service while Kafka or the registry is away, refuses, or fails. */
#include "helper_probe.h"

#include "chassis/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

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

#define NAMED_ASKED(space)                                                                                             \
    "{\"type\":\"record\",\"name\":\"Asked\"" space ",\"fields\":[" COMMON ",{\"name\":\"n\",\"type\":\"int\"}]}"

/* The registry lets it into the topic, as it is another subject there. */
static void a_known_name_in_another_namespace_is_noticed(void **state) {
    struct world *w = *state;
    static const char *const schemas[] = {
        NAMED_ASKED(",\"namespace\":\"returns.support.v2\""), NAMED_ASKED(""), NAMED_ASKED(",\"namespace\":null"),
        NAMED_ASKED(",\"namespace\":\"com.example\""), OTHER};
    static const char fields[] =
        "{\"event_id\":\"019a0000-0000-7000-8000-00000000000%zu\",\"return_id\":\"R-4\",\"version\":1,\"occurred_at\":1,"
        "\"caused_by\":null%s}";
    char event[sizeof fields + 40];
    world_start(w, &probe);
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        snprintf(event, sizeof event, fields, i, i < 4 ? ",\"n\":7" : "");
        world_publish_event(w, 4, world_schema(w, schemas[i]), event);
    }
    ask(w, 4, "R-4", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 4);
    assert_int_equal(
        world_int(
            w,
            "SELECT COUNT(*) FROM dead_letter WHERE reason LIKE '%returns.support.Asked is: the same name in another%'"),
        4);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'skipped'"), 1);
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

enum { WAIT_MS = 3000, IDS = 12 };

/* As many records as ids, each behind the other in one partition, and a good one behind all. */
static int64_t held_by(struct world *w, int first_id, const char *return_id, int n) {
    unsigned char record[5 + 8] = {0};
    int64_t start = now_ms();
    for (int id = first_id; id < first_id + IDS; id++) {
        record[3] = (unsigned char)(id >> 8), record[4] = (unsigned char)id;
        world_publish(w, 4, return_id, record, sizeof record);
    }
    ask(w, 4, return_id, n);
    char sql[100];
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM kept WHERE n = %d", n);
    world_await(w, sql, 1);
    return now_ms() - start;
}

/* Twelve that the registry does not know are waited for as long as one is, and so are those that it answers wrongly for
 * ever, whatever it says to them. */
static void waits_for_ids_do_not_add_up(void **state) {
    struct world *w = *state;
    static const struct {
        int status;
        const char *body;
    } wrong[] = {
        {500, "{\"error_code\":50001,\"message\":\"Error in the backend data store\"}"},
        {503, "{\"error_code\":503,\"message\":\"not now\"}"},
        {403, "{\"error_code\":40301,\"message\":\"User is denied\"}"},
        {200, "<html>nonsense"},
        {200, "{\"schema\":7}"},
        {200, NULL},
    };
    char flag[40];
    snprintf(flag, sizeof flag, "--unknown-id-ms=%d", WAIT_MS);
    w->more[w->more_n++] = flag;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    int64_t took = held_by(w, 500, "R-4", 100);
    assert_in_range(took, WAIT_MS - 1000, IDS * WAIT_MS / 2); /* one after the other would be IDS times as long */
    world_await(w, "SELECT COUNT(*) FROM dead_letter WHERE reason LIKE '%does not know the schema id 5%'", IDS);
    static char huge[(1 << 20) + 100];
    memset(huge, ' ', sizeof huge - 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        w->wrong_body = wrong[i].body ? wrong[i].body : huge;
        w->wrong_status = wrong[i].status;
        took = held_by(w, WORLD_WRONG + 20 * (int)i, "R-4", 200 + (int)i);
        if (took > IDS * WAIT_MS / 2)
            fail_msg("%d: the partition was held for %lld ms", wrong[i].status, (long long)took);
        world_await(
            w, "SELECT COUNT(*) FROM dead_letter WHERE reason LIKE '%answers others, and to schema id %'",
            IDS * ((int)i + 1));
        world_await_health(w, "registry", "ok", "answers");
    }
}

/* What clock_ms() is in the whole program, but for the making of ids. */
static atomic_int_fast64_t clock_step;
int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_ms(void) {
    return __real_clock_ms() + clock_step;
}

/* A partition is held while the clock steps to where the end of the hold would seem hours away. */
static void a_clock_that_steps_delays_nothing(void **state) {
    static const int64_t hours[] = {-6, 12, -24};
    static const char fields[] =
        "{\"event_id\":\"019a0000-0000-7000-8000-00000000000%d\",\"return_id\":\"R-4\",\"version\":1,\"occurred_at\":1}";
    struct world *w = *state;
    char schema[sizeof OTHER + 8], event[sizeof fields + 16];
    world_start(w, &probe);
    for (int i = 0; i < 3; i++) {
        w->registry_down = true;
        snprintf(schema, sizeof schema, "%s%*s", OTHER, i + 1, ""); /* another text, which has another id */
        snprintf(event, sizeof event, fields, i);
        world_publish_event(w, 4, world_schema(w, schema), event);
        ask(w, 4, "R-4", 10 + i);
        world_await_health(w, "registry", "waiting", "");
        clock_step += hours[i] * 3600 * 1000;
        w->registry_down = false;
        world_await(w, "SELECT COUNT(*) FROM kept", 1 + i);
        world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1 + i);
    }
    clock_step = 0;
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'skipped'"), 3);
}

static void a_broker_outage_loses_nothing(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    world_await_health(w, "kafka", "waiting", "waiting for Kafka");
    world_await_health(w, "kafka producer", "waiting", "waiting for Kafka");
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    for (int i = 2; i <= 20; i++) ask(w, i % 6, "R-1", 100 + i);
    world_await(w, "SELECT COUNT(*) FROM kept", 20);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 20);
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
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'"), 1);
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
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
}

/* An error of the broker on a produce request: sent again, marked once. */
static void a_failed_delivery_is_sent_again(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    int64_t failures = metric_read(METRIC_send_failures);
    break_next_send = w->cluster;
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    assert_int_equal(metric_read(METRIC_send_failures) - failures, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_registry_outage_holds_and_never_skips, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_known_name_in_another_namespace_is_noticed, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(waits_for_ids_do_not_add_up, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_steps_delays_nothing, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_broker_outage_loses_nothing, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_refused_schema_stops_publishing_only, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(it_waits_for_nothing, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_failed_delivery_is_sent_again, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
