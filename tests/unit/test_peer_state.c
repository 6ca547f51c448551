/* What is said of a service, row by row of the table: from the facts to a word, a tone and a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/fleet/peer_state.h"

#include <cmocka.h>
#include <string.h>

/* One that is up, and nothing is the matter with it. */
#define UP .health = "up", .to_go_ms = -1

static const struct row {
    const char *name, *tone, *says;
    struct peer_facts facts;
} rows[] = {
    {"up", "ok", "as they come", {UP}},
    {"up", "ok", "as they come", {UP, .behind = 20}},
    {"up", "ok", "as they come", {UP, .behind = 200, .handled = 180}},
    {"stopped", "bad", "last answered 3.0 s ago", {UP, .contact = PEER_REFUSES, .silent_ms = 3000}},
    {"stopped", "bad", "Nobody listens", {UP, .contact = PEER_REFUSES, .silent_ms = -1}},
    {"does not answer", "bad", "not answered for 1.5 s", {UP, .contact = PEER_SILENT, .silent_ms = 1500}},
    {"does not answer", "bad", "not answered yet", {UP, .contact = PEER_SILENT, .silent_ms = -1}},
    {"not asked yet", "wait", "being asked", {UP, .contact = PEER_UNASKED, .silent_ms = -1}},
    {"needs a hand", "bad", "no room on the disk", {.health = "failed", .words = "no room on the disk"}},
    {"waiting", "wait", "for Kafka at", {.health = "waiting", .words = "waiting for Kafka at 127.0.0.1:9092"}},
    {"quarantining", "bad", "1 event is put aside; somebody must look at it", {UP, .dead_letters = 1}},
    {"quarantining", "bad", "2 events are put aside", {UP, .dead_letters = 2}},
    {"paused", "wait", "by a drill", {UP, .drill = "paused"}},
    {"slow", "wait", "250 ms an event", {UP, .drill = "slow", .drill_ms = 250}},
    {"catching up",
     "wait",
     "5 behind, the oldest for 1.0 s; it does not get less",
     {UP, .behind = 5, .oldest_ms = 1000}},
    {"catching up",
     "wait",
     "201 behind; to go: 4.0 s.",
     {.health = "up", .behind = 201, .handled = 180, .to_go_ms = 4000}},
    {"reading", "ok", "only how far it has read is", {.contact = PEER_NOWHERE, .oldest_ms = -1}},
    {"catching up", "wait", "only how far it has read is", {.contact = PEER_NOWHERE, .behind = 1, .oldest_ms = -1}},
};

static void test_each_row(void **state) {
    (void)state;
    struct peer_state out;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        peer_judge(&rows[i].facts, &out);
        if (strcmp(out.name, rows[i].name) != 0 || strcmp(out.tone, rows[i].tone) != 0 ||
            !strstr(out.text, rows[i].says))
            fail_msg("row %zu: %s, %s, %s", i, out.name, out.tone, out.text);
    }
}

/* Everything is the matter with it; what comes first is taken away, one after the other. */
static void test_precedence(void **state) {
    (void)state;
    struct peer_state out;
    struct peer_facts f = {
        .contact = PEER_REFUSES,
        .health = "failed",
        .drill = "paused",
        .dead_letters = 1,
        .behind = 50,
        .oldest_ms = 5000};
    peer_judge(&f, &out);
    assert_string_equal(out.name, "stopped");
    f.contact = PEER_ANSWERS;
    peer_judge(&f, &out);
    assert_string_equal(out.name, "needs a hand");
    f.health = "waiting";
    peer_judge(&f, &out);
    assert_string_equal(out.name, "waiting");
    f.health = "up";
    peer_judge(&f, &out);
    assert_string_equal(out.name, "quarantining");
    f.dead_letters = 0;
    peer_judge(&f, &out);
    assert_string_equal(out.name, "paused");
    f.drill = NULL;
    peer_judge(&f, &out);
    assert_string_equal(out.name, "catching up");
    f.behind = 0;
    peer_judge(&f, &out);
    assert_string_equal(out.name, "up");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_row), cmocka_unit_test(test_precedence)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
