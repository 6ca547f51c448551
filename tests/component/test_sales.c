/* Sales: what it refunds, and takes back. */
#include "helper_team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern const struct service service;
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static int setup(void **state) {
    return team_setup(state, "sales", &service, service_assets, service_assets_n);
}

static void a_refund_is_reversed_once(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .serial_number = "A");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "order O-1, item A");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "cancelled before");
    team_ask(t, "R-1", .serial_number = "A"); /* by another event */
    team_audited(t, "handled", "cancelled before");
    team_said(t, "OrderRefunded R-1, RefundReversed R-1");
    world_await(&t->world, "SELECT COUNT(*) FROM refund WHERE state = 'reversed' AND refunded_at < ended_at", 1);
    team_past_is_as_it_was(t);
}

static void a_cancellation_before_its_request_leaves_nothing_to_do(void **state) {
    struct team *t = *state;
    team_cancel(t, "R-1");
    team_audited(t, "handled", "nothing to undo");
    team_ask(t, "R-1");
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
    world_await(&t->world, "SELECT COUNT(*) FROM refund", 0);
}

static void what_was_quarantined_and_cancelled_is_not_done_by_a_redrive(void **state) {
    struct team *t = *state;
    team_ask_unread(t, "R-1", &(struct asked){0});
    team_cancel(t, "R-1");
    team_redrive(t);
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
    world_await(&t->world, "SELECT COUNT(*) FROM refund", 0);
}

static void what_was_redriven_is_undone(void **state) {
    struct team *t = *state;
    team_ask_unread(t, "R-1", &(struct asked){0});
    team_redrive(t);
    team_cancel(t, "R-1");
    team_said(t, "OrderRefunded R-1, RefundReversed R-1");
}

static void the_item_goes_to_who_waited_longest(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .serial_number = "A");
    team_ask(t, "R-2", .serial_number = "A");
    team_audited(t, "declined", "refunded before");
    team_ask(t, "R-3", .serial_number = "A");
    team_ask(t, "R-4", .serial_number = "A");
    team_cancel(t, "R-2"); /* it waits no more; R-1's refund stays */
    team_audited(t, "handled", "order O-1, item A");
    world_await(&t->world, "SELECT COUNT(*) FROM refund WHERE state = 'refunded' AND return_id = 'R-1'", 1);
    team_cancel(t, "R-1");
    team_audited(t, "handled", "refunded to return R-3 instead");
    team_ask(t, "R-5", .serial_number = "A");
    team_cancel(t, "R-3");
    team_cancel(t, "R-4");
    team_cancel(t, "R-5");
    team_said(
        t, "OrderRefunded R-1, RefundDeclined R-2, RefundDeclined R-3, RefundDeclined R-4, RefundRequestWithdrawn R-2, "
           "RefundReversed R-1, OrderRefunded R-3, RefundDeclined R-5, RefundReversed R-3, OrderRefunded R-4, "
           "RefundReversed R-4, OrderRefunded R-5, RefundReversed R-5");
    world_await(&t->world, "SELECT COUNT(*) FROM refund WHERE ended_at IS NULL", 0);
    team_past_is_as_it_was(t);
}

static void an_item_of_another_order_is_another_item(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .serial_number = "A");
    team_ask(t, "R-2", .serial_number = "B");
    team_cancel(t, "R-1");
    team_said(t, "OrderRefunded R-1, OrderRefunded R-2, RefundReversed R-1");
}

static void a_second_request_of_a_return_is_put_aside(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .serial_number = "A");
    team_ask(t, "R-1", .serial_number = "B");
    team_audited(t, "quarantined", "return \"R-1\" was answered before");
    team_said(t, "OrderRefunded R-1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, team_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_refund_is_reversed_once),
        TEST(team_ids_are_reached),
        TEST(a_cancellation_before_its_request_leaves_nothing_to_do),
        TEST(what_was_quarantined_and_cancelled_is_not_done_by_a_redrive),
        TEST(what_was_redriven_is_undone),
        TEST(the_item_goes_to_who_waited_longest),
        TEST(an_item_of_another_order_is_another_item),
        TEST(a_second_request_of_a_return_is_put_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
