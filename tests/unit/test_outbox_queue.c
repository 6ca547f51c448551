/* Which rows of the outbox wait: what the mark and its exceptions say, against a model that has the state of each row.
 */
#include "chassis/events/outbox_queue.h"
#include "chassis/store/migrations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 60, WINDOW = 8, TURNS = 4000, PARTITIONS = 3 };

static char folder[] = "/tmp/queue-XXXXXX";
static struct store *store;
static struct connection *c;

/* The model, and a producer: what it was handed and does not know as marked. */
static const char *states[ROWS + 1];
static int rows_n;
static struct handed handed[WINDOW];
static size_t handed_n;
static int64_t last_row, next_offset, places[PARTITIONS];
static bool wanted_again; /* by somebody, while the producer may have some under way */

static void is_ok(void) {
    struct failure why;
    if (store_check(c, &why) != OK) fail_msg("%s", why.text);
}

static void compare(void) {
    int waiting = 0, seen = 0;
    for (struct rows r = store_rows(c, "SELECT id, state FROM outbox_state ORDER BY id"); rows_next(&r); seen++) {
        assert_int_equal(rows_int(&r, 0), seen + 1);
        assert_string_equal(rows_text(&r, 1), states[seen + 1]);
        waiting += !strcmp(states[seen + 1], "waiting");
    }
    assert_int_equal(seen, rows_n);
    assert_int_equal(outbox_waiting(c), waiting);
    assert_int_equal(
        store_int(c, -1, "SELECT COUNT(*) FROM outbox_exception, outbox_mark WHERE state = 'sent' AND id <= through"),
        0);
    assert_int_equal(outbox_waiting_since(c) > 0, waiting > 0);
    for (int i = 0; i < PARTITIONS; i++)
        assert_int_equal(
            store_int(c, -1, "SELECT record_offset FROM outbox_place WHERE partition = ?", value_int(i)), places[i]);
    is_ok();
}

static void add(void) {
    if (rows_n == ROWS) return;
    states[++rows_n] = "waiting";
    (void)store_run(
        c,
        "INSERT INTO outbox (event_id, type, return_id, body, trace_parent, occurred_at) VALUES (x'', '', '', x'', '', ?)",
        value_int(rows_n));
}

static void aside(int64_t row) {
    outbox_set_aside(c, row, "because");
    states[row] = "set aside";
}

/* All that wait, in order, and none that was handed over. The producer may refuse one at once. */
static void hand_over(void) {
    if (wanted_again && handed_n) return;
    if (wanted_again) last_row = 0;
    wanted_again = false;
    int64_t most = WINDOW - (int64_t)handed_n, id = last_row;
    for (struct rows r = outbox_rows(c, last_row, most); rows_next(&r); most--) {
        while (strcmp(states[++id], "waiting") != 0) continue;
        assert_int_equal(rows_int(&r, 0), id);
        assert_int_equal(rows_int(&r, 6), id);
        if (rand() % 12 == 0) {
            rows_close(&r);
            aside(last_row = id);
            return;
        }
        handed[handed_n++] = (struct handed){.row = id};
        last_row = id;
    }
    while (most > 0 && ++id <= rows_n) assert_string_not_equal(states[id], "waiting");
}

/* The first that is not done of its partition: Kafka keeps their order. */
static void deliver(void) {
    int32_t partition = rand() % (PARTITIONS + 1) - 1;
    for (size_t i = 0; i < handed_n; i++)
        if (!handed[i].done && handed[i].row % (PARTITIONS + 1) - 1 == partition) {
            handed[i] = (struct handed){handed[i].row, true, partition, next_offset++};
            return;
        }
}

static void mark(bool last) {
    size_t front = outbox_done(handed, handed_n), all = last ? handed_n : front;
    outbox_mark(c, handed, handed_n, last);
    for (size_t i = 0; i < all; i++) {
        if (!handed[i].done) continue;
        states[handed[i].row] = "sent";
        if (handed[i].partition >= 0) places[handed[i].partition] = handed[i].offset;
    }
    handed_n -= all;
    memmove(handed, handed + all, handed_n * sizeof *handed);
    if (last) last_row = 0;
}

static void set_one_aside(void) {
    if (!handed_n) return;
    struct handed *h = &handed[rand() % handed_n];
    if (h->done) return;
    aside(h->row);
    mark(true);
}

static void again(void) {
    int n = 0;
    for (int i = 1; i <= rows_n; i++)
        if (!strcmp(states[i], "set aside")) states[i] = "waiting", n++;
    assert_int_equal(outbox_again(c), n);
    wanted_again = true;
}

static void anew(void) {
    (void)store_run(c, "DELETE FROM outbox");
    (void)store_run(c, "DELETE FROM outbox_exception");
    (void)store_run(c, "DELETE FROM outbox_place");
    (void)store_run(c, "UPDATE outbox_mark SET through = 0");
    rows_n = 0;
    handed_n = 0;
    last_row = 0;
    wanted_again = false;
    for (int i = 0; i < PARTITIONS; i++) places[i] = -1;
}

static void each_row_is_what_it_was_made(void **state) {
    (void)state;
    static void (*const steps[])(void) = {add,     add,     add,     hand_over,    hand_over,
                                          deliver, deliver, deliver, set_one_aside};
    for (int turn = 0; turn < TURNS; turn++) {
        srand((unsigned)turn);
        if (turn % 400 == 0) anew();
        for (int i = 0; i < 6; i++) steps[rand() % (sizeof steps / sizeof *steps)]();
        if (rand() % 3 == 0) mark(false);
        if (rand() % 20 == 0) mark(true);
        if (rand() % 15 == 0) again();
        compare();
    }
}

/* However many are set aside while nothing before them waits, they are not behind the mark, where they are counted. */
static void the_mark_passes_what_is_set_aside(void **state) {
    (void)state;
    anew();
    for (int i = 0; i < 20; i++) add();
    outbox_set_aside(c, 2, "because");
    assert_int_equal(store_int(c, -1, "SELECT through FROM outbox_mark"), 0);
    outbox_set_aside(c, 1, "because");
    assert_int_equal(store_int(c, -1, "SELECT through FROM outbox_mark"), 1);
    for (int i = 3; i <= 20; i++) outbox_set_aside(c, i, "because");
    assert_int_equal(store_int(c, -1, "SELECT through FROM outbox_mark"), 20);
    assert_int_equal(outbox_waiting(c), 0);
    is_ok();
}

static int setup(void **state) {
    (void)state;
    char path[64];
    struct failure why;
    struct migration all[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", all, 0);
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/x.db", folder);
    if (store_open(&store, path, all, n, &why) != OK) return -1;
    c = store_begin(store);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[96];
    store_rollback(c);
    store_close(&store);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_what_it_was_made), cmocka_unit_test(the_mark_passes_what_is_set_aside)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
