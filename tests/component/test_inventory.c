/* Inventory: what it ships, and recalls. */
#include "helper_team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern const struct service service;
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static int setup(void **state) {
    return team_setup(state, "inventory", &service, service_assets, service_assets_n);
}

static void a_shipment_is_recalled_once(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "3 in stock");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "cancelled before");
    team_ask(t, "R-1");
    team_said(t, "ReplacementShipped R-1, ShipmentRecalled R-1");
    world_await(&t->world, "SELECT on_hand FROM stock WHERE model = 'Ember tablet'", 3);
    world_await(&t->world, "SELECT recalled FROM stock WHERE model = 'Ember tablet'", 1);
    team_past_is_as_it_was(t);
}

static void a_cancellation_before_its_request_leaves_nothing_to_do(void **state) {
    struct team *t = *state;
    team_cancel(t, "R-1");
    team_audited(t, "handled", "nothing to undo");
    team_ask(t, "R-1");
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
    world_await(&t->world, "SELECT on_hand FROM stock WHERE model = 'Ember tablet'", 3);
}

static void what_was_quarantined_and_cancelled_is_not_done_by_a_redrive(void **state) {
    struct team *t = *state;
    team_ask_unread(t, "R-1", &(struct asked){0});
    team_cancel(t, "R-1");
    team_redrive(t);
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
}

static void what_is_recalled_goes_to_the_oldest_backorder(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1");
    team_ask(t, "R-2");
    team_ask(t, "R-3");
    team_ask(t, "R-4");
    team_ask(t, "R-5");
    team_ask(t, "R-6", .model = "Never had");
    team_ask(t, "R-7");
    team_audited(t, "handled", "none in stock");
    world_await(&t->world, "SELECT waiting FROM backorder WHERE model = 'Ember tablet'", 3);
    team_cancel(t, "R-4"); /* it waits no more */
    team_cancel(t, "R-2");
    team_audited(t, "handled", "shipped for return R-5");
    team_cancel(t, "R-5"); /* what was shipped for it goes on */
    team_cancel(t, "R-1");
    team_said(
        t,
        "ReplacementShipped R-1, ReplacementShipped R-2, ReplacementShipped R-3, ReplacementBackordered R-4, "
        "ReplacementBackordered R-5, ReplacementBackordered R-6, ReplacementBackordered R-7, BackorderWithdrawn R-4, "
        "ShipmentRecalled R-2, ReplacementShipped R-5, ShipmentRecalled R-5, ReplacementShipped R-7, "
        "ShipmentRecalled R-1");
    world_await(&t->world, "SELECT on_hand FROM stock WHERE model = 'Ember tablet'", 1);
    world_await(&t->world, "SELECT waiting FROM backorder WHERE model = 'Ember tablet'", 0);
    world_await(&t->world, "SELECT SUM(initial - shipped + recalled - on_hand) FROM stock", 0);
    team_past_is_as_it_was(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, team_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_shipment_is_recalled_once),
        TEST(team_ids_are_reached),
        TEST(a_cancellation_before_its_request_leaves_nothing_to_do),
        TEST(what_was_quarantined_and_cancelled_is_not_done_by_a_redrive),
        TEST(what_is_recalled_goes_to_the_oldest_backorder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
