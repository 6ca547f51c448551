/* Accounting: what it charges, and reverses. */
#include "helper_team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern const struct service service;
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static int setup(void **state) {
    return team_setup(state, "accounting", &service, service_assets, service_assets_n);
}

static void a_disposal_is_reversed_once(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1");
    team_ask(t, "R-2", .cost = "0.10");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "149.90 EUR");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "cancelled before");
    team_ask(t, "R-1");
    team_said(t, "AssetDisposalCharged R-1, AssetDisposalCharged R-2, AssetDisposalReversed R-1");
    world_await(&t->world, "SELECT COUNT(*) FROM ledger WHERE return_id = 'R-1'", 4);
    world_await(&t->world, "SELECT SUM(debit) - SUM(credit) FROM ledger WHERE account LIKE '6800%'", 10);
    world_await(&t->world, "SELECT debit - credit FROM balance WHERE account LIKE '0400%'", -10);
    team_past_is_as_it_was(t);
}

static void a_cancellation_before_its_request_leaves_nothing_to_do(void **state) {
    struct team *t = *state;
    team_cancel(t, "R-1");
    team_audited(t, "handled", "nothing to undo");
    team_ask(t, "R-1");
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
    world_await(&t->world, "SELECT COUNT(*) FROM ledger", 0);
}

static void what_was_quarantined_and_cancelled_is_not_done_by_a_redrive(void **state) {
    struct team *t = *state;
    team_ask_unread(t, "R-1", &(struct asked){0});
    team_cancel(t, "R-1");
    team_redrive(t);
    team_audited(t, "handled", "nothing to do: cancelled before");
    team_said(t, "");
}

static void what_was_refused_has_nothing_to_undo(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1", .cost = "-1.00");
    team_audited(t, "quarantined", "the cost -1.00 is negative");
    team_cancel(t, "R-1");
    team_audited(t, "handled", "nothing to undo");
    team_ask(t, "R-2");
    team_ask(t, "R-2");
    team_audited(t, "quarantined", "return \"R-2\" was answered before");
    world_await(&t->world, "SELECT COUNT(*) FROM ledger", 2);
}

/* So near the bound, by the turnover alone, as some 2,000 charges of the largest amount would be. */
static void turnover_set(struct team *t, int64_t amount) {
    struct failure why;
    struct connection *c = store_begin(t->world.rt.core.store);
    assert_int_equal(
        store_run(c, "UPDATE turnover SET amount = ? WHERE debit_account LIKE '6800%'", value_int(amount)), 1);
    assert_int_equal(store_commit(c, &why), OK);
}

/* What cannot be added up any more is not taken, and what was taken can be reversed. */
static void no_charge_makes_a_sum_too_large(void **state) {
    struct team *t = *state;
    team_ask(t, "R-1");
    turnover_set(t, INT64_MAX / 4 - 14990);
    team_ask(t, "R-2");
    team_audited(t, "handled", "149.90 EUR");
    team_ask(t, "R-3", .cost = "0.01");
    team_audited(t, "quarantined", "0.01 EUR more would make the turnover in EUR too large to be added up");
    team_ask(t, "R-4", .cost = "0.00");
    team_audited(t, "handled", "0.00 EUR");
    team_cancel(t, "R-3");
    team_audited(t, "handled", "nothing to undo");
    team_cancel(t, "R-2");
    team_audited(t, "handled", "149.90 EUR");
    world_await(&t->world, "SELECT amount FROM turnover WHERE debit_account LIKE '6800%'", INT64_MAX / 4);
    world_await(&t->world, "SELECT amount FROM turnover WHERE debit_account LIKE '0400%'", 14990);
    world_await(&t->world, "SELECT SUM(debit) FROM balance", INT64_MAX / 4 + 14990);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, team_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_disposal_is_reversed_once),
        TEST(team_ids_are_reached),
        TEST(a_cancellation_before_its_request_leaves_nothing_to_do),
        TEST(what_was_quarantined_and_cancelled_is_not_done_by_a_redrive),
        TEST(what_was_refused_has_nothing_to_undo),
        TEST(no_charge_makes_a_sum_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
