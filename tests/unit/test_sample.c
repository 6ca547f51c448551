/* Simulated returns: the same for a seed, and each as good or as wrong as it says. */
#include "support/load/sample.h"
#include "support/request/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SOME = 3000 };

static json_t *symbols; /* kinds of reason */

static const char *text_of(const json_t *body, const char *name) {
    const char *text = json_string_value(json_object_get(body, name));
    return text ? text : "";
}

static void a_good_one_is_accepted_and_a_bad_one_is_not(void **state) {
    (void)state;
    struct sample s = {.seed = 7, .duplicates = 10, .bad = 10, .run = "run"};
    int n[3] = {0};
    for (int i = 0; i < SOME; i++) {
        struct request q;
        json_t *body = sample_body(&s, i), *errors = request_read(body, symbols, &q);
        enum sample_kind kind = sample_kind(&s, i);
        assert_int_equal(json_array_size(errors) > 0, kind == SAMPLE_BAD);
        n[kind]++;
        json_decref(errors);
        json_decref(body);
    }
    assert_in_range(n[SAMPLE_DUPLICATE], SOME / 10 - SOME / 40, SOME / 10 + SOME / 40);
    assert_in_range(n[SAMPLE_BAD], SOME / 10 - SOME / 40, SOME / 10 + SOME / 40);
}

/* So that what was planned is what happens: each refused duplicate has one accepted return before it. */
static void a_duplicate_names_the_item_of_an_earlier_good_one(void **state) {
    (void)state;
    struct sample s = {.seed = 8, .duplicates = 30, .bad = 15, .run = "run"};
    json_t *seen = json_object();
    for (int i = 0; i < SOME; i++) {
        json_t *body = sample_body(&s, i);
        enum sample_kind kind = sample_kind(&s, i);
        bool known = json_object_get(seen, text_of(body, "serial_number"));
        if (kind != SAMPLE_BAD) assert_int_equal(known, kind == SAMPLE_DUPLICATE);
        if (kind == SAMPLE_GOOD) json_object_set_new(seen, text_of(body, "serial_number"), json_true());
        json_decref(body);
    }
    json_decref(seen);
}

static void a_seed_is_a_series_and_a_run_changes_what_is_ordered_alone(void **state) {
    (void)state;
    struct sample a = {.seed = 9, .duplicates = 5, .bad = 3, .run = "one"}, b = a, other = a;
    static const char *const own[] = {"order_id", "shipment_id", "serial_number"};
    int differ = 0;
    strcpy(b.run, "two");
    other.seed = 10;
    for (int i = 0; i < SOME; i++) {
        json_t *x = sample_body(&a, i), *again = sample_body(&a, i), *y = sample_body(&b, i);
        json_t *z = sample_body(&other, i);
        assert_true(json_equal(x, again));
        assert_int_equal(sample_kind(&a, i), sample_kind(&b, i));
        for (size_t k = 0; k < sizeof own / sizeof *own; k++) {
            if (!json_is_string(json_object_get(x, own[k]))) continue; /* a bad one */
            assert_string_not_equal(text_of(x, own[k]), text_of(y, own[k]));
            json_object_set(y, own[k], json_object_get(x, own[k]));
        }
        assert_true(json_equal(x, y));
        differ += strcmp(text_of(x, "reason"), text_of(z, "reason")) != 0;
        json_decref(x);
        json_decref(again);
        json_decref(y);
        json_decref(z);
    }
    assert_true(differ > SOME / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one_is_accepted_and_a_bad_one_is_not),
        cmocka_unit_test(a_duplicate_names_the_item_of_an_earlier_good_one),
        cmocka_unit_test(a_seed_is_a_series_and_a_run_changes_what_is_ordered_alone),
    };
    symbols =
        json_pack("[s, s, s, s, s]", "DEFECTIVE", "DAMAGED_IN_TRANSIT", "WRONG_ITEM", "NOT_AS_DESCRIBED", "OTHER");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(symbols);
    return failed;
}
