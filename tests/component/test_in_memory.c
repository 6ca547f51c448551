/* A service that keeps nothing: each start is the first. */
#include "helper_client.h"
#include "helper_probe.h"

#include "chassis/base/assets.h"
#include "chassis/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct asked {
    int64_t n;
};
static const struct field asked_fields[] = {FIELD_INT(struct asked, n)};

static atomic_bool refuses;

static verdict note(struct reaction *r, const void *fields, struct failure *why) {
    const struct asked *q = fields;
    if (refuses) return (fail)(why, REJECT, "not now");
    (void)store_run(r->store, "INSERT INTO noted (n) VALUES (?)", value_int(q->n));
    return OK;
}

static const struct handler handlers[] = {{"returns.support.Asked", FIELDS(asked_fields, struct asked), note}, {0}};
static const struct service reader = {
    .title = "Reader", .duty = "Notes numbers.", .subscribes = "support", .handlers = handlers, .in_memory = true};

static const struct asset assets[] = {{"schema.sql", "CREATE TABLE noted (n BIGINT NOT NULL);", 0}};

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(assets, 1);
    world_open(w);
    w->name = "reader";
    return 0;
}

/* What Kafka was told of partition 0; a negative number: nothing yet. */
static int64_t told(struct world *w) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[200];
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(w->cluster), text, sizeof text);
    rd_kafka_conf_set(conf, "group.id", "reader", text, sizeof text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "support.events", 0);
    assert_int_equal(rd_kafka_committed(rk, list, 10000), 0);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return offset;
}

static void await_told(struct world *w, int64_t offset) {
    int64_t until = clock_ms() + 60000;
    while (told(w) != offset && clock_ms() < until) usleep(50000);
    assert_int_equal(told(w), offset);
}

static void each_start_reads_all_from_the_first_event_on(void **state) {
    struct world *w = *state;
    for (int i = 1; i <= 5; i++) ask(w, 0, "R-1", i);
    world_start(w, &reader);
    world_await_health(w, "replay", "ok", "has read the 5 events");
    ask(w, 0, "R-1", 6);
    world_await(w, "SELECT COUNT(*) FROM noted", 6);
    world_stop(w);
    ask(w, 0, "R-1", 7);
    int64_t consumed = metric_read(METRIC_events_consumed);
    world_start(w, &reader);
    world_await_health(w, "replay", "ok", "has read the 7 events");
    assert_int_equal(metric_read(METRIC_events_consumed) - consumed, 7);
    assert_int_equal(world_int(w, "SELECT SUM(n) FROM noted"), 28);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'"), 7);
    assert_int_equal(world_int(w, "SELECT MIN(id) FROM audit"), 1);
}

static void what_kafka_was_told_does_not_go_back(void **state) {
    struct world *w = *state;
    for (int i = 1; i <= 5; i++) ask(w, 0, "R-1", i);
    world_start(w, &reader);
    await_told(w, 5);
    world_stop(w);
    w->registry_down = true; /* so it cannot go on, and can be looked at */
    world_start(w, &reader);
    world_await_health(w, "replay", "waiting", "has read 0 of 5 events");
    assert_int_equal(told(w), 5);
    ask(w, 0, "R-1", 6);
    w->registry_down = false;
    await_told(w, 6);
    world_await_health(w, "replay", "ok", "has read the 5 events");
}

static void its_quarantine_is_its_own(void **state) {
    struct world *w = *state;
    world_publish(w, 2, "R-BAD", "\7", 1);
    world_start(w, &reader);
    world_await(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 0);
    world_stop(w);
    world_start(w, &reader);
    world_await(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'", 1);
}

static void what_is_redriven_is_its_own_too(void **state) {
    struct world *w = *state;
    char request[300];
    refuses = true;
    ask(w, 0, "R-1", 1);
    world_start(w, &reader);
    world_await(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'", 1);
    refuses = false;
    int fd = client_open(http_port(w->rt.http)),
        n = snprintf(
            request, sizeof request,
            "POST /api/dead-letters/1/redrive HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    assert_int_equal(client_read(fd, false)->status, 200);
    close(fd);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'redriven'"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM noted"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 0);
}

static void one_with_a_schema_of_its_own_is_refused(void **state) {
    struct world *w = *state;
    struct failure why;
    probe_assets_use();
    assert_int_equal(world_try(w, &reader, &why), FATAL);
    assert_non_null(strstr(why.text, "publishes nothing, but has a schema: \"returns.probe.Answered\""));
}

static void a_second_one_empties_nothing(void **state) {
    struct world *w = *state, second;
    struct failure why;
    ask(w, 0, "R-1", 1);
    world_start(w, &reader);
    world_await(w, "SELECT COUNT(*) FROM noted", 1);
    world_open(&second);
    second.name = "reader";
    char own[sizeof second.folder];
    memcpy(own, second.folder, sizeof own);
    memcpy(second.folder, w->folder, sizeof own);
    assert_int_equal(world_try(&second, &reader, &why), RETRY);
    memcpy(second.folder, own, sizeof own);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM noted"), 1);
    world_close(&second);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_start_reads_all_from_the_first_event_on, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_kafka_was_told_does_not_go_back, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(its_quarantine_is_its_own, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_is_redriven_is_its_own_too, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(one_with_a_schema_of_its_own_is_refused, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_second_one_empties_nothing, setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
