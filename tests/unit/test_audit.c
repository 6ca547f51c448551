/* the chains of the audit log, and its rows as lines; what a whole log of 10,000 rows does not let pass is in
 * e2e/test_audit.py */
#include "chassis/audit/audit.h"
#include "chassis/audit/audit_line.h"
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

enum { ROWS = 12 };

struct fixture {
    char folder[64], path[100], lines[100];
    struct store *store;
};

static void change(struct fixture *f, const char *sql) {
    sqlite3 *db;
    char *error = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) fail_msg("%s: %s", sql, error);
    sqlite3_close(db);
}

static void append(struct fixture *f, int i) {
    static const char *const summaries[] = {
        "plain", "=1+1", "\"quoted\", \\ and\r\n\t\x01\x1f lines", "Ж 📦 \x7f", "cut \xf0\x9f\x93", ""};
    struct failure why;
    struct uuid id = uuid_make();
    struct connection *c = store_begin(f->store);
    audit_append(
        c, &(struct audit_row){
               .action = "try",
               .outcome = "handled",
               .actor = "support",
               .return_id = i % 3 ? "R-1" : NULL,
               .event_id = i % 4 ? &id : NULL,
               .event_type = "returns.support.RefundRequest",
               .topic = i % 5 ? "support.events" : NULL,
               .partition = i % 2,
               .offset = i,
               .summary = summaries[(size_t)i % (sizeof summaries / sizeof *summaries)],
               .trace_id = i % 3 ? "t" : NULL});
    assert_int_equal(store_commit(c, &why), OK);
}

static size_t export(struct fixture *f, audit_line *line, struct buffer *out) {
    int64_t after = 0;
    size_t n = 0;
    int got;
    do {
        got = audit_export(store_reader(f->store), &(struct audit_filter){0}, &after, 5, line, out);
        n += (size_t)got;
    } while (got == 5);
    assert_false(out->failed);
    return n;
}

static int setup(void **state) {
    struct fixture *f = *state = calloc(1, sizeof *f);
    struct failure why;
    strcpy(f->folder, "/tmp/audit-XXXXXX");
    if (!mkdtemp(f->folder)) return -1;
    snprintf(f->path, sizeof f->path, "%s/test.db", f->folder);
    snprintf(f->lines, sizeof f->lines, "%s/test.jsonl", f->folder);
    struct migration migrations[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", migrations, 0);
    if (store_open(&f->store, f->path, migrations, n, &why) != OK) return -1;
    change(f, "INSERT INTO consumer_offset (topic, partition, next_offset, log) VALUES ('support.events', 1, 0, 2)");
    for (int i = 1; i <= ROWS; i++) append(f, i);
    return 0;
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

/* Where the file is broken: its row; 0: it is intact; −1: broken, at no row. */
static int64_t broken_row(const char *path, FILE *heads, char reason[600]) {
    struct failure why;
    json_t *answer;
    if (audit_verify_file(path, heads, &answer, &why) != OK) fail_msg("%s", why.text);
    json_t *broken = json_object_get(answer, "broken"), *id = json_object_get(broken, "id");
    if (reason) snprintf(reason, 600, "%s", broken ? json_string_value(json_object_get(broken, "reason")) : "");
    int64_t row = !broken ? 0 : json_is_integer(id) ? json_integer_value(id) : -1;
    assert_int_equal(!broken, json_is_true(json_object_get(answer, "intact")));
    json_decref(answer);
    return row;
}

static int64_t broken_lines(struct fixture *f, const struct buffer *b) {
    FILE *file = fopen(f->lines, "we");
    assert_int_equal(fwrite(b->data, 1, b->length, file), b->length);
    assert_int_equal(fclose(file), 0);
    return broken_row(f->lines, NULL, NULL);
}

/* The example of docs/audit.md. */
static void a_row_has_the_hash_of_the_specification(void **state) {
    (void)state;
    struct chain_row row = {.id = 1};
    static const char *const texts[CHAIN_FIELDS] = {
        "1",
        "1795253331123",
        "refund the order",
        "handled",
        "support",
        "R-1KBJ4SV2T3N7D",
        NULL,
        NULL,
        "support.events",
        "3",
        "41",
        "Заказ",
        NULL};
    unsigned char before[CHAIN_HASH] = {0}, hash[CHAIN_HASH];
    char hex[2 * CHAIN_HASH + 1];
    for (int i = 0; i < CHAIN_FIELDS; i++)
        row.field[i] = (struct chain_text){texts[i], texts[i] ? strlen(texts[i]) : 0};
    assert_true(chain_hash(before, &row, hash));
    for (int i = 0; i < CHAIN_HASH; i++) sprintf(hex + 2 * i, "%02x", hash[i]);
    assert_string_equal(hex, "ccada99f9a0926d8d70fc4ab474d26f2aeb79fb9f2606fcd9c8fe5166d3397f5");
}

static void an_untouched_log_is_intact(void **state) {
    struct fixture *f = *state;
    struct buffer lines = BUFFER(1 << 20);
    assert_int_equal(export(f, audit_line_json, &lines), ROWS);
    assert_int_equal(broken_lines(f, &lines), 0);
    assert_int_equal(broken_row(f->path, NULL, NULL), 0); /* while the service has it open */
    store_close(&f->store);
    assert_int_equal(broken_row(f->path, NULL, NULL), 0);
    buffer_free(&lines);
}

/* A line is what /api/audit says of the row. */
static void a_line_is_the_apis_row(void **state) {
    struct fixture *f = *state;
    struct buffer lines = BUFFER(1 << 20);
    json_t *page = audit_page(store_reader(f->store), &(struct audit_filter){.limit = ROWS}), *row;
    size_t i;
    export(f, audit_line_json, &lines);
    char *line = lines.data;
    for (i = ROWS; i-- > 0; line = strchr(line, '\n') + 1) {
        char *text = json_dumps(json_array_get(json_object_get(page, "rows"), i), JSON_COMPACT);
        assert_int_equal(strncmp(line, text, strlen(text)), 0);
        free(text);
    }
    json_array_foreach(json_object_get(page, "rows"), i, row) assert_non_null(json_object_get(row, "summary"));
    json_decref(page);
    buffer_free(&lines);
}

static void every_changed_byte_of_the_lines_is_found(void **state) {
    struct fixture *f = *state;
    struct buffer lines = BUFFER(1 << 20);
    export(f, audit_line_json, &lines);
    int64_t row = 1;
    for (size_t i = 0; i < lines.length; i++) {
        bool end = lines.data[i] == '\n';
        char was = lines.data[i];
        lines.data[i] = (char)(was ^ 1 << i % 8);
        int64_t found = broken_lines(f, &lines);
        if (found != row && !(found == row - 1 && lines.data[i] == '\n'))
            fail_msg(
                "byte %zu, of row %lld, made 0x%02x: found at %lld", i, (long long)row, (unsigned char)lines.data[i],
                (long long)found);
        lines.data[i] = was;
        row += end;
    }
    assert_int_equal(row, ROWS + 1);
    for (size_t cut = 1; cut < 100; cut += 7) { /* in the middle of the last row */
        struct buffer shorter = {.data = lines.data, .length = lines.length - cut};
        assert_int_equal(broken_lines(f, &shorter), ROWS);
    }
    buffer_free(&lines);
}

/* Other ways to write the same values, in rows 2 and 3, where they occur first. */
static void a_row_is_written_in_one_way(void **state) {
    struct fixture *f = *state;
    static const char *const ways[][2] = {
        {"\\n", "\\u000A"},
        {"\"id\":3", "\"id\": 3"},
        {"\"id\":3", "\"id\":03"},
        {"\\u001F", "\\u001f"},
        {" lines", "\\u0020lines"},
        {"\"log\":2", "\"log\":02"},
        {"\"}\n", "\"} \n"},
        {"\"}\n", "\"}\n\n"},
        {"\"}\n", "\",\"more\":1}\n"},
        {"\"hash\":\"", "\"log\":0,\"hash\":\""}};
    struct buffer lines = BUFFER(1 << 20);
    export(f, audit_line_json, &lines);
    char *second = strstr(lines.data, "{\"id\":2,");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct buffer other = BUFFER(1 << 20);
        char *at = strstr(second, ways[i][0]);
        assert_non_null(at);
        buffer_bytes(&other, lines.data, (size_t)(at - lines.data));
        buffer_text(&other, ways[i][1]);
        buffer_text(&other, at + strlen(ways[i][0]));
        int64_t row = broken_lines(f, &other);
        if (row < 2 || row > 4) fail_msg("%s as %s: found at %lld", ways[i][0], ways[i][1], (long long)row);
        buffer_free(&other);
    }
    buffer_free(&lines);
}

static void a_value_of_another_type_is_found(void **state) {
    struct fixture *f = *state;
    static const char *const changes[] = {
        "UPDATE audit SET summary = CAST(summary AS BLOB) WHERE id = 7",
        "UPDATE audit SET event_id = CAST(event_id AS TEXT) WHERE id = 7",
        "UPDATE audit SET event_id = substr(event_id, 1, 15) WHERE id = 7",
        "UPDATE audit SET at = at + 0.5 WHERE id = 7",
        "UPDATE audit SET trace_id = '' WHERE trace_id IS NULL AND id = 9",
        "UPDATE audit SET return_id = NULL WHERE id = 7",
        "UPDATE audit SET partition = 1, record_offset = 1 WHERE id = 10",
        "UPDATE audit SET summary = summary || char(0) WHERE id = 7",
        "UPDATE audit SET hash = substr(hash, 1, 31) WHERE id = 7",
        "UPDATE audit SET hash = hex(hash) WHERE id = 7",
        "UPDATE audit SET log = 3 WHERE id = 7",
        "UPDATE audit SET log = 0 WHERE id = 7",
    };
    static const int64_t rows[] = {7, 7, 7, 7, 9, 7, 10, 7, 7, 7, 7, 7};
    char undo[300];
    snprintf(undo, sizeof undo, "CREATE TABLE was AS SELECT * FROM audit");
    change(f, undo);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        change(f, changes[i]);
        if (broken_row(f->path, NULL, NULL) != rows[i]) fail_msg("not found: %s", changes[i]);
        change(f, "DELETE FROM audit; INSERT INTO audit SELECT * FROM was");
    }
    assert_int_equal(broken_row(f->path, NULL, NULL), 0);
}

static void a_head_that_was_changed_is_found(void **state) {
    struct fixture *f = *state;
    char reason[600];
    change(f, "CREATE TABLE was AS SELECT * FROM audit_chain");
    static const char *const changes[] = {
        "UPDATE audit_chain SET rows = rows + 1 WHERE chain = 'by-hand'",
        "UPDATE audit_chain SET head = zeroblob(32) WHERE chain = 'by-hand'",
        "UPDATE audit_chain SET chain = 'by-hanD' WHERE chain = 'by-hand'",
        "DELETE FROM audit_chain WHERE chain = 'by-hand'",
        "INSERT INTO audit_chain VALUES ('other', 1, zeroblob(32))",
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        change(f, changes[i]);
        if (broken_row(f->path, NULL, reason) != -1 || !strstr(reason, "head")) fail_msg("%s: %s", changes[i], reason);
        change(f, "DELETE FROM audit_chain; INSERT INTO audit_chain SELECT * FROM was");
    }
    assert_int_equal(broken_row(f->path, NULL, NULL), 0);
}

/* What the log says of itself now, as if it had been published. */
static char *heads_now(struct fixture *f) {
    json_t *answer = audit_verify(store_reader(f->store));
    json_object_set_new(answer, "at", json_string("2026-11-21T09:28:51.123Z"));
    char *text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    return text;
}

static int64_t broken_by_heads(struct fixture *f, const char *heads, char reason[600]) {
    FILE *file = fmemopen((void *)heads, strlen(heads), "r");
    int64_t row = broken_row(f->path, file, reason);
    fclose(file);
    return row;
}

static void a_tail_that_was_cut_off_contradicts_what_was_published(void **state) {
    struct fixture *f = *state;
    char reason[600];
    char *heads = heads_now(f);
    assert_int_equal(broken_by_heads(f, heads, reason), 0);
    append(f, ROWS + 1);
    assert_int_equal(broken_by_heads(f, heads, reason), 0); /* it went on */
    change(
        f,
        "DELETE FROM audit WHERE id > 10; DELETE FROM audit_chain; INSERT INTO audit_chain SELECT chain, n, hash FROM "
        "(SELECT COALESCE(topic || '/' || partition, 'by-hand') AS chain, COUNT(*) AS n, MAX(id), hash FROM audit "
        "GROUP BY 1)");
    assert_int_equal(broken_row(f->path, NULL, NULL), 0); /* nothing inside tells */
    assert_int_equal(broken_by_heads(f, heads, reason), 11);
    assert_non_null(strstr(reason, "row 11 is missing"));
    assert_non_null(strstr(reason, "12 rows were published at 2026-11-21T09:28:51.123Z"));
    append(f, 12);
    append(f, 13); /* other rows in their place */
    assert_int_equal(broken_row(f->path, NULL, NULL), 0);
    assert_int_equal(broken_by_heads(f, heads, reason), 12);
    assert_non_null(strstr(reason, "not what was published"));
    free(heads);
}

/* The copies that the service keeps of what it published do the same, and cannot be bent without being noticed. */
static void what_was_published_is_compared_without_being_given(void **state) {
    struct fixture *f = *state;
    char sql[4000], reason[600];
    char *heads = heads_now(f);
    snprintf(sql, sizeof sql, "INSERT INTO audit_published (heads, record_offset) VALUES ('%s', 0)", heads);
    change(f, sql);
    assert_int_equal(broken_row(f->path, NULL, NULL), 0);
    change(f, "UPDATE audit_published SET heads = replace(heads, '\"rows\":12', '\"rows\":11')");
    assert_int_equal(broken_row(f->path, NULL, reason), 1);
    assert_non_null(strstr(reason, "number 1 of the heads that were published was changed"));
    free(heads);
}

static void a_spreadsheet_runs_nothing(void **state) {
    (void)state;
    static const char *const cells[][2] = {
        {"plain", "plain"},
        {"=1+1", "\"'=1+1\""},
        {"+1", "\"'+1\""},
        {"-1", "\"'-1\""},
        {"@SUM(A1)", "\"'@SUM(A1)\""},
        {"\t=1", "\"'\t=1\""},
        {"\r=1", "\"'\r=1\""},
        {"a,b", "\"a,b\""},
        {"a\"b", "\"a\"\"b\""},
        {"a\nb", "\"a\nb\""},
        {"", ""},
        {"1=2", "1=2"}};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        struct buffer b = BUFFER(100);
        buffer_csv(&b, cells[i][0], strlen(cells[i][0]));
        assert_string_equal(b.data ? b.data : "", cells[i][1]);
        buffer_free(&b);
    }
}

static void what_cannot_be_opened_is_not_called_broken(void **state) {
    struct fixture *f = *state;
    struct failure why;
    json_t *answer = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/nowhere.db", f->folder);
    assert_int_equal(audit_verify_file(path, NULL, &answer, &why), RETRY);
    assert_non_null(strstr(why.text, path));
    assert_null(answer);
    FILE *heads = fmemopen((char[]){"{\"rows\":3,\"chains\":[]}"}, 22, "r");
    assert_int_equal(audit_verify_file(f->path, heads, &answer, &why), RETRY);
    assert_non_null(strstr(why.text, "line 1 of the heads"));
    fclose(heads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_the_hash_of_the_specification),
        cmocka_unit_test(a_spreadsheet_runs_nothing),
        cmocka_unit_test_setup_teardown(an_untouched_log_is_intact, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_is_the_apis_row, setup, teardown),
        cmocka_unit_test_setup_teardown(every_changed_byte_of_the_lines_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_is_written_in_one_way, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_of_another_type_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_that_was_changed_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tail_that_was_cut_off_contradicts_what_was_published, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_published_is_compared_without_being_given, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_opened_is_not_called_broken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
