/* A process killed at each named point (crash.h), and the next start: one effect an event, nothing lost, chains intact.
 */
#include "helper_child.h"
#include "helper_probe.h"

#include "chassis/audit/audit.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { EVENTS = 8 };

static bool killed(int status) {
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void publish_some(struct world *w, int from) {
    for (int i = 0; i < EVENTS; i++) ask(w, i % 2, i % 2 ? "R-1" : "R-2", from + i);
}

/* --- What must be true in the end */

struct topic_spec {
    int n, distinct;
    char ids[8 * EVENTS][UUID_TEXT];
};

static void collect(const rd_kafka_message_t *m, void *context) {
    struct topic_spec *p = context;
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    assert_int_equal(rd_kafka_header_get_last(headers, "ce_id", &value, &n), 0);
    assert_int_equal(n, UUID_TEXT - 1);
    p->n++;
    for (int i = 0; i < p->distinct; i++)
        if (!memcmp(p->ids[i], value, n)) return;
    assert_true(p->distinct < 8 * EVENTS);
    memcpy(p->ids[p->distinct++], value, n);
}

static bool chains_intact(struct world *w) {
    json_t *answer = audit_verify(store_reader(w->rt.core.store));
    bool yes = json_is_true(json_object_get(answer, "intact"));
    json_decref(answer);
    return yes;
}

/* events: how many were asked in all; copies: how many more records than events the topic may hold. */
static void assert_once_each(struct world *w, int events, int copies) {
    struct topic_spec p = {0};
    world_await(w, "SELECT COUNT(*) FROM kept", events);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), events);
    assert_int_equal(world_int(w, "SELECT SUM(next_offset) FROM consumer_offset"), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'"), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
    assert_true(chains_intact(w));
    int records = (int)world_records(w, "probe.events");
    assert_int_equal(world_read(w, "probe.events", records, collect, &p), records);
    assert_int_equal(p.distinct, events);
    if (records > events + copies) fail_msg("%d records of %d events", records, events);
}

/* --- The points */

/* Crashes at the point's first and second passage, one after the other, on one database. */
static void crash_twice(struct world *w, const char *point, int copies) {
    char at[64], group[32];
    publish_some(w, 0);
    for (int n = 1; n <= 2; n++) {
        snprintf(at, sizeof at, "%s:%d", point, n);
        snprintf(group, sizeof group, "group-%d", n);
        pid_t pid = child_start(w, at, group);
        if (n == 2) publish_some(w, 100); /* so that there is more than one batch */
        int status = child_wait(pid);
        if (!killed(status)) fail_msg("%s: the child was not killed there, its wait status is %#x", at, status);
    }
    world_start(w, &probe);
    assert_once_each(w, 2 * EVENTS, copies);
}

static void before_the_commit_nothing_is_done(void **state) {
    struct world *w = *state;
    publish_some(w, 0);
    assert_true(killed(child_wait(child_start(w, "before commit", "a"))));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM consumer_offset"), 0);
    world_start(w, &probe);
    assert_once_each(w, EVENTS, 0);
}

static void after_the_commit_everything_is_done(void **state) {
    struct world *w = *state;
    publish_some(w, 0);
    assert_true(killed(child_wait(child_start(w, "after commit", "a"))));
    int64_t done = world_int(w, "SELECT COUNT(*) FROM kept");
    assert_true(done > 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), done);
    assert_int_equal(world_int(w, "SELECT SUM(next_offset) FROM consumer_offset"), done);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), done);
    world_start(w, &probe);
    assert_once_each(w, EVENTS, EVENTS);
}

static void after_the_send_it_is_sent_again_at_most(void **state) {
    crash_twice(*state, "after send", 2 * EVENTS);
}

/* Confirmed, but not marked: the outbox says that they wait, so they are published again, as the same events. */
static void after_the_delivery_it_is_sent_again(void **state) {
    struct world *w = *state;
    publish_some(w, 0);
    assert_true(killed(child_wait(child_start(w, "after delivery", "a"))));
    assert_true(world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'") > 0);
    int64_t there = world_records(w, "probe.events");
    assert_true(there > 0);
    world_start(w, &probe);
    assert_once_each(w, EVENTS, (int)there);
    assert_true(world_records(w, "probe.events") > EVENTS);
}

static void during_a_rebalance(void **state) {
    struct world *w = *state;
    publish_some(w, 0);
    assert_true(killed(child_wait(child_start(w, "during rebalance", "a"))));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 0);
    /* The second passage: the partitions are given up at the stop. */
    pid_t pid = child_start(w, "during rebalance:2", "b");
    world_await(w, "SELECT COUNT(*) FROM kept", EVENTS);
    assert_true(killed(child_stop(pid)));
    publish_some(w, 100);
    world_start(w, &probe);
    assert_once_each(w, 2 * EVENTS, EVENTS);
}

/* Each migration either was, with its version, or was not. */
static void during_a_migration(void **state) {
    struct world *w = *state;
    publish_some(w, 0);
    assert_true(killed(child_wait(child_start(w, "during migration:1", "a"))));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM schema_version"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'audit'"), 0);
    assert_true(killed(child_wait(child_start(w, "during migration:2", "a"))));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM schema_version"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'kept'"), 0);
    world_start(w, &probe);
    assert_once_each(w, EVENTS, 0);
}

/* The pages of the log are copied into the database when the last connection closes. Each of these dies before another
 * of them, and leaves the next one a database that is half the old and half the new one. */
static void in_the_middle_of_a_checkpoint(void **state) {
    struct world *w = *state;
    char at[64];
    publish_some(w, 0);
    assert_true(killed(child_wait(child_start(w, "after delivery", "a"))));
    w->more[w->more_n++] = "--kafka=127.0.0.1:9"; /* these do nothing but start and stop */
    int page = 1, status;
    for (;; page++) {
        snprintf(at, sizeof at, "mid-checkpoint:%d", page);
        pid_t pid = child_start(w, at, "b");
        child_await(w, "msg=ready");
        status = child_stop(pid);
        assert_int_equal(world_int(w, "SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
        assert_true(world_int(w, "SELECT COUNT(*) FROM kept") > 0);
        if (!killed(status)) break;
    }
    assert_int_equal(status, 0);
    child_await(w, "msg=stopped"); /* one that ended at once has copied nothing */
    if (page <= 10) fail_msg("no more than %d pages were copied", page - 1);
    w->more_n = 0;
    world_start(w, &probe);
    assert_once_each(w, EVENTS, EVENTS);
}

int main(int argc, char *argv[]) {
    int code = child_main(argc, argv);
    if (code >= 0) return code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(before_the_commit_nothing_is_done, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(after_the_commit_everything_is_done, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(after_the_send_it_is_sent_again_at_most, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(after_the_delivery_it_is_sent_again, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(during_a_rebalance, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(during_a_migration, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(in_the_middle_of_a_checkpoint, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
