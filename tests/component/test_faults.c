/* Every call of the database, every operation on its files and every allocation of our own code fails once, one after
 * the other, in a running service: it goes on, or ends and is started again, and in the end each event had its one
 * effect. And so at its start. */
#include "helper_fault.h"
#include "helper_probe.h"

#include "chassis/audit/audit.h"
#include "chassis/avro/codec.h"
#include "chassis/base/assets.h"
#include "chassis/events/record.h"

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

/* A start takes the sanitizers long; they meet a part of the calls, the usual build all of them. Of jansson's
 * allocations nearly all are those of reading a schema, of which each fails in a test of its own. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { START_STEP = 11, START_STEP_JSON = 88 };
#else
enum { START_STEP = 1, START_STEP_JSON = 16 };
#endif
enum { PATIENCE_MS = 30000, NTH_MAX = 2000, ROOM_MS = 150 };

/* process_end() asks for the end of the process; whoever runs it would start it again. */
static bool asked_to_end(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    return sigtimedwait(&set, NULL, &(struct timespec){0}) == SIGTERM;
}

static void start_again(struct world *w) {
    static int starts;
    static char group[32];
    struct failure why = {0};
    world_stop(w);
    /* The mock cluster cannot stand a member that comes back, and no start needs what Kafka knows of its group. */
    snprintf(group, sizeof group, "-Xgroup.id=again-%d", ++starts);
    w->more[0] = group;
    w->more_n = 1;
    for (int tries = 0; world_try(w, &probe, &why) != OK; tries++) {
        if (!*why.text) fail_msg("a start failed without a word");
        if (tries == 3) fail_msg("it does not start any more: %s", why.text);
    }
}

static bool all_done(struct world *w, int events) {
    return world_int(w, "SELECT COUNT(*) FROM kept") == events &&
           world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'") == events;
}

static void await_done(struct world *w, int events, const char *what, int nth) {
    int64_t until = clock_ms() + PATIENCE_MS;
    while (!all_done(w, events)) {
        if (asked_to_end()) {
            start_again(w);
            until = clock_ms() + PATIENCE_MS;
        }
        if (clock_ms() > until)
            fail_msg(
                "%s %d: kept %d, sent %d, put aside %d of %d events", what, nth,
                (int)world_int(w, "SELECT COUNT(*) FROM kept"),
                (int)world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'"),
                (int)world_int(w, "SELECT COUNT(*) FROM dead_letter"), events);
        usleep(2000);
    }
}

/* Nothing was put aside for a fault of the machine, and nothing is there twice. */
static void assert_once_each(struct world *w, int events) {
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), events);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), events);
    assert_int_equal(
        world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled' AND return_id = 'R-1'"), events);
    assert_int_equal(world_int(w, "SELECT SUM(next_offset) FROM consumer_offset"), events);
    json_t *answer = audit_verify(store_reader(w->rt.core.store));
    if (!json_is_true(json_object_get(answer, "intact"))) fail_msg("%s", json_dumps(answer, JSON_COMPACT));
    json_decref(answer);
    struct seen seen = {0};
    int records = (int)world_records(w, "probe.events");
    assert_int_equal(world_read(w, "probe.events", records, look_at, &seen), records); /* each can be decoded */
    assert_true(records >= events);
}

/* One event for each nth, step by step, until an event passes without reaching its nth call. `forever`: the fault
 * lasts, as a full disk does, and is mended after a while. */
static void fail_each(struct world *w, enum fault kind, int code, bool forever, int step, const char *what) {
    int events = 0, nth = 1;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1000);
    await_done(w, ++events, what, 0); /* statements are prepared, buffers have grown */
    bool met = true;
    for (; met && nth < NTH_MAX; nth += step) {
        fault_arm(kind, nth, code, forever);
        ask(w, nth % 2, "R-1", 2000 + nth);
        int64_t until = clock_ms() + PATIENCE_MS;
        while (forever && !fault_count() && !all_done(w, events + 1) && clock_ms() < until) usleep(2000);
        until = clock_ms() + ROOM_MS;
        while (forever && !all_done(w, events + 1) && clock_ms() < until) usleep(2000);
        if (forever) fault_mend();
        await_done(w, ++events, what, nth);
        met = fault_count() > 0;
        fault_mend();
    }
    print_message("%s: %d faults, one after the other\n", what, events - 2);
    assert_true(events > 5 && nth < NTH_MAX);
    assert_once_each(w, events);
}

static void each_call_of_the_database(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_FULL, false, 1, "SQLite's call, full");
}

static void each_call_of_the_database_while_it_is_busy(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_BUSY, false, 1, "SQLite's call, busy");
}

/* Such an answer ends the process, and each start takes the mock cluster seconds. */
static void each_call_of_a_damaged_database(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_INTERNAL, false, 9, "SQLite's call, damaged");
}

static void each_operation_on_a_file(void **state) {
    fail_each(*state, FAULT_FILE, SQLITE_IOERR_WRITE, false, 1, "the file's operation, I/O error");
}

static void each_operation_on_a_full_disk(void **state) {
    fail_each(*state, FAULT_FILE, SQLITE_FULL, true, 1, "the file's operation, disk full for a while");
}

static void each_allocation(void **state) {
    fail_each(*state, FAULT_MEMORY, 0, false, 1, "the allocation");
}

static void read_record_failing_each(const rd_kafka_message_t *m, void *world) {
    struct world *w = world;
    struct raw raw = raw_of(m);
    struct failure why;
    struct record record;
    int nth = 1;
    for (bool met = true; met; nth++) {
        why = (struct failure){0};
        fault_arm(FAULT_MEMORY, nth, 0, false);
        fault_exempt = false;
        verdict v = record_decode(&w->rt.core, &raw, NULL, &record, &why);
        fault_exempt = true;
        met = fault_count() > 0;
        fault_mend();
        assert_int_equal(v, met ? RETRY : OK);
        if (v == OK) assert_int_equal(record.state, OK);
        if (v == OK) record_free(&record);
    }
    print_message("a record: %d allocations\n", nth - 2);
    assert_true(nth > 2);
}

/* Each of them is met, whatever other threads allocate meanwhile. */
static void each_allocation_of_a_record(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    await_done(w, 1, "no allocation", 0);
    fault_thread = "record";
    pthread_setname_np(pthread_self(), "record");
    assert_int_equal(world_read(w, "support.events", 1, read_record_failing_each, w), 1);
    fault_thread = NULL;
}

static void read_schema_failing_each(const char *text, size_t n) {
    struct failure why;
    struct schema *schema;
    int nth = 1, refused = 0;
    for (bool met = true; met; nth++) {
        why = (struct failure){0};
        fault_arm(FAULT_MEMORY, nth, 0, false);
        fault_exempt = false;
        verdict v = schema_parse(text, n, &schema, &why);
        fault_exempt = true;
        met = fault_count() > 0;
        fault_mend();
        if (v != OK && !*why.text) fail_msg("allocation %d failed without a word", nth);
        refused += v != OK;
        if (v == OK) schema_free(&schema);
    }
    print_message("the schema: %d allocations, %d refused\n", nth - 2, refused);
    assert_in_range(nth - 2 - refused, 0, 8); /* jansson cuts a long text short, such as a doc, without a word */
}

static void each_allocation_of_a_schema(void **state) {
    (void)state;
    const struct asset *heads = asset_find("AuditHeads.avsc");
    assert_non_null(heads);
    read_schema_failing_each(ANSWERED, strlen(ANSWERED));
    read_schema_failing_each(heads->bytes, heads->n);
}

/* --- The start. Each either fails with a message, and the next one succeeds, or it succeeds. */

static void fail_each_of_the_start(struct world *w, enum fault kind, int code, int step, const char *what) {
    int nth = 1, refused = 0, starts = 0;
    struct failure why;
    bool met = true;
    char clean[128];
    char group[32];
    w->more[0] = group; /* see start_again */
    w->more_n = 1;
    snprintf(clean, sizeof clean, "rm -f %s/probe.db*", w->folder);
    for (; met && nth < NTH_MAX; nth += step, starts++) {
        assert_int_equal(system(clean), 0);
        snprintf(group, sizeof group, "-Xgroup.id=start-%d", nth);
        why = (struct failure){0};
        fault_arm(kind, nth, code, false);
        fault_exempt = false;
        verdict v = world_try(w, &probe, &why);
        fault_exempt = true;
        met = fault_count() > 0;
        fault_mend();
        if (v != OK && !*why.text) fail_msg("%s %d: the start failed without a word", what, nth);
        refused += v != OK;
        if (v != OK) world_start(w, &probe);
        world_await_health(w, "schemas", "ok", "1 registered");
        world_stop(w);
        (void)asked_to_end();
        assert_int_equal(world_int(w, "SELECT COUNT(*) FROM schema_version"), 2);
    }
    print_message("%s: %d starts, %d refused\n", what, starts, refused);
    assert_true(nth > 5 && nth < NTH_MAX && refused > 0);
}

/* Want of memory says nothing of the log: it is neither broken nor intact for that. */
static void each_allocation_of_a_check(void **state) {
    struct world *w = *state;
    struct failure why;
    struct store *s = NULL;
    char path[200];
    int nth = 0;
    ask(w, 0, "R-1", 1);
    world_start(w, &probe);
    await_done(w, 1, "before", 0);
    world_stop(w);
    snprintf(path, sizeof path, "%s/probe.db", w->folder);
    assert_int_equal(store_open_readonly(&s, path, &why), OK);
    for (bool met = true; met;) {
        struct connection *reader = store_reader(s);
        fault_arm(FAULT_MEMORY, ++nth, 0, false);
        fault_exempt = false;
        json_t *said = audit_verify(reader);
        fault_exempt = true;
        met = fault_count() > 0;
        fault_mend();
        if (said && !json_is_true(json_object_get(said, "intact"))) fail_msg("allocation %d: broken", nth);
        if (!said) assert_int_equal(store_state(reader), RETRY);
        json_decref(said);
    }
    assert_true(nth > 5);
    store_close(&s);
}

static void each_call_of_the_database_at_the_start(void **state) {
    fail_each_of_the_start(*state, FAULT_DATABASE, SQLITE_FULL, START_STEP, "SQLite's call");
}

static void each_operation_on_a_file_at_the_start(void **state) {
    fail_each_of_the_start(*state, FAULT_FILE, SQLITE_FULL, START_STEP, "the file's operation");
}

static void each_allocation_at_the_start(void **state) {
    fail_each_of_the_start(*state, FAULT_OWN, 0, START_STEP, "the allocation");
}

static void each_allocation_of_json_at_the_start(void **state) {
    fail_each_of_the_start(*state, FAULT_JSON, 0, START_STEP_JSON, "the allocation of JSON");
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    fault_exempt = true;
    fault_json();
    fault_vfs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_call_of_the_database, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_call_of_the_database_while_it_is_busy, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_call_of_a_damaged_database, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_operation_on_a_file, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_operation_on_a_full_disk, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_allocation, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_allocation_of_a_record, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_allocation_of_a_check, probe_setup, probe_teardown),
        cmocka_unit_test(each_allocation_of_a_schema),
        cmocka_unit_test_setup_teardown(each_call_of_the_database_at_the_start, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_operation_on_a_file_at_the_start, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_allocation_at_the_start, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_allocation_of_json_at_the_start, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
