/* what the blocks of rows may and may not change: which rows a filter finds. And the neighbours of a row, and the
 * check in the background. */
#include "chassis/audit/audit.h"
#include "chassis/audit/audit_check.h"
#include "chassis/store/migrations.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 1000 };

static char folder[] = "/tmp/read-XXXXXX", path[64];
static struct store *store;

static void change(const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static const char *const actions[] = {"refund", "decline", "quarantine", "accept"};
static const char *const outcomes[] = {"handled", "declined", "quarantined", "accepted"};
static const char *const types[] = {"a.Usual", "a.Rare", NULL};

/* Of seldom kinds a few, so that some blocks have none of them. */
static void append(int i) {
    struct failure why;
    char id[16];
    int kind = i == 3 ? 2 : i % 301 == 0 ? 1 : i % 97 == 0 ? 3 : 0;
    snprintf(id, sizeof id, "R-%d", i % 50);
    struct connection *c = store_begin(store);
    audit_append(
        c, &(struct audit_row){
               .action = actions[kind],
               .outcome = outcomes[kind],
               .actor = "x",
               .return_id = id,
               .event_type = types[kind == 3 ? 2 : i % 250 == 0],
               .topic = kind == 3 ? NULL
                        : i % 2   ? "t"
                                  : "u",
               .partition = i % 3,
               .offset = i,
               .summary = ""});
    assert_int_equal(store_commit(c, &why), OK);
}

static int setup(void **state) {
    (void)state;
    struct failure why;
    struct migration migrations[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", migrations, 0);
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/x.db", folder);
    if (store_open(&store, path, migrations, n, &why) != OK) return -1;
    for (int i = 1; i <= ROWS; i++) append(i);
    /* A clock that was set back in between: moments do not rise with the rows. */
    change("UPDATE audit SET at = id * 10 - CASE WHEN id BETWEEN 400 AND 600 THEN 3000 ELSE 0 END");
    change("DELETE FROM audit_block WHERE block >= 2"); /* as if rows had come from elsewhere: made up for later */
    for (int i = 1; i <= 128; i++) append(ROWS + i);
    change("UPDATE audit SET at = id * 10 WHERE id > 1000; UPDATE audit_block SET first_at = 0 WHERE block > 6");
    change("UPDATE audit_block SET first_at = 0 WHERE block < 2"); /* their rows were given other moments above */
    change("UPDATE audit_block SET last_at = 99999999 WHERE block > 6 OR block < 2");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[96];
    store_close(&store);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static bool same(const json_t *row, const char *name, const char *wanted) {
    const char *text = json_string_value(json_object_get(row, name));
    return !wanted || (text && !strcmp(text, wanted));
}

static bool fits(const json_t *row, const struct audit_filter *f) {
    int64_t at, id = json_integer_value(json_object_get(row, "id"));
    assert_true(time_parse(json_string_value(json_object_get(row, "at")), &at));
    return same(row, "return_id", f->return_id) && same(row, "action", f->action) && same(row, "outcome", f->outcome) &&
           same(row, "event_type", f->event_type) && (!f->since || at >= f->since) && (!f->until || at < f->until) &&
           (!f->before || id < f->before);
}

/* All rows, newest first, without a filter: the reference. */
static json_t *all_rows(void) {
    json_t *all = json_array();
    for (int64_t before = 0;;) {
        struct audit_filter f = {.limit = 500, .before = before};
        json_t *page = audit_page(store_reader(store), &f), *next = json_object_get(page, "next");
        json_array_extend(all, json_object_get(page, "rows"));
        before = json_integer_value(next);
        json_decref(page);
        if (!before) return all;
    }
}

static void ids_only(struct buffer *out, const struct chain_row *row) {
    buffer_format(out, "%lld\n", (long long)row->id);
}

static size_t lines_of(const struct buffer *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->length; i++) n += b->data[i] == '\n';
    return n;
}

static void compare(const json_t *all, struct audit_filter f) {
    json_t *row, *wanted = json_array();
    size_t i, newer = 0;
    json_array_foreach((json_t *)all, i, row) if (fits(row, &f)) {
        json_array_append(wanted, row);
        newer += json_integer_value(json_object_get(row, "id")) > 700;
    }
    json_t *page = audit_page(store_reader(store), &f), *rows = json_object_get(page, "rows");
    size_t n = json_array_size(wanted), limit = (size_t)f.limit;
    assert_int_equal(json_array_size(rows), n < limit ? n : limit);
    json_array_foreach(rows, i, row) assert_true(json_equal(row, json_array_get(wanted, i)));
    assert_int_equal(json_is_integer(json_object_get(page, "next")), n > limit);
    struct buffer ids = BUFFER(1 << 16);
    int64_t after = 0, last = 0;
    while (audit_export(store_reader(store), &f, &after, 7, ids_only, &ids) == 7) {
        assert_true(after > last); /* oldest first */
        last = after;
    }
    assert_int_equal(lines_of(&ids), n);
    if (!f.before) assert_int_equal(audit_newer(store_reader(store), &f, 700, 1000), newer);
    buffer_free(&ids);
    json_decref(page);
    json_decref(wanted);
}

static void every_filter_finds_what_reading_all_rows_finds(void **state) {
    (void)state;
    static const int64_t moments[][2] = {{0, 0},         {5000, 0},  {0, 5000}, {2000, 2600},
                                         {11000, 11010}, {99999, 0}, {0, 10}};
    static const int64_t befores[] = {0, 2, 129, 500};
    static const int limits[] = {1, 3, 1000};
    json_t *all = all_rows();
    assert_int_equal(json_array_size(all), ROWS + 128);
    for (int action = -1; action < 4; action++)
        for (int outcome = -1; outcome < 4; outcome++)
            for (int type = 0; type < 3; type++)
                for (size_t m = 0; m < sizeof moments / sizeof *moments; m++)
                    compare(
                        all, (struct audit_filter){
                                 .action = action < 0 ? NULL : actions[action],
                                 .outcome = outcome < 0 ? NULL : outcomes[outcome],
                                 .event_type = types[(type + 2) % 3],
                                 .return_id = (size_t)(action + outcome + 2) % 5 == m ? "R-3" : NULL,
                                 .since = moments[m][0],
                                 .until = moments[m][1],
                                 .before = befores[(size_t)(action + type + 1) % 4],
                                 .limit = limits[m % 3]});
    json_decref(all);
}

static void the_next_moment_is_by_the_clock_not_by_the_order_of_rows(void **state) {
    (void)state;
    static const int64_t moments[] = {1, 10, 11, 1000, 1010, 2999, 3000, 3990, 4000, 6010, 10000, 11280, 11281, 50000};
    json_t *all = all_rows(), *row;
    size_t i;
    for (size_t m = 0; m < sizeof moments / sizeof *moments; m++)
        for (int outcome = 0; outcome < 4; outcome++) {
            int64_t at, before = 0, after = 0, moment = moments[m];
            json_array_foreach(all, i, row) {
                if (!same(row, "outcome", outcomes[outcome])) continue;
                assert_true(time_parse(json_string_value(json_object_get(row, "at")), &at));
                if (at < moment && at > before) before = at;
                if (at > moment && (!after || at < after)) after = at;
            }
            assert_int_equal(audit_moment_before(store_reader(store), outcomes[outcome], moment), before);
            assert_int_equal(audit_moment_after(store_reader(store), outcomes[outcome], moment), after);
        }
    json_decref(all);
}

/* Each row's neighbours are the rows that come before and after it in its chain, when all are read. */
static void a_row_knows_its_neighbours(void **state) {
    (void)state;
    json_t *all = all_rows(), *last = json_object(), *row;
    /* Another log was accepted there, and its offsets begin anew. */
    change("UPDATE audit SET log = 1, record_offset = record_offset - 900 WHERE id > 900 AND topic IS NOT NULL");
    for (size_t i = json_array_size(all); i-- > 0;) {
        row = json_array_get(all, i);
        json_t *one = audit_one(store_reader(store), json_integer_value(json_object_get(row, "id")));
        const char *chain = json_string_value(json_object_get(one, "chain"));
        json_t *before = json_object_get(last, chain), *next = json_object_get(before, "next");
        json_t *previous = json_object_get(one, "previous");
        assert_int_equal(json_is_object(previous), before != NULL);
        if (before) {
            json_t *was = json_object_get(before, "row");
            assert_true(json_equal(json_object_get(previous, "id"), json_object_get(was, "id")));
            assert_true(json_equal(json_object_get(previous, "hash"), json_object_get(was, "hash")));
            assert_true(json_equal(json_object_get(next, "id"), json_object_get(row, "id")));
        }
        assert_true(json_is_string(json_object_get(one, "canonical")));
        json_object_set_new(last, chain, one);
    }
    assert_int_equal(json_object_size(last), 7);
    assert_null(audit_one(store_reader(store), ROWS + 129));
    json_decref(last);
    json_decref(all);
}

static json_t *checked(const char *state) {
    struct audit_check *check;
    struct failure why;
    assert_int_equal(audit_check_start(&check, store, &why), OK);
    for (int tries = 0; tries < 1000; tries++) {
        json_t *said = audit_check_json(check);
        if (!strcmp(json_string_value(json_object_get(said, "state")), state)) {
            audit_check_stop(&check);
            return said;
        }
        json_decref(said);
        usleep(10000);
    }
    fail_msg("it was not %s within ten seconds", state);
    return NULL;
}

/* The fixture has changed moments, so its hashes do not fit; a new log's do. */
static void the_background_says_what_it_found(void **state) {
    (void)state;
    json_t *said = checked("broken");
    json_t *broken = json_object_get(said, "broken");
    assert_int_equal(json_integer_value(json_object_get(broken, "id")), 1);
    json_decref(said);
    change("DELETE FROM audit; DELETE FROM audit_chain; DELETE FROM audit_block");
    for (int i = 1; i <= 50; i++) append(i);
    said = checked("intact");
    assert_int_equal(json_integer_value(json_object_get(said, "rows")), 50);
    assert_true(json_is_string(json_object_get(said, "at")));
    json_decref(said);
    change("DELETE FROM audit WHERE id = 50");
    json_decref(checked("broken"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_filter_finds_what_reading_all_rows_finds),
        cmocka_unit_test(the_next_moment_is_by_the_clock_not_by_the_order_of_rows),
        cmocka_unit_test(a_row_knows_its_neighbours),
        cmocka_unit_test(the_background_says_what_it_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
