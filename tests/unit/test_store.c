/* the store and the audit log in it; what was stored is looked at through a connection of the test's own */
#include "chassis/audit/audit.h"
#include "chassis/store/migrations.h"
#include "chassis/store/store.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64], path[128];
    struct store *store;
};

static size_t tables(struct migration all[MIGRATIONS_MAX]) {
    size_t n = assets_migrations("chassis", "tables", all, 0);
    all[n++] =
        (struct migration){"team", 1, "CREATE TABLE thing (name TEXT PRIMARY KEY, n BIGINT CHECK (n >= 0), raw BYTEA)"};
    return n;
}

static verdict open_store(struct fixture *f, struct failure *why) {
    struct migration migrations[MIGRATIONS_MAX];
    return store_open(&f->store, f->path, migrations, tables(migrations), why);
}

static int setup(void **state) {
    struct fixture *f = *state = calloc(1, sizeof *f);
    struct failure why;
    strcpy(f->folder, "/tmp/store-XXXXXX");
    if (!mkdtemp(f->folder)) return -1;
    snprintf(f->path, sizeof f->path, "%s/deep/er/test.db", f->folder);
    return open_store(f, &why);
}

static int teardown(void **state) {
    struct fixture *f = *state;
    char command[128];
    store_close(&f->store);
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    int rc = system(command);
    free(f);
    return rc;
}

/* One number, seen from outside. */
static int64_t outside(const struct fixture *f, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    int code = sqlite3_step(stmt);
    int64_t n = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : code == SQLITE_DONE ? sqlite3_changes(db) : -1;
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void what_is_committed_is_there(void **state) {
    struct fixture *f = *state;
    struct failure why;
    struct connection *c = store_begin(f->store);
    assert_int_equal(
        store_run(c, "INSERT INTO thing VALUES (?, ?, ?)", value_text("Ж"), value_int(7), value_blob("\0\1", 2)), 1);
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM thing"), 0);
    assert_int_equal(store_commit(c, &why), OK);
    assert_int_equal(outside(f, "SELECT n FROM thing WHERE name = 'Ж' AND raw = x'0001'"), 7);
    struct connection *reader = store_reader(f->store);
    assert_int_equal(store_int(reader, -1, "SELECT n FROM thing"), 7);
    assert_int_equal(store_int(reader, -1, "SELECT n FROM thing WHERE n > ?", value_int(8)), -1);
    json_t *rows = store_json(reader, "SELECT name, n, raw, NULL AS absent FROM thing");
    char *text = json_dumps(rows, JSON_COMPACT);
    assert_string_equal(text, "[{\"name\":\"Ж\",\"n\":7,\"raw\":\"0001\",\"absent\":null}]");
    free(text);
    json_decref(rows);
}

static void what_is_rolled_back_is_not(void **state) {
    struct fixture *f = *state;
    struct connection *c = store_begin(f->store);
    (void)store_run(c, "INSERT INTO thing (name) VALUES ('a')");
    store_rollback(c);
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM thing"), 0);
}

/* A handler that looks at no result cannot commit half of what it did. */
static void an_error_sticks(void **state) {
    struct fixture *f = *state;
    struct failure why;
    struct connection *c = store_begin(f->store);
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('a', 1)");
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('b', -1)");
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('c', 1)");
    assert_int_equal(store_state(c), REJECT);
    assert_int_equal(store_commit(c, &why), REJECT);
    assert_non_null(strstr(why.text, "CHECK"));
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM thing"), 0);
    c = store_begin(f->store);
    assert_int_equal(store_state(c), OK);
    (void)store_run(c, "INSERT INTO nowhere VALUES (1)");
    assert_int_equal(store_commit(c, &why), FATAL);
}

static void a_savepoint_takes_back_one_record(void **state) {
    struct fixture *f = *state;
    struct failure why;
    struct connection *c = store_begin(f->store);
    store_savepoint(c);
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('kept', 1)");
    store_release(c);
    store_savepoint(c);
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('lost', 1)");
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('bad', -1)");
    store_undo(c);
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES ('after', 1)");
    assert_int_equal(store_commit(c, &why), OK);
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM thing WHERE name IN ('kept', 'after')"), 2);
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM thing"), 2);
}

/* SQLite's, in place of libc's. */
static int synced;

int fsync(int file) {
    synced++;
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    synced++;
    return (int)syscall(SYS_fdatasync, file);
}

/* Whether its commit, which must have that outcome, waited for the disk. */
static bool waits(struct connection *c, int n, verdict outcome) {
    struct failure why;
    int before = synced;
    (void)store_run(c, "INSERT INTO thing (name, n) VALUES (?, ?)", value_text(n < 0 ? "bad" : "good"), value_int(n));
    (void)store_run(c, "DELETE FROM thing");
    assert_int_equal(store_commit(c, &why), outcome);
    return synced > before;
}

static void only_a_relaxed_commit_does_not_wait_for_the_disk(void **state) {
    struct fixture *f = *state;
    assert_true(waits(store_begin(f->store), 1, OK));
    assert_false(waits(store_begin_relaxed(f->store), 1, OK));
    assert_false(waits(store_begin_relaxed(f->store), 1, OK));
    assert_true(waits(store_begin(f->store), 1, OK));
    assert_false(waits(store_begin_relaxed(f->store), -1, REJECT));
    assert_true(waits(store_begin(f->store), 1, OK));
    store_rollback(store_begin_relaxed(f->store));
    assert_true(waits(store_begin(f->store), 1, OK));
}

static int open_without_log(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
    static sqlite3_io_methods methods;
    sqlite3_vfs *real = vfs->pAppData;
    int code = real->xOpen(real, name, file, flags, out);
    if (code != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB)) return code;
    methods = *file->pMethods;
    methods.iVersion = 1; /* from before there was shared memory */
    file->pMethods = &methods;
    return code;
}

static void without_a_write_ahead_log_it_is_refused(void **state) {
    struct fixture *f = *state, other = *f;
    struct failure why;
    sqlite3_vfs vfs = *sqlite3_vfs_find(NULL);
    vfs.pAppData = sqlite3_vfs_find(NULL);
    vfs.zName = "share";
    vfs.xOpen = open_without_log;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
    snprintf(other.path, sizeof other.path, "%s/share.db", f->folder);
    verdict v = open_store(&other, &why);
    assert_int_equal(sqlite3_vfs_unregister(&vfs), SQLITE_OK);
    assert_int_equal(v, FATAL);
    assert_non_null(strstr(why.text, "write-ahead log"));
}

static void a_second_owner_is_refused(void **state) {
    struct fixture *f = *state, second = *f;
    struct failure why;
    assert_int_equal(open_store(&second, &why), RETRY);
    assert_non_null(strstr(why.text, "another running process"));
}

static void a_newer_database_is_refused(void **state) {
    struct fixture *f = *state;
    struct failure why;
    store_close(&f->store);
    assert_int_equal(outside(f, "UPDATE schema_version SET version = 2 WHERE owner = 'team'"), 1);
    assert_int_equal(open_store(f, &why), FATAL);
    assert_non_null(strstr(why.text, "version 2 of the team's tables"));
}

static void a_failed_migration_leaves_nothing(void **state) {
    struct fixture *f = *state;
    struct failure why;
    store_close(&f->store);
    struct migration more[MIGRATIONS_MAX];
    size_t n = tables(more);
    more[n++] = (struct migration){"team", 2, "CREATE TABLE half (a TEXT); CREATE TABLE thing (a TEXT)"};
    assert_int_equal(store_open(&f->store, f->path, more, n, &why), FATAL);
    assert_non_null(strstr(why.text, "version 2 of the team's tables"));
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'"), 0);
    assert_int_equal(open_store(f, &why), OK);
}

static verdict open_with(struct fixture *f, size_t file, const char *sql, struct failure *why) {
    struct migration changed[MIGRATIONS_MAX];
    size_t n = tables(changed);
    store_close(&f->store);
    changed[file].sql = sql;
    return store_open(&f->store, f->path, changed, n, why);
}

static void a_database_that_other_statements_made_is_refused(void **state) {
    struct fixture *f = *state;
    struct failure why;
    struct migration known[MIGRATIONS_MAX];
    size_t team = tables(known) - 1;
    char sql[500];
    snprintf(sql, sizeof sql, "%s; ALTER TABLE thing ADD COLUMN more TEXT", known[team].sql);
    assert_int_equal(open_with(f, team, sql, &why), FATAL);
    assert_non_null(strstr(why.text, "version 1 of the team's tables in"));
    assert_non_null(strstr(why.text, f->path));
    assert_non_null(strstr(why.text, "schema.2.sql"));
    assert_non_null(strstr(why.text, "./returns reset"));
    assert_int_equal(open_with(f, 0, "CREATE TABLE audit (id BIGINT)", &why), FATAL);
    assert_non_null(strstr(why.text, "version 1 of the chassis's tables in"));
    snprintf(sql, sizeof sql, "-- A word\n%s -- and another one\n", known[team].sql);
    assert_int_equal(open_with(f, team, sql, &why), OK);
    assert_int_equal(outside(f, "SELECT COUNT(*) FROM pragma_table_info('thing') WHERE name = 'more'"), 0);
}

static void a_database_without_fingerprints_is_refused(void **state) {
    struct fixture *f = *state;
    struct failure why;
    store_close(&f->store);
    (void)outside(f, "ALTER TABLE schema_version DROP COLUMN made_by");
    assert_int_equal(open_store(f, &why), FATAL);
    assert_non_null(strstr(why.text, "was made by other statements"));
}

/* --- Audit */

static void append(struct fixture *f, const char *topic, int64_t offset, const char *summary) {
    struct failure why;
    struct uuid id = uuid_make();
    struct connection *c = store_begin(f->store);
    audit_append(
        c, &(struct audit_row){
               .action = "try",
               .outcome = "handled",
               .actor = "support",
               .return_id = "R-1",
               .event_id = &id,
               .event_type = "returns.support.RefundRequest",
               .topic = topic,
               .partition = 2,
               .offset = offset,
               .summary = summary,
               .trace_id = "t"});
    assert_int_equal(store_commit(c, &why), OK);
}

static bool intact(struct fixture *f) {
    json_t *answer = audit_verify(store_reader(f->store));
    bool yes = json_is_true(json_object_get(answer, "intact"));
    assert_true(yes || json_object_get(answer, "broken"));
    json_decref(answer);
    return yes;
}

static void audit_rows_come_newest_first(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) append(f, i % 2 ? NULL : "support.events", i, "text Ж <b>");
    json_t *page = audit_page(store_reader(f->store), &(struct audit_filter){.limit = 3});
    json_t *rows = json_object_get(page, "rows");
    assert_int_equal(json_array_size(rows), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 0), "id")), 5);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "summary")), "text Ж <b>");
    assert_int_equal(json_integer_value(json_object_get(page, "next")), 3);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "topic")));
    json_decref(page);
    page = audit_page(
        store_reader(f->store),
        &(struct audit_filter){.limit = 3, .before = 3, .return_id = "R-1", .outcome = "handled"});
    assert_int_equal(json_array_size(json_object_get(page, "rows")), 2);
    assert_true(json_is_null(json_object_get(page, "next")));
    json_decref(page);
    page = audit_page(store_reader(f->store), &(struct audit_filter){.limit = 3, .until = 1});
    assert_int_equal(json_array_size(json_object_get(page, "rows")), 0);
    json_decref(page);
    assert_int_equal(outside(f, "SELECT n FROM tally WHERE outcome = 'handled'"), 5);
}

static void one_record_has_one_row(void **state) {
    struct fixture *f = *state;
    struct failure why;
    append(f, "support.events", 7, "first");
    struct connection *c = store_begin(f->store);
    audit_append(
        c, &(struct audit_row){
               .action = "try",
               .outcome = "handled",
               .actor = "x",
               .topic = "support.events",
               .partition = 2,
               .offset = 7,
               .summary = ""});
    assert_int_equal(store_commit(c, &why), REJECT);
}

static void every_tampering_is_found(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++) append(f, i % 2 ? NULL : "support.events", i, "text");
    assert_true(intact(f));
    const char *const tampering[][2] = {
        {"UPDATE audit SET summary = 'text!' WHERE id = 3", "UPDATE audit SET summary = 'text' WHERE id = 3"},
        {"UPDATE audit SET at = at + 1 WHERE id = 3", "UPDATE audit SET at = at - 1 WHERE id = 3"},
        {"UPDATE audit SET actor = NULLIF('a', 'b') WHERE id = 1", "UPDATE audit SET actor = 'support' WHERE id = 1"},
        {"UPDATE audit SET record_offset = 99 WHERE id = 5", "UPDATE audit SET record_offset = 4 WHERE id = 5"},
        {"UPDATE audit SET id = 60 WHERE id = 6", "UPDATE audit SET id = 6 WHERE id = 60"},
        {"UPDATE audit_chain SET rows = rows + 1 WHERE chain = 'by-hand'",
         "UPDATE audit_chain SET rows = rows - 1 WHERE chain = 'by-hand'"},
    };
    for (size_t i = 0; i < sizeof tampering / sizeof *tampering; i++) {
        assert_int_equal(outside(f, tampering[i][0]), 1);
        if (intact(f)) fail_msg("not found: %s", tampering[i][0]);
        assert_int_equal(outside(f, tampering[i][1]), 1);
        assert_true(intact(f));
    }
    /* A row taken out of the middle, and the count with it: only the hash of the next row tells. */
    assert_int_equal(outside(f, "DELETE FROM audit WHERE id = 3"), 1);
    assert_int_equal(outside(f, "UPDATE audit_chain SET rows = rows - 1 WHERE chain = 'support.events/2'"), 1);
    assert_false(intact(f));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_committed_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_rolled_back_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_sticks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_savepoint_takes_back_one_record, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_relaxed_commit_does_not_wait_for_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_owner_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_write_ahead_log_it_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_database_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_migration_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_that_other_statements_made_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_without_fingerprints_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(audit_rows_come_newest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(one_record_has_one_row, setup, teardown),
        cmocka_unit_test_setup_teardown(every_tampering_is_found, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
