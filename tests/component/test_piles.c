/* What status, metrics, pages and the heads of the audit log cost does not grow with what lies behind them: no
 * statement takes more of SQLite's own steps over a long outbox and many letters than over short ones. */
#include "helper_client.h"
#include "helper_probe.h"

#include "chassis/web/http.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FEW = 1000, MANY = 50 * FEW };

/* The most steps that a statement of anybody took since it was set to 0, and which one that was. */
static atomic_int most;
static char dearest[400];
static pthread_mutex_t dearest_lock = PTHREAD_MUTEX_INITIALIZER;

static int on_end(unsigned kind, void *context, void *statement, void *ns) {
    (void)kind, (void)context, (void)ns;
    int steps = sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    pthread_mutex_lock(&dearest_lock);
    if (steps > most) {
        most = steps;
        snprintf(dearest, sizeof dearest, "%s", sqlite3_sql(statement));
    }
    pthread_mutex_unlock(&dearest_lock);
    return 0;
}

static int watch(sqlite3 *db, char **error, const void *api) {
    (void)error, (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_PROFILE, on_end, NULL);
}

static void get(struct world *w, const char *path) {
    char request[300];
    int n = snprintf(
        request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", path,
        http_port(w->rt.http));
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != 200) fail_msg("%s: %s", path, a->text);
}

static void run(struct world *w, const char *sql, int n) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run(c, sql, value_int(n));
    if (store_commit(c, &why) != OK) fail_msg("%s: %s", sql, why.text);
}

#define OUTBOX(state)                                                                                                  \
    "WITH RECURSIVE k (i) AS (SELECT (SELECT COUNT(*) FROM outbox_state WHERE state = '" state "') + 1 UNION ALL "     \
    "SELECT i + 1 FROM k WHERE i < ?) INSERT INTO outbox (event_id, type, return_id, body, trace_parent, "             \
    "occurred_at) SELECT zeroblob(16), 'returns.probe.Answered', 'R-1', x'', '', 1 FROM k"

/* Up to n of each kind. Those that wait had been set aside before; some of later wait behind the mark. */
static void pile_up(struct world *w, int n) {
    static const char *const sql[] = {
        OUTBOX("waiting"),
        "INSERT INTO outbox_exception (id, state) SELECT id, 'waiting' FROM outbox_state WHERE state = 'waiting' AND ? "
        "ON CONFLICT DO NOTHING",
        OUTBOX("set aside"),
        "INSERT INTO outbox_exception (id, state, at, reason) SELECT id, 'set aside', 1, 'because' FROM outbox_state "
        "WHERE state = 'waiting' AND id NOT IN (SELECT id FROM outbox_exception) AND ?",
        "UPDATE outbox_mark SET through = (SELECT MAX(id) FROM outbox) WHERE ?",
        "WITH RECURSIVE k (i) AS (SELECT (SELECT COUNT(*) FROM dead_letter WHERE state = 'open') + 1 UNION ALL "
        "SELECT i + 1 FROM k WHERE i < ?) INSERT INTO dead_letter (at, topic, partition, record_offset, headers, "
        "reason) SELECT 1, 'support.events', i % 6, i, '[]', 'because' FROM k",
        "WITH RECURSIVE k (i) AS (SELECT (SELECT COUNT(*) FROM dead_letter WHERE state = 'redriven') + 1 UNION ALL "
        "SELECT i + 1 FROM k WHERE i < ?) INSERT INTO dead_letter (at, topic, partition, record_offset, headers, "
        "reason, state) SELECT 1, 'support.events', i % 6, i, '[]', 'because', 'redriven' FROM k",
    };
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) run(w, sql[i], n);
}

/* Of whatever is asked, of an event, and of the heads that follow it. */
static int steps_of_all(struct world *w, int event) {
    char published[120];
    static const char *const paths[] = {"/",      "/api/status",       "/metrics",      "/readyz?verbose",
                                        "/state", "/api/dead-letters", "/dead-letters", "/audit"};
    most = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) get(w, paths[i]);
    ask(w, 0, "R-1", event);
    snprintf(
        published, sizeof published, "SELECT MAX(heads LIKE '%%\"rows\":%d,\"chains%%') FROM audit_published", event);
    world_await(w, published, 1);
    pthread_mutex_lock(&dearest_lock);
    print_message("%d steps: %s\n", most, dearest);
    pthread_mutex_unlock(&dearest_lock);
    return most;
}

static void what_is_shown_costs_the_same_over_many(void **state) {
    struct world *w = *state;
    w->registry_refuses_text = "returns.probe"; /* so that nothing of the outbox is published */
    w->more[w->more_n++] = "--audit-heads-ms=100";
    ask(w, 0, "R-1", 1);
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM outbox", 1);
    pile_up(w, FEW);
    int few = steps_of_all(w, 2);
    pile_up(w, MANY);
    assert_int_equal(world_int(w, "SELECT n FROM outbox_waiting"), MANY);
    assert_int_equal(world_int(w, "SELECT n FROM pile WHERE name = 'open letters'"), MANY);
    int many = steps_of_all(w, 3);
    if (many > 2 * few) fail_msg("%d steps over %d, and %d over %d: %s", many, MANY, few, FEW, dearest);
}

static void redriven_is(struct world *w, const char *sql, int64_t n) {
    if (*sql) run(w, sql, 0);
    assert_int_equal(world_int(w, "SELECT COALESCE(SUM(n), 0) FROM pile_redriven"), n);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'redriven'"), n);
}

static void what_was_redriven_is_counted(void **state) {
    struct world *w = *state;
    w->registry_refuses = true;
    world_start(w, &probe);
    redriven_is(w, "", 0);
    pile_up(w, 12);
    redriven_is(w, "UPDATE dead_letter SET said = 'again' WHERE id > ?", 12);
    redriven_is(w, "UPDATE dead_letter SET state = 'redriven' WHERE id > ?", 24);
    redriven_is(w, "DELETE FROM dead_letter WHERE id > ? AND partition < 3", 12);
    assert_int_equal(world_int(w, "SELECT n FROM pile_redriven WHERE partition = 3"), 4);
    assert_int_equal(world_int(w, "SELECT n FROM pile_redriven WHERE partition = 2"), 0);
}

static int setup(void **state) {
    sqlite3_auto_extension((void (*)(void))watch);
    return probe_setup(state);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_shown_costs_the_same_over_many, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_was_redriven_is_counted, setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
