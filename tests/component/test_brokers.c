/* Each error that a broker can give to the producer, the consumer and the group: the service goes on by itself, and
 * every event has its one effect; what cannot be mended by itself is said and held. */
#include "helper_probe.h"

#include "chassis/base/metrics.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PRODUCE = 0,
    FETCH = 1,
    LIST_OFFSETS = 2,
    METADATA = 3,
    OFFSET_COMMIT = 8,
    FIND_COORDINATOR = 10,
    JOIN_GROUP = 11,
    HEARTBEAT = 12,
    SYNC_GROUP = 14,
    INIT_PRODUCER_ID = 22
};

#define E(name) RD_KAFKA_RESP_ERR_##name

static void await_all(struct world *w, int events) {
    world_await(w, "SELECT COUNT(*) FROM kept", events);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", events);
}

static void assert_once_each(struct world *w, int events, int copies) {
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'"), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), events);
    assert_int_equal(world_int(w, "SELECT SUM(next_offset) FROM consumer_offset"), events);
    struct seen seen = {0};
    int records = (int)world_records(w, "probe.events");
    assert_int_equal(world_read(w, "probe.events", records, look_at, &seen), records);
    assert_in_range(records, events, events + copies);
}

static bool asked_to_end(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    return sigtimedwait(&set, NULL, &(struct timespec){0}) == SIGTERM;
}

/* Each error once, and then three times in a row. A produce request's is laid out by the handler, so that it meets the
 * answer and not the test's own record. */
static void meet(struct world *w, int request, const rd_kafka_resp_err_t *errors, size_t n) {
    int events = 0;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1000);
    await_all(w, ++events);
    for (size_t i = 0; i < 2 * n; i++) {
        rd_kafka_resp_err_t e = errors[i / 2];
        int times = i % 2 ? 3 : 1;
        for (int k = 0; k < times && request != PRODUCE; k++)
            rd_kafka_mock_push_request_errors(w->cluster, (int16_t)request, 1, e);
        break_with = e;
        break_times = times;
        if (request == PRODUCE) break_next_send = w->cluster;
        ask(w, 0, "R-1", 2000 + (int)i);
        events++;
        int64_t until = clock_ms() + 60000; /* three times into the group, each as long as a session */
        while (world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'") != events && clock_ms() < until)
            usleep(5000);
        if (world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'") != events)
            fail_msg(
                "%s: %d of %d handled, %d sent", rd_kafka_err2name(e), (int)world_int(w, "SELECT COUNT(*) FROM kept"),
                events, (int)world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'"));
        rd_kafka_mock_clear_request_errors(w->cluster, (int16_t)request);
    }
    await_all(w, events);
    assert_once_each(w, events, 4 * (int)n);
    if (asked_to_end()) fail_msg("it asked to be started again");
}
#define MEET(w, request, ...)                                                                                          \
    meet(                                                                                                              \
        w, request, (const rd_kafka_resp_err_t[]){__VA_ARGS__},                                                        \
        sizeof((const rd_kafka_resp_err_t[]){__VA_ARGS__}) / sizeof(rd_kafka_resp_err_t))

static void errors_of_produce(void **state) {
    MEET(
        *state, PRODUCE, E(NOT_LEADER_FOR_PARTITION), E(LEADER_NOT_AVAILABLE), E(REQUEST_TIMED_OUT),
        E(NETWORK_EXCEPTION), E(INVALID_MSG), E(NOT_ENOUGH_REPLICAS), E(NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        E(KAFKA_STORAGE_ERROR), E(UNKNOWN_TOPIC_OR_PART), E(TOPIC_AUTHORIZATION_FAILED));
}

/* Of these some are fatal to an idempotent producer: the relay takes a new one. */
static void errors_of_an_idempotent_producer(void **state) {
    MEET(
        *state, PRODUCE, E(OUT_OF_ORDER_SEQUENCE_NUMBER), E(UNKNOWN_PRODUCER_ID), E(INVALID_PRODUCER_EPOCH),
        E(INVALID_PRODUCER_ID_MAPPING), E(CLUSTER_AUTHORIZATION_FAILED));
}

static void errors_of_fetch(void **state) {
    MEET(
        *state, FETCH, E(NOT_LEADER_FOR_PARTITION), E(UNKNOWN_TOPIC_OR_PART), E(LEADER_NOT_AVAILABLE),
        E(KAFKA_STORAGE_ERROR), E(FENCED_LEADER_EPOCH), E(REQUEST_TIMED_OUT), E(TOPIC_AUTHORIZATION_FAILED),
        E(INVALID_MSG), E(UNKNOWN));
}

static void errors_of_the_offset_commit(void **state) {
    MEET(
        *state, OFFSET_COMMIT, E(COORDINATOR_LOAD_IN_PROGRESS), E(NOT_COORDINATOR), E(REBALANCE_IN_PROGRESS),
        E(OFFSET_METADATA_TOO_LARGE), E(GROUP_AUTHORIZATION_FAILED), E(UNKNOWN_MEMBER_ID));
}

/* The broker says that the offset is beyond its log: nothing is skipped, it is said, and the next start tries again. */
static void an_offset_out_of_range(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    for (int i = 0; i < 6; i++) ask(w, i, "R-1", 1 + i);
    await_all(w, 6);
    for (int i = 0; i < 50; i++) /* a fetch that was under way may be dropped with its error */
        rd_kafka_mock_push_request_errors(w->cluster, FETCH, 1, E(OFFSET_OUT_OF_RANGE));
    world_await_health(w, "log", "failed", "nothing is skipped");
    rd_kafka_mock_clear_request_errors(w->cluster, FETCH);
    for (int i = 0; i < 6; i++) ask(w, i, "R-1", 20 + i);
    world_stop(w);
    w->more[w->more_n++] = "-Xgroup.id=again";
    world_start(w, &probe);
    await_all(w, 12);
    assert_once_each(w, 12, 0);
}

/* A member that the group no longer knows, or that must join anew, does so and goes on from its own offset. */
static void errors_of_the_heartbeat(void **state) {
    static const rd_kafka_resp_err_t errors[] = {E(REBALANCE_IN_PROGRESS), E(UNKNOWN_MEMBER_ID), E(NOT_COORDINATOR)};
    struct world *w = *state;
    int events = 0;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    await_all(w, ++events);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        rd_kafka_mock_push_request_errors(w->cluster, HEARTBEAT, 1, errors[i]);
        for (int k = 0; k < 4; k++) ask(w, k, "R-1", 100 * (int)(i + 1) + k), events++;
        await_all(w, events);
    }
    assert_once_each(w, events, 0);
}

/* What was paused before a rebalance is not paused after it: librdkafka would keep that to itself for ever. */
static void a_rebalance_while_partitions_are_held(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    world_await_health(w, "kafka", "ok", "reads 6");
    int64_t held = metric_read(METRIC_partitions_held), rebalances = metric_read(METRIC_rebalances);
    w->registry_down = true;
    for (int i = 0; i < 6; i++) ask(w, i, "R-1", 100 + i);
    int64_t until = clock_ms() + 60000;
    while (metric_read(METRIC_partitions_held) < held + 6 && clock_ms() < until) usleep(5000);
    rd_kafka_mock_push_request_errors(w->cluster, HEARTBEAT, 1, E(UNKNOWN_MEMBER_ID));
    while (metric_read(METRIC_rebalances) == rebalances && clock_ms() < until) usleep(5000);
    assert_true(metric_read(METRIC_rebalances) > rebalances);
    w->registry_down = false;
    await_all(w, 6);
    assert_once_each(w, 6, 0);
}

static void errors_of_joining(void **state) {
    struct world *w = *state;
    rd_kafka_mock_push_request_errors(
        w->cluster, FIND_COORDINATOR, 2, E(COORDINATOR_NOT_AVAILABLE), E(COORDINATOR_LOAD_IN_PROGRESS));
    rd_kafka_mock_push_request_errors(w->cluster, JOIN_GROUP, 2, E(NOT_COORDINATOR), E(UNKNOWN_MEMBER_ID));
    rd_kafka_mock_push_request_errors(w->cluster, SYNC_GROUP, 1, E(REBALANCE_IN_PROGRESS));
    rd_kafka_mock_push_request_errors(
        w->cluster, INIT_PRODUCER_ID, 2, E(COORDINATOR_LOAD_IN_PROGRESS), E(NOT_COORDINATOR));
    ask(w, 0, "R-1", 1);
    world_start(w, &probe);
    int64_t until = clock_ms() + 60000;
    while (world_int(w, "SELECT COUNT(*) FROM kept") != 1 && clock_ms() < until) usleep(5000);
    await_all(w, 1);
    assert_once_each(w, 1, 0);
}

/* Slow, down, and up again, with events on their way. */
static void a_slow_broker(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    rd_kafka_mock_broker_set_rtt(w->cluster, 1, 300);
    for (int i = 0; i < 6; i++) ask(w, i, "R-1", 100 + i);
    rd_kafka_mock_broker_set_rtt(w->cluster, 1, 0);
    await_all(w, 6);
    assert_once_each(w, 6, 0);
}

/* --- A handler that takes longer than the group allows: the partitions are taken away, and come back. */

static atomic_int naps;

static verdict nap(struct reaction *r, const void *fields, struct failure *why) {
    if (naps > 0 && naps--) sleep(8);
    return probe.handlers[0].handle(r, fields, why);
}

static void too_long_between_polls(void **state) {
    struct world *w = *state;
    struct handler handlers[] = {probe.handlers[0], {0}};
    struct service slow = probe;
    handlers[0].handle = nap;
    slow.handlers = handlers;
    naps = 1;
    w->more[w->more_n++] = "-Xmax.poll.interval.ms=6000";
    world_start(w, &slow);
    for (int i = 0; i < 12; i++) ask(w, i % 6, "R-1", 100 + i);
    int64_t until = clock_ms() + 90000;
    while (world_int(w, "SELECT COUNT(*) FROM kept") != 12 && clock_ms() < until) usleep(5000);
    await_all(w, 12);
    assert_int_equal(naps, 0);
    ask(w, 0, "R-1", 500);
    await_all(w, 13);
    assert_once_each(w, 13, 0);
    world_stop(w);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(errors_of_produce, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(errors_of_an_idempotent_producer, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(errors_of_fetch, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(errors_of_the_offset_commit, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(an_offset_out_of_range, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(errors_of_the_heartbeat, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_rebalance_while_partitions_are_held, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(errors_of_joining, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_slow_broker, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(too_long_between_polls, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
