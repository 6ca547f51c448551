/* A whole service, with its database, web server and threads, between the mock cluster and a small registry. */
#include "helper_probe.h"

#include "chassis/base/metrics.h"
#include "chassis/incoming/consumer_private.h"

#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

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
    world_await(w, "SELECT COUNT(*) FROM outbox_state, outbox_place WHERE state = 'sent' AND record_offset = 0", 1);
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
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox WHERE dead_letter IS NULL"), 1);
    assert_int_equal(
        world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE reason = 'n is -5, and must not be negative'"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE reason LIKE '%CHECK%'"), 1);
    assert_int_equal(world_int(w, "SELECT SUM(n) FROM chain_emitted"), 1);
    assert_int_equal(world_int(w, "SELECT SUM(n) FROM chain_tally"), 3);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'"), 1);
}

static atomic_int commits;

rd_kafka_resp_err_t __real_rd_kafka_commit(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list, int async);
rd_kafka_resp_err_t __wrap_rd_kafka_commit(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list, int async);
rd_kafka_resp_err_t __wrap_rd_kafka_commit(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list, int async) {
    commits++;
    return __real_rd_kafka_commit(rk, list, async);
}

/* How far its group has come in that partition, as Kafka knows it. */
static int64_t committed(struct world *w, int partition) {
    char error[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(w->cluster), error, sizeof error);
    rd_kafka_conf_set(conf, "group.id", "probe", error, sizeof error);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "support.events", partition);
    assert_int_equal(rd_kafka_committed(rk, list, 10000), 0);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return offset;
}

static void offsets_are_told_a_few_times_a_second_and_at_the_end(void **state) {
    struct world *w = *state;
    enum { EVENTS = 60 };
    world_start(w, &probe);
    ask(w, 1, "R-1", 100);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    commits = 0;
    int64_t begun = steady_ms();
    for (int i = 1; i <= EVENTS; i++) {
        ask(w, 1, "R-1", 100 + i);
        usleep(15000);
    }
    int64_t most = (steady_ms() - begun) / 250 + 4; /* what was under way, and what the stop tells, included */
    world_await(w, "SELECT COUNT(*) FROM kept", 1 + EVENTS);
    ask(w, 1, "R-1", 500);
    world_await(w, "SELECT COUNT(*) FROM kept", 2 + EVENTS);
    world_stop(w);
    if (commits > most) fail_msg("%d commits, and at most %d", commits, (int)most);
    assert_int_equal(committed(w, 1), 2 + EVENTS);
}

/* What Kafka is told to collect for it, in bytes. */
static long fetched_at_least(struct world *w, int fetch_wait_ms) {
    struct service reader = probe;
    char bytes[32] = "";
    size_t size = sizeof bytes;
    reader.fetch_wait_ms = fetch_wait_ms;
    world_start(w, &reader);
    assert_int_equal(rd_kafka_conf_get(rd_kafka_conf(w->rt.consumer->rk), "fetch.min.bytes", bytes, &size), 0);
    world_stop(w);
    return strtol(bytes, NULL, 10);
}

static void who_may_wait_fetches_less_often(void **state) {
    struct world *w = *state;
    assert_int_equal(fetched_at_least(w, 0), 1);
    assert_int_equal(fetched_at_least(w, 200), 100000);
}

#define OTHER_EVENT                                                                                                    \
    "{\"event_id\":\"019a0000-0000-7000-8000-000000000001\",\"return_id\":\"R-1\",\"version\":1,\"occurred_at\":1}"

/* One event so many times, in one go. */
static void publish_many(struct world *w, int n) {
    struct failure why;
    struct schema *schema;
    buffer_auto record = BUFFER(1000);
    json_auto_t *event = json_loads(OTHER_EVENT, 0, NULL);
    frame_write(&record, world_schema(w, OTHER));
    assert_int_equal(schema_parse(OTHER, strlen(OTHER), &schema, &why), OK);
    assert_int_equal(codec_encode(schema, event, &record, &why), OK);
    while (n--)
        assert_int_equal(
            rd_kafka_producev(
                w->producer, RD_KAFKA_V_TOPIC("support.events"), RD_KAFKA_V_PARTITION(n % 6), RD_KAFKA_V_KEY("R-1", 3),
                RD_KAFKA_V_VALUE(record.data, record.length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
            0);
    assert_int_equal(rd_kafka_flush(w->producer, 30000), 0);
    schema_free(&schema);
}

/* Else librdkafka's thread that fetches sleeps most of each second, while its queue is empty. */
static void a_backlog_is_read_without_pauses(void **state) {
    struct world *w = *state;
    enum { EVENTS = 60000, PAUSE_MS = 400 };
    int pauses = 0;
    publish_many(w, EVENTS);
    world_start(w, &probe);
    int64_t before = 0, read, since = INT64_MAX; /* until the first is read */
    for (; (read = world_int(w, "SELECT MAX(id) FROM audit")) < EVENTS; usleep(5000)) {
        bool paused = steady_ms() - since > PAUSE_MS;
        if (read == before && !paused) continue;
        pauses += paused;
        before = read;
        since = steady_ms();
    }
    if (pauses > 1) fail_msg("%d pauses of %d ms", pauses, PAUSE_MS);
}

/* Its partitions are paused until the registry answers. Then librdkafka's thread must not sleep on. */
static void what_waits_for_its_schema_goes_on_at_once(void **state) {
    struct world *w = *state;
    enum { EVENTS = 700, DOWN_MS = 1500, WAIT_MS = 300 }; /* more than a batch, and too few for a full queue */
    publish_many(w, EVENTS);
    world_start(w, &probe);
    w->registry_down = true;
    world_await_health(w, "kafka", "ok", "6 partitions");
    usleep(DOWN_MS * 1000);
    w->registry_down = false;
    while (!world_int(w, "SELECT MAX(id) FROM audit")) usleep(2000);
    int64_t begun = steady_ms();
    while (world_int(w, "SELECT MAX(id) FROM audit") < EVENTS) usleep(2000);
    int64_t took = steady_ms() - begun;
    if (took > WAIT_MS) fail_msg("the rest came after %d ms", (int)took);
}

static void an_event_of_no_concern_is_skipped(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    world_publish_event(w, 0, world_schema(w, OTHER), OTHER_EVENT);
    world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'skipped' AND event_type = 'returns.support.Other'", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
}

/* Somebody else writes into the database, as another process that owns the partition would. */
static void from_outside(struct world *w, const char *sql) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/probe.db", w->folder);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_changes(db), 1);
    sqlite3_close(db);
}

static bool asked_to_end(time_t seconds) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    return sigtimedwait(&set, NULL, &(struct timespec){seconds, 0}) == SIGTERM;
}

static void forget_ends(void) { /* of the test before, which may have asked more than once */
    while (asked_to_end(0)) continue;
}

static void assert_it_ends(void) {
    assert_true(asked_to_end(10));
}

static void a_second_owner_of_a_partition_ends_it(void **state) {
    struct world *w = *state;
    forget_ends();
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    from_outside(w, "UPDATE consumer_offset SET next_offset = 5 WHERE partition = 0");
    ask(w, 0, "R-1", 2);
    assert_it_ends();
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 1);
    assert_int_equal(world_int(w, "SELECT next_offset FROM consumer_offset WHERE partition = 0"), 5);
}

static void a_second_owner_of_a_new_partition_ends_it(void **state) {
    struct world *w = *state;
    forget_ends();
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    from_outside(w, "INSERT INTO consumer_offset (topic, partition, next_offset) VALUES ('support.events', 1, 7)");
    ask(w, 1, "R-1", 2);
    assert_it_ends();
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 1);
    assert_int_equal(world_int(w, "SELECT next_offset FROM consumer_offset WHERE partition = 1"), 7);
}

int main(void) {
    sigset_t end; /* what process_end() raises is for the test to see */
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_event_has_its_effect_and_is_answered, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_restart_goes_on_where_the_database_says, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(the_same_event_has_no_second_effect, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_quarantined, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_a_handler_rejects_is_taken_back, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(
            offsets_are_told_a_few_times_a_second_and_at_the_end, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(who_may_wait_fetches_less_often, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_backlog_is_read_without_pauses, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_waits_for_its_schema_goes_on_at_once, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(an_event_of_no_concern_is_skipped, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_second_owner_of_a_partition_ends_it, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_second_owner_of_a_new_partition_ends_it, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
