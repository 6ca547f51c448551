/* Drills: through each of them nothing is lost, done twice or put out of order, and the service stays a member. */
#include "helper_child.h"
#include "helper_client.h"
#include "helper_probe.h"

#include "chassis/base/metrics.h"
#include "chassis/incoming/drill.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char handled[] = "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'";
static const char drills[] = "SELECT COUNT(*) FROM audit WHERE action = 'drill'";

static json_t *call(int port, const char *method, const char *path, const char *type, const char *body, int status) {
    char request[600];
    int n = snprintf(
        request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", method,
        path, type, strlen(body), body);
    int fd = client_open(port);
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != status) fail_msg("%s %s %s: %s", method, path, body, a->text);
    return json_loads(a->body, 0, NULL);
}

static json_t *get(struct world *w, const char *path, int status) {
    return call(http_port(w->rt.http), "GET", path, "-", "", status);
}

static void drill(struct world *w, const char *body, int status) {
    json_decref(call(http_port(w->rt.http), "POST", "/api/drill", "application/json", body, status));
}

static void allow(struct world *w) {
    w->more[w->more_n++] = "--drills";
}

static json_int_t lag_of(const json_t *status) {
    json_t *one;
    json_int_t lag = 0;
    size_t i;
    json_array_foreach(json_object_get(status, "partitions"), i, one) lag +=
        json_integer_value(json_object_get(one, "lag"));
    return lag;
}

/* What the service itself says to be waiting: it must see the topic's end also while it takes nothing. */
static void await_lag(struct world *w, json_int_t expected) {
    int64_t until = clock_ms() + 60000;
    json_int_t lag = -1;
    while (lag != expected && clock_ms() < until) {
        json_t *status = get(w, "/api/status", 200);
        lag = lag_of(status);
        json_decref(status);
        usleep(5000);
    }
    assert_int_equal(lag, expected);
}

/* Until a record waits for longer than it takes to begin with it. */
static void await_begun(struct world *w) {
    int64_t until = clock_ms() + 60000, waits = 0;
    while (waits < 200 && clock_ms() < until) {
        json_t *status = get(w, "/api/status", 200);
        waits = json_integer_value(json_object_get(status, "oldest_unhandled_ms"));
        json_decref(status);
        usleep(5000);
    }
    assert_true(waits >= 200);
}

static void assert_once_each(struct world *w, int events) {
    world_await(w, "SELECT COUNT(*) FROM kept", events);
    assert_int_equal(world_int(w, handled), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE action NOT IN ('drill', 'keep')"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), events);
    assert_int_equal(world_int(w, "SELECT SUM(next_offset) FROM consumer_offset"), events);
    assert_int_equal(/* in each partition the rows come by their offsets */
                     world_int(
                         w,
                         "SELECT COUNT(*) FROM audit a JOIN audit b ON a.topic = b.topic AND a.partition = b.partition AND "
                         "a.record_offset = b.record_offset + 1 AND a.id < b.id"),
                     0);
    json_t *chains = get(w, "/api/audit/verify", 200);
    assert_true(json_is_true(json_object_get(chains, "intact")));
    json_decref(chains);
}

/* --- Asking */

static void a_default_start_allows_none(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    json_decref(get(w, "/api/drill", 403));
    drill(w, "{\"mode\":\"pause\"}", 403);
    drill(w, "{\"mode\":\"crash\"}", 403);
    json_decref(call(http_port(w->rt.http), "POST", "/drill", "application/x-www-form-urlencoded", "mode=crash", 403));
    json_t *status = get(w, "/api/status", 200);
    assert_true(json_is_null(json_object_get(status, "drill")));
    json_decref(status);
    ask(w, 0, "R-1", 1);
    world_await(w, handled, 1);
    assert_int_equal(world_int(w, drills), 0);
}

static void what_is_no_drill_changes_nothing(void **state) {
    static const char *const wrong[] = {
        "{}",
        "[]",
        "{\"mode\":7}",
        "{\"mode\":\"\"}",
        "{\"mode\":\"stop\"}",
        "{\"mode\":\"slow\"}",
        "{\"mode\":\"slow\",\"ms\":0}",
        "{\"mode\":\"slow\",\"ms\":60001}",
        "{\"mode\":\"slow\",\"ms\":-5}",
        "{\"mode\":\"slow\",\"ms\":1.5}",
        "{\"mode\":\"slow\",\"ms\":\"5s\"}",
        "{\"mode\":\"slow\",\"ms\":9223372036854775807}"};
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    int port = http_port(w->rt.http);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) drill(w, wrong[i], 422);
    drill(w, "{", 400);
    json_decref(call(port, "POST", "/api/drill", "text/plain", "mode=pause", 415));
    json_decref(call(port, "POST", "/drill", "application/json", "{\"mode\":\"pause\"}", 415));
    json_decref(call(port, "POST", "/api/drill", "application/x-www-form-urlencoded", "mode=slow&ms=1e3", 422));
    assert_int_equal(world_int(w, drills), 0);
    json_t *now = get(w, "/api/drill", 200);
    assert_true(json_is_null(json_object_get(now, "drill")));
    json_decref(now);
}

static void a_form_asks_too_and_who_asked_is_audited(void **state) {
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    int port = http_port(w->rt.http);
    json_decref(call(port, "POST", "/drill", "application/x-www-form-urlencoded", "mode=slow&ms=250", 303));
    json_t *status = get(w, "/api/status", 200), *now = json_object_get(status, "drill");
    assert_string_equal(json_string_value(json_object_get(now, "mode")), "slow");
    assert_int_equal(json_integer_value(json_object_get(now, "ms")), 250);
    assert_int_equal(strlen(json_string_value(json_object_get(now, "since"))), 24);
    json_decref(status);
    json_decref(call(port, "POST", "/api/drill", "application/x-www-form-urlencoded", "mode=go-on", 200));
    assert_int_equal(
        world_int(
            w, "SELECT COUNT(*) FROM audit WHERE action = 'drill' AND outcome = 'accepted' AND topic IS NULL AND "
               "actor = 'form' AND summary = 'slow: 250 ms an event'"),
        1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE actor = 'api' AND summary = 'go on as usual'"), 1);
}

/* --- Pause */

static void paused_it_takes_nothing_and_stays_a_member(void **state) {
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    for (int i = 0; i < 6; i++) ask(w, i, "R-1", 100 + i);
    world_await(w, handled, 6);
    drill(w, "{\"mode\":\"pause\"}", 200);
    await_lag(w, 0);
    for (int i = 6; i < 66; i++) ask(w, i % 3, "R-1", 100 + i);
    await_lag(w, 60);
    for (int i = 66; i < 96; i++) ask(w, i % 6, "R-1", 100 + i);
    await_lag(w, 90); /* it grows before one's eyes */
    assert_int_equal(world_int(w, handled), 6);
    json_t *status = get(w, "/api/status", 200);
    assert_int_equal(json_array_size(json_object_get(status, "partitions")), 6);
    assert_string_equal(json_string_value(json_object_get(status, "state")), "up");
    assert_string_equal(json_string_value(json_object_get(json_object_get(status, "drill"), "mode")), "paused");
    assert_true(json_integer_value(json_object_get(status, "oldest_unhandled_ms")) > 0);
    json_decref(status);
    json_decref(get(w, "/readyz", 200));
    drill(w, "{\"mode\":\"go-on\"}", 200);
    assert_once_each(w, 96);
    await_lag(w, 0);
}

static void a_pause_outlives_a_rebalance(void **state) {
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    world_await_health(w, "kafka", "ok", "reads 6");
    drill(w, "{\"mode\":\"pause\"}", 200);
    for (int i = 0; i < 30; i++) ask(w, i % 6, "R-1", 100 + i);
    await_lag(w, 30);
    int64_t rebalances = metric_read(METRIC_rebalances), until = clock_ms() + 60000;
    rd_kafka_mock_push_request_errors(w->cluster, 12 /* Heartbeat */, 1, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    while (metric_read(METRIC_rebalances) == rebalances && clock_ms() < until) usleep(5000);
    assert_true(metric_read(METRIC_rebalances) > rebalances);
    await_lag(w, 30);
    for (int i = 30; i < 60; i++) ask(w, i % 6, "R-1", 100 + i);
    await_lag(w, 60);
    assert_int_equal(world_int(w, handled), 0);
    drill(w, "{\"mode\":\"go-on\"}", 200);
    assert_once_each(w, 60);
}

static void a_restart_ends_a_pause(void **state) {
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    drill(w, "{\"mode\":\"pause\"}", 200);
    for (int i = 0; i < 12; i++) ask(w, i % 6, "R-1", 100 + i);
    await_lag(w, 12);
    int64_t began = steady_ms();
    world_stop(w);
    assert_true(steady_ms() - began < 2000);
    world_start(w, &probe);
    assert_once_each(w, 12);
}

/* --- Slow */

/* The oldest comes first, whatever partition it is in: no partition waits for another one to be empty. */
static void slow_each_event_takes_its_time(void **state) {
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    world_await_health(w, "kafka", "ok", "reads 6");
    drill(w, "{\"mode\":\"slow\",\"ms\":100}", 200);
    for (int i = 0; i < 6; i++) ask(w, 5, "R-1", 100 + i);
    world_await(w, handled, 1);
    for (int i = 6; i < 12; i++) ask(w, i == 6 ? 0 : 5, "R-1", 100 + i);
    world_await(w, handled, 12);
    assert_true(world_int(w, "SELECT MAX(at) - MIN(at) FROM audit WHERE action = 'keep'") >= 11 * 95);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept a JOIN kept b ON a.rowid + 1 = b.rowid AND a.n > b.n"), 0);
    assert_once_each(w, 12);
}

/* Neither the membership nor a stop waits for an event that takes its time. */
static void slow_it_beats_and_stops(void **state) {
    struct world *w = *state;
    allow(w);
    w->more[w->more_n++] = "-Xsession.timeout.ms=3000";
    w->more[w->more_n++] = "-Xheartbeat.interval.ms=300";
    world_start(w, &probe);
    world_await_health(w, "kafka", "ok", "reads 6");
    drill(w, "{\"mode\":\"slow\",\"ms\":1000}", 200);
    int64_t rebalances = metric_read(METRIC_rebalances);
    for (int i = 0; i < 12; i++) ask(w, i % 6, "R-1", 100 + i);
    world_await(w, handled, 4); /* longer than a session */
    assert_int_equal(metric_read(METRIC_rebalances), rebalances);
    drill(w, "{\"mode\":\"go-on\"}", 200);
    world_await(w, handled, 12);
    drill(w, "{\"mode\":\"slow\",\"ms\":60000}", 200);
    ask(w, 0, "R-1", 200);
    await_begun(w);
    int64_t began = steady_ms();
    world_stop(w);
    assert_true(steady_ms() - began < 2000);
    world_start(w, &probe);
    assert_once_each(w, 13);
}

/* More than it keeps in memory: what was passed over is fetched again, by itself and when it goes on. */
static void slow_far_behind_nothing_is_passed_over_for_good(void **state) {
    struct world *w = *state;
    allow(w);
    for (int i = 0; i < 2600; i++) ask(w, i % 8 ? 0 : 1, "R-1", 100 + i);
    world_start(w, &probe);
    drill(w, "{\"mode\":\"slow\",\"ms\":1}", 200);
    int64_t until = clock_ms() + 60000;
    while (world_int(w, handled) < 1700 && clock_ms() < until) usleep(20000);
    drill(w, "{\"mode\":\"go-on\"}", 200);
    assert_once_each(w, 2600);
}

static void from_one_drill_to_the_next(void **state) {
    static const char *const modes[] = {
        "{\"mode\":\"pause\"}", "{\"mode\":\"slow\",\"ms\":20}", "{\"mode\":\"pause\"}", "{\"mode\":\"go-on\"}"};
    struct world *w = *state;
    allow(w);
    world_start(w, &probe);
    for (int i = 0; i < 200; i++) {
        if (i % 7 == 0) drill(w, modes[i / 7 % 4], 200);
        ask(w, i % 6, "R-1", 100 + i);
    }
    drill(w, "{\"mode\":\"go-on\"}", 200);
    assert_once_each(w, 200);
}

/* --- For others than the consumer */

static void set(struct drill *d, enum drill_mode mode, int64_t ms) {
    struct failure why;
    assert_int_equal(drill_change(d, &(struct drill_change){.mode = mode, .ms = ms}, &why), OK);
}

static void work_on_another_thread_is_delayed_too(void **state) {
    (void)state;
    struct drill *d = drill_new();
    int64_t began = steady_ms();
    assert_true(drill_delay(d, 1000));
    set(d, DRILL_SLOW, 50);
    assert_true(drill_delay(d, 1000));
    assert_true(steady_ms() - began >= 50);
    set(d, DRILL_PAUSED, 0);
    began = steady_ms();
    assert_false(drill_delay(d, 50));
    assert_true(steady_ms() - began >= 50);
    drill_end(d);
    assert_false(drill_delay(d, 60000));
    drill_free(&d);
}

/* --- Crash */

static int child_port(struct world *w) {
    char path[128], text[20000];
    snprintf(path, sizeof path, "%s/child.log", w->folder);
    FILE *file = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    const char *ready = strstr(text, "msg=ready");
    return atoi(strstr(ready, "port=") + 5);
}

static void a_crash_comes_after_its_audit_row_and_its_answer(void **state) {
    struct world *w = *state;
    allow(w);
    pid_t pid = child_start(w, NULL, "first");
    child_await(w, "msg=ready");
    for (int i = 0; i < 60; i++) ask(w, i % 6, "R-1", 100 + i);
    json_t *said = call(child_port(w), "POST", "/api/drill", "application/json", "{\"mode\":\"crash\"}", 200);
    assert_true(json_is_true(json_object_get(said, "crashed")));
    json_decref(said);
    int status = child_wait(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    w->more[w->more_n++] = "-Xgroup.id=second";
    world_start(w, &probe);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE action = 'drill' AND summary LIKE 'crash:%'"), 1);
    assert_once_each(w, 60);
    json_t *now = get(w, "/api/drill", 200);
    assert_true(json_is_null(json_object_get(now, "drill")));
    json_decref(now);
}

int main(int argc, char *argv[]) {
    int status = child_main(argc, argv);
    if (status >= 0) return status;
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_default_start_allows_none, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_drill_changes_nothing, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_form_asks_too_and_who_asked_is_audited, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(paused_it_takes_nothing_and_stays_a_member, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_pause_outlives_a_rebalance, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_restart_ends_a_pause, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(slow_each_event_takes_its_time, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(slow_it_beats_and_stops, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(slow_far_behind_nothing_is_passed_over_for_good, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(from_one_drill_to_the_next, probe_setup, probe_teardown),
        cmocka_unit_test(work_on_another_thread_is_delayed_too),
        cmocka_unit_test_setup_teardown(a_crash_comes_after_its_audit_row_and_its_answer, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
