/* The log is not what it was: noticed, said, held; and a person's decision where to go on. */
#include "helper_client.h"
#include "helper_probe.h"

#include "chassis/web/http.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What a stopped service will find in its database. */
static void change(struct world *w, const char *sql) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/probe.db", w->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

static void accept_log(struct world *w, const char *body, int status) {
    char request[500];
    int n = snprintf(
        request, sizeof request,
        "POST /api/log/accept HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s",
        strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != status) fail_msg("%s: %s", body, a->text);
}

/* Three records in partition 1 and one in 2 had their effect; then `sql`, and more records in both. */
static void restart_after(struct world *w, const char *sql) {
    world_start(w, &probe);
    for (int i = 1; i <= 3; i++) ask(w, 1, "R-1", i);
    ask(w, 2, "R-2", 4);
    world_await(w, "SELECT COUNT(*) FROM kept", 4);
    world_stop(w);
    if (sql) change(w, sql);
    ask(w, 1, "R-1", 5);
    ask(w, 2, "R-2", 6);
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM kept WHERE n = 6", 1);
}

static void the_same_log_is_read_on(void **state) {
    struct world *w = *state;
    restart_after(w, NULL);
    world_await(w, "SELECT COUNT(*) FROM kept", 6);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome <> 'handled'"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM consumer_offset WHERE mark IS NULL OR cluster IS NULL"), 0);
    accept_log(w, "{\"topic\":\"support.events\",\"from\":\"end\"}", 409);
}

static void another_record_at_our_place_holds_its_partition(void **state) {
    struct world *w = *state;
    restart_after(w, "UPDATE consumer_offset SET mark = mark + 1 WHERE partition = 1");
    world_await_health(w, "log", "failed", "support.events[1] is not the log that was read");
    world_await_health(w, "log", "failed", "./returns accept-log probe support.events/1 --from");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept WHERE n = 5"), 0);
    assert_int_equal(world_int(w, "SELECT next_offset FROM consumer_offset WHERE partition = 1"), 3);
    accept_log(w, "{\"topic\":\"support.events\",\"from\":\"now\"}", 422);
    accept_log(w, "{\"topic\":\"support.events\",\"partition\":2,\"from\":\"end\"}", 409);
    accept_log(w, "{\"topic\":\"support.events\",\"partition\":1,\"from\":\"here\"}", 200);
    world_await(w, "SELECT COUNT(*) FROM kept WHERE n = 5", 1);
    world_await_health(w, "log", "ok", "");
    assert_int_equal(
        world_int(w, "SELECT COUNT(*) FROM audit WHERE topic IS NULL AND action = 'accept another log'"), 1);
}

/* From its beginning, the same offsets come again; what had its effect has none again. */
static void another_cluster_holds_all(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    for (int i = 1; i <= 3; i++) ask(w, 1, "R-1", i);
    world_await(w, "SELECT COUNT(*) FROM kept", 3);
    world_stop(w);
    change(w, "UPDATE consumer_offset SET cluster = 'elsewhere'");
    ask(w, 1, "R-1", 5);
    world_start(w, &probe);
    world_await_health(w, "log", "failed", "it was read on elsewhere");
    accept_log(w, "{\"topic\":\"support.events\",\"from\":\"beginning\"}", 200);
    world_await(w, "SELECT COUNT(*) FROM kept", 4);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'duplicate' AND log = 1"), 3);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
}

static void a_log_that_ends_before_our_place_is_held(void **state) {
    struct world *w = *state;
    restart_after(w, "UPDATE consumer_offset SET next_offset = 9 WHERE partition = 1");
    world_await_health(w, "log", "failed", "support.events[1]");
    accept_log(w, "{\"topic\":\"support.events\",\"partition\":1,\"from\":\"end\"}", 200);
    world_await(w, "SELECT next_offset FROM consumer_offset WHERE partition = 1", 4);
    world_await_health(w, "log", "ok", "");
    ask(w, 1, "R-1", 7);
    world_await(w, "SELECT COUNT(*) FROM kept WHERE n = 7", 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept WHERE n = 5"), 0); /* that was the decision */
}

/* One record short: a fetch there waits for one, as in an idle log. */
static void a_log_that_ends_just_before_our_place_is_held(void **state) {
    struct world *w = *state;
    restart_after(w, "UPDATE consumer_offset SET next_offset = 5 WHERE partition = 1");
    world_await_health(w, "log", "failed", "it ends at 4, before offset 5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_log_is_read_on, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(another_record_at_our_place_holds_its_partition, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(another_cluster_holds_all, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_log_that_ends_before_our_place_is_held, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_log_that_ends_just_before_our_place_is_held, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
