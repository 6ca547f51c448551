/* The states of a partition that is read, and the moves between them: each of the table, and each that is not in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/incoming/partition.h"

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As partition.h draws them; written down a second time, so that a change of the table is meant. */
static const char *const drawn[PARTITION_STATES] = {
    /* to CHECKING, READING, HELD, PASSING_OVER, HELD_PASSING_OVER, LOST */
    "yy---y", /* from CHECKING */
    "y-yy-y", /* READING */
    "-y--y-", /* HELD */
    "yy--yy", /* PASSING_OVER */
    "--yy--", /* HELD_PASSING_OVER */
    "yy----", /* LOST */
};

static void test_the_table_is_as_drawn(void **state) {
    (void)state;
    for (int from = 0; from < PARTITION_STATES; from++)
        for (int to = 0; to < PARTITION_STATES; to++)
            if (partition_may_move(from, to) != (drawn[from][to] == 'y')) fail_msg("from %d to %d", from, to);
}

static void test_each_legal_move_is_taken(void **state) {
    (void)state;
    for (int from = 0; from < PARTITION_STATES; from++)
        for (int to = 0; to < PARTITION_STATES; to++) {
            if (!partition_may_move(from, to)) continue;
            struct partition p = {.topic = "sales.events", .state = from};
            assert_true(partition_move(&p, to));
            assert_int_equal(p.state, to);
        }
}

/* Each state can be reached from the start, and be left. */
static void test_no_state_is_out_of_reach(void **state) {
    (void)state;
    bool reached[PARTITION_STATES] = {[PARTITION_READING] = true};
    for (int round = 0; round < PARTITION_STATES; round++)
        for (int from = 0; from < PARTITION_STATES; from++)
            for (int to = 0; to < PARTITION_STATES; to++)
                if (reached[from] && partition_may_move(from, to)) reached[to] = true;
    for (int s = 0; s < PARTITION_STATES; s++) {
        bool left = false;
        for (int to = 0; to < PARTITION_STATES; to++) left |= to != s && partition_may_move(s, to);
        if (!reached[s] || !left) fail_msg("state %d: reached %d, left %d", s, reached[s], left);
    }
}

static sigjmp_buf aborted;

static void on_abort(int signal_number) {
    (void)signal_number;
    siglongjmp(aborted, 1);
}

/* True: noticed, be it by the assert or, in a build without, by the answer. */
static bool is_noticed(struct partition *volatile p, int to) {
    if (sigsetjmp(aborted, 1)) return true;
    return !partition_move(p, to);
}

/* What was written to stderr meanwhile goes to out, which it fits. */
static void illegal_moves_try(char *out, size_t size) {
    FILE *kept = tmpfile();
    int real = dup(STDERR_FILENO);
    struct sigaction before, now = {.sa_handler = on_abort};
    assert_non_null(kept);
    assert_true(real >= 0 && dup2(fileno(kept), STDERR_FILENO) >= 0);
    sigaction(SIGABRT, &now, &before);
    volatile int wrong = 0;
    for (volatile int from = 0; from < PARTITION_STATES; from++)
        for (volatile int to = 0; to < PARTITION_STATES; to++) {
            if (partition_may_move(from, to)) continue;
            struct partition p = {.topic = "sales.events", .id = 3, .state = from};
            if (!is_noticed(&p, to) || p.state != (enum partition_state)from) wrong++;
        }
    sigaction(SIGABRT, &before, NULL);
    dup2(real, STDERR_FILENO);
    close(real);
    rewind(kept);
    out[fread(out, 1, size - 1, kept)] = '\0';
    fclose(kept);
    assert_int_equal(wrong, 0);
}

static void test_an_illegal_move_is_noticed_and_not_made(void **state) {
    (void)state;
    static char told[16384];
    illegal_moves_try(told, sizeof told);
    const char *line = strstr(told, "a move that is not legal");
    assert_non_null(line);
    assert_non_null(strstr(line, "topic=sales.events partition=3 from=checking to=held"));
    assert_null(strstr(line + 1, "a move that is not legal")); /* once */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_is_as_drawn),
        cmocka_unit_test(test_each_legal_move_is_taken),
        cmocka_unit_test(test_no_state_is_out_of_reach),
        cmocka_unit_test(test_an_illegal_move_is_noticed_and_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
