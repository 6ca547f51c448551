/* The heads of the audit log's chains, published to a topic of their own. */
#include "helper_probe.h"

#include "chassis/audit/audit.h"
#include "chassis/base/health.h"
#include "chassis/outgoing/audit_heads.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct collected {
    json_t *all;
};

static void collect(void *context, const json_t *heads) {
    json_array_append(((struct collected *)context)->all, (json_t *)heads);
}

/* The newest that the topic holds; the caller's. */
static json_t *newest(struct world *w, size_t *n) {
    struct collected c = {json_array()};
    struct failure why;
    if (audit_heads_read(&w->settings, collect, &c, &why) != OK) fail_msg("%s", why.text);
    *n = json_array_size(c.all);
    json_t *last = json_incref(json_array_get(c.all, *n - 1));
    json_decref(c.all);
    return last;
}

static json_t *verify(struct world *w) {
    return audit_verify(store_reader(w->rt.core.store));
}

static void start(struct world *w) {
    if (!w->more_n) w->more[w->more_n++] = "--audit-heads-ms=100";
    world_start(w, &probe);
}

static void change(struct world *w, const char *sql) {
    char path[128], *error = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/probe.db", w->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) fail_msg("%s: %s", sql, error);
    sqlite3_close(db);
}

static void what_is_published_is_where_the_log_stands(void **state) {
    struct world *w = *state;
    size_t n;
    start(w);
    for (int i = 1; i <= 5; i++) ask(w, i % 2, "R-1", i);
    world_await(w, "SELECT COUNT(*) FROM audit", 5);
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":5,\"chains%') FROM audit_published", 1);
    world_await_health(w, "audit heads", "ok", "probe.audit-heads");
    json_t *heads = newest(w, &n), *answer = verify(w), *one, *mine;
    size_t i;
    assert_int_equal(json_integer_value(json_object_get(heads, "rows")), 5);
    assert_string_equal(json_string_value(json_object_get(heads, "service")), "probe");
    assert_int_equal(json_array_size(json_object_get(heads, "chains")), 2);
    json_array_foreach(json_object_get(heads, "chains"), i, one) {
        size_t found = 0, j;
        json_array_foreach(json_object_get(answer, "chains"), j, mine) found += json_equal(one, mine);
        assert_int_equal(found, 1);
    }
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer, "published"), "rows")), 5);
    json_decref(answer);
    json_decref(heads);
}

/* The newest, as soon as it says so. */
static json_t *newest_that(struct world *w, bool (*says)(const json_t *heads)) {
    int64_t until = steady_ms() + 60000;
    size_t n;
    json_t *heads = newest(w, &n);
    while (!says(heads) && steady_ms() < until) {
        json_decref(heads);
        heads = newest(w, &n);
    }
    assert_true(says(heads));
    return heads;
}

/* How many say nothing that the one before did not say. One while events wait to be sent is followed by one when they
 * are. */
static size_t repeated(struct world *w) {
    struct collected c = {json_array()};
    struct failure why;
    size_t i, n = 0;
    json_t *one;
    const json_t *before = NULL;
    if (audit_heads_read(&w->settings, collect, &c, &why) != OK) fail_msg("%s", why.text);
    json_array_foreach(c.all, i, one) {
        n += before && json_equal(json_object_get(one, "rows"), json_object_get(before, "rows")) &&
             json_equal(json_object_get(one, "chains"), json_object_get(before, "chains")) &&
             (json_integer_value(json_object_get(one, "unsent")) ||
              !json_integer_value(json_object_get(before, "unsent")));
        before = one;
    }
    json_decref(c.all);
    return n;
}

static bool all_sent(const json_t *heads, json_int_t rows) {
    return json_integer_value(json_object_get(heads, "rows")) == rows &&
           !json_integer_value(json_object_get(heads, "unsent"));
}

static bool one_row_all_sent(const json_t *heads) {
    return all_sent(heads, 1);
}

static bool two_rows_all_sent(const json_t *heads) {
    return all_sent(heads, 2);
}

/* A log to which nothing was added is not published again; a service that starts anew says once where it stands. */
static void only_news_is_published(void **state) {
    struct world *w = *state;
    start(w);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":1,\"chains%') FROM audit_published", 1);
    json_decref(newest_that(w, one_row_all_sent));
    ask(w, 0, "R-1", 2);
    json_decref(newest_that(w, two_rows_all_sent));
    assert_int_equal(repeated(w), 0);
    world_stop(w);
    int64_t published = world_int(w, "SELECT COUNT(*) FROM audit_published");
    start(w);
    world_await(w, "SELECT COUNT(*) FROM audit_published", published + 1);
    ask(w, 0, "R-1", 3);
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":3,\"chains%') FROM audit_published", 1);
    assert_int_equal(repeated(w), 1);
}

static void a_cut_tail_is_missed_by_the_service_itself(void **state) {
    struct world *w = *state;
    start(w);
    for (int i = 1; i <= 4; i++) ask(w, 0, "R-1", i);
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":4,\"chains%') FROM audit_published", 1);
    world_stop(w);
    change(
        w,
        "DELETE FROM audit WHERE id = 4; UPDATE audit_chain SET rows = 3, head = (SELECT hash FROM audit WHERE id = 3)");
    start(w);
    json_t *answer = verify(w), *broken = json_object_get(answer, "broken");
    assert_int_equal(json_integer_value(json_object_get(broken, "id")), 4);
    assert_non_null(strstr(json_string_value(json_object_get(broken, "reason")), "row 4 is missing"));
    json_decref(answer);
}

static bool is_broken(const json_t *heads) {
    return json_is_object(json_object_get(heads, "broken"));
}

static bool has_five_sent(const json_t *heads) {
    return json_integer_value(json_object_get(heads, "rows")) == 5 &&
           !json_integer_value(json_object_get(heads, "unsent"));
}

static json_t *partition_of(const json_t *heads, int partition) {
    json_t *one;
    size_t i;
    json_array_foreach(
        json_object_get(heads, "partitions"), i,
        one) if (json_integer_value(json_object_get(one, "partition")) == partition) return one;
    fail_msg("the heads have no partition %d", partition);
    return NULL;
}

static void expect_partition(const json_t *heads, int partition, const char *expected) {
    char *text = json_dumps(partition_of(heads, partition), JSON_COMPACT | JSON_SORT_KEYS);
    if (strcmp(text, expected) != 0) fail_msg("%s\nis not\n%s", text, expected);
    free(text);
}

static void with_them_goes_what_was_counted(void **state) {
    struct world *w = *state;
    start(w);
    for (int i = 1; i <= 3; i++) ask(w, 1, "R-1", i);
    ask(w, 1, "R-1", -1); /* refused */
    ask(w, 0, "R-2", 7);
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":5,\"chains%') FROM audit_published", 1);
    json_t *heads = newest_that(w, has_five_sent);
    assert_int_equal(json_integer_value(json_object_get(heads, "unsent")), 0);
    assert_true(json_is_null(json_object_get(heads, "broken")));
    expect_partition(
        heads, 1,
        "{\"emitted\":3,\"emitted_from\":0,\"first_offset\":0,\"gaps\":[],\"log\":0,\"next_offset\":4,\"outcomes\":"
        "[{\"n\":3,\"outcome\":\"handled\"},{\"n\":1,\"outcome\":\"quarantined\"}],\"partition\":1,\"redriven\":0,"
        "\"topic\":\"support.events\"}");
    json_decref(heads);
}

/* Found when the service starts: the row, that it is missing, and which record it was about. */
static void a_deleted_row_is_published_as_a_gap(void **state) {
    struct world *w = *state;
    start(w);
    for (int i = 1; i <= 4; i++) ask(w, 2, "R-1", i);
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":4,\"chains%') FROM audit_published", 1);
    world_stop(w);
    change(w, "DELETE FROM audit WHERE id = 2");
    start(w);
    json_t *heads = newest_that(w, is_broken),
           *gap = json_array_get(json_object_get(partition_of(heads, 2), "gaps"), 0);
    assert_int_equal(json_integer_value(json_object_get(gap, "from")), 1);
    assert_int_equal(json_integer_value(json_object_get(gap, "to")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(heads, "broken"), "id")), 2);
    json_decref(heads);
}

static void by_hand(struct world *w) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    audit_append(c, &(struct audit_row){.action = "try", .outcome = "accepted", .actor = "form", .summary = "by hand"});
    assert_int_equal(store_commit(c, &why), OK);
}

/* Without the registry neither events nor heads go out; both do when it is back. */
static void an_outage_only_delays_them(void **state) {
    struct world *w = *state;
    w->registry_down = true;
    start(w);
    by_hand(w);
    world_await_health(w, "audit heads", "waiting", "not published for now");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit_published"), 0);
    w->registry_down = false;
    world_await(w, "SELECT COUNT(*) FROM audit_published", 1);
    world_await_health(w, "audit heads", "ok", "published");
}

/* A refusal ends the producer that events go by too. */
static void what_is_refused_holds_up_no_event(void **state) {
    struct world *w = *state;
    size_t n;
    start(w);
    by_hand(w);
    world_await(w, "SELECT COUNT(*) FROM audit_published", 1);
    rd_kafka_mock_push_request_errors(w->cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
    by_hand(w);
    world_await_health(w, "audit heads", "failed", "refused, and tried again in a minute");
    for (int i = 0; i < 3; i++) ask(w, i, "R-1", i);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    assert_int_equal(world_records(w, "probe.events"), 3);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'set aside'"), 0);
    json_decref(newest(w, &n));
    assert_int_equal(n, 1); /* in a minute means in a minute */
    assert_true(health_ready(w->rt.core.health));
    world_stop(w);
    start(w); /* those that are made anew are taken */
    world_await(w, "SELECT MAX(heads LIKE '%\"rows\":5,\"chains%') FROM audit_published", 1);
    world_await_health(w, "audit heads", "ok", "published");
    assert_int_equal(world_records(w, "probe.events"), 3);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_published_is_where_the_log_stands, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(only_news_is_published, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_cut_tail_is_missed_by_the_service_itself, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(with_them_goes_what_was_counted, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_deleted_row_is_published_as_a_gap, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(an_outage_only_delays_them, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_is_refused_holds_up_no_event, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
