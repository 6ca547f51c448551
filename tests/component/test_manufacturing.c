/* Manufacturing: what it queues, and withdraws. */
#include "helper_team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern const struct service service;
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static int setup(void **state) {
    return team_setup(state, "manufacturing", &service, service_assets, service_assets_n);
}

static void an_order_is_withdrawn_once(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .serial_number = "A");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "item A from Lyon at Grenoble works");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "cancelled before");
    team_ask(t, "R-1", .serial_number = "A");
    team_said(t, "DisassemblyOrdered R-1, DisassemblyOrderWithdrawn R-1");
    world_await(&t->world, "SELECT SUM(queued) FROM site_queue", 0);
    team_past_is_as_it_was(t);
}

static void a_cancellation_before_its_request_leaves_nothing_to_do(void **state) {
    struct team *t = *state;
    team_cancel(t, "R-1");
    team_audited(t, "handled", "nothing to undo");
    team_ask(t, "R-1");
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
    world_await(&t->world, "SELECT COUNT(*) FROM disassembly_order", 0);
}

static void what_was_quarantined_and_cancelled_is_not_done_by_a_redrive(void **state) {
    struct team *t = *state;
    team_ask_unread(t, "R-1", &(struct asked){0});
    team_cancel(t, "R-1");
    team_redrive(t);
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
}

static void the_item_is_queued_for_who_waited_longest(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .serial_number = "A");
    team_ask(t, "R-2", .serial_number = "A", .location = "Berlin");
    team_audited(t, "declined", "queued already");
    team_ask(t, "R-3", .serial_number = "A", .location = "Oslo");
    team_ask(t, "R-4", .serial_number = "B");
    team_cancel(t, "R-2");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "queued for return R-3 at Central works instead");
    world_await(&t->world, "SELECT queued FROM site_queue WHERE site = 'Central works'", 1);
    world_await(&t->world, "SELECT queued FROM site_queue WHERE site = 'Grenoble works'", 1);
    team_cancel(t, "R-3");
    team_said(
        t, "DisassemblyOrdered R-1, DisassemblyDeclined R-2, DisassemblyDeclined R-3, DisassemblyOrdered R-4, "
           "DisassemblyRequestWithdrawn R-2, DisassemblyOrderWithdrawn R-1, DisassemblyOrdered R-3, "
           "DisassemblyOrderWithdrawn R-3");
    team_past_is_as_it_was(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, team_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_order_is_withdrawn_once),
        TEST(team_ids_are_reached),
        TEST(a_cancellation_before_its_request_leaves_nothing_to_do),
        TEST(what_was_quarantined_and_cancelled_is_not_done_by_a_redrive),
        TEST(the_item_is_queued_for_who_waited_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
