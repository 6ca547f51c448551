#include "chassis/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct picked {
    const char *order_id;
    const char *city;
    int64_t version;
    bool urgent;
    struct money cost;
};

static const struct field PICKED[] = {
    FIELD_TEXT(struct picked, order_id), {"address.city", TYPE_TEXT, offsetof(struct picked, city), "nowhere"},
    FIELD_INT(struct picked, version),   {"urgent", TYPE_BOOL, offsetof(struct picked, urgent), "false"},
    FIELD_MONEY(struct picked, cost),
};

static verdict pick(const char *text, struct picked *out, struct failure *why) {
    static json_t *event;
    json_error_t error;
    json_decref(event);
    event = NULL;
    if (!text) return OK;
    event = json_loads(text, JSON_ALLOW_NUL, &error);
    assert_non_null(event);
    return project(event, PICKED, sizeof PICKED / sizeof *PICKED, out, why);
}

static void test_picks_named_fields(void **state) {
    (void)state;
    struct picked p = {0};
    struct failure why = {0};
    assert_int_equal(
        pick(
            "{\"order_id\":\"O-1 \xd0\xb6\",\"version\":3,\"urgent\":true,\"address\":{\"city\":\"\xe6\x9d\xb1\"},"
            "\"cost\":{\"amount\":\"149.90\",\"currency\":\"EUR\"},\"unknown\":[1,2]}",
            &p, &why),
        OK);
    assert_string_equal(p.order_id, "O-1 \xd0\xb6");
    assert_string_equal(p.city, "\xe6\x9d\xb1");
    assert_int_equal(p.version, 3);
    assert_true(p.urgent);
    assert_int_equal(p.cost.minor, 14990);
    assert_string_equal(p.cost.currency, "EUR");
}

static void test_falls_back(void **state) {
    (void)state;
    struct picked p = {0};
    struct failure why = {0};
    assert_int_equal(
        pick(
            "{\"order_id\":\"\",\"version\":-9,\"address\":null,\"cost\":{\"amount\":\"-0.01\",\"currency\":\"JPY\"}}",
            &p, &why),
        OK);
    assert_string_equal(p.city, "nowhere");
    assert_false(p.urgent);
    assert_int_equal(p.cost.minor, -1);
}

static void refused(const char *text, const char *says) {
    struct picked p = {0};
    struct failure why = {0};
    assert_int_equal(pick(text, &p, &why), REJECT);
    if (!strstr(why.text, says)) fail_msg("\"%s\" does not say \"%s\"", why.text, says);
}

#define COST ",\"version\":1,\"cost\":{\"amount\":\"1.00\",\"currency\":\"EUR\"}}"
#define MONEY(amount, currency)                                                                                        \
    "{\"order_id\":\"O\",\"version\":1,\"cost\":{\"amount\":" amount ",\"currency\":" currency "}}"

static void test_refuses_and_names_the_field(void **state) {
    (void)state;
    refused("{\"x\":1" COST, "field \"order_id\" is missing");
    refused("{\"order_id\":null" COST, "field \"order_id\" is missing");
    refused("{\"order_id\":7" COST, "field \"order_id\" is not text");
    refused("{\"order_id\":\"a\\u0000b\"" COST, "field \"order_id\" holds a NUL");
    refused("{\"order_id\":\"O\",\"version\":\"1\"}", "field \"version\" is not an integer");
    refused("{\"order_id\":\"O\",\"version\":1.5}", "field \"version\" is not an integer");
    refused("{\"order_id\":\"O\",\"address\":{\"city\":5}" COST, "field \"address.city\" is not text");
    refused("{\"order_id\":\"O\",\"urgent\":\"yes\"" COST, "field \"urgent\" is not true or false");
    refused("{\"order_id\":\"O\",\"version\":1,\"cost\":\"1.00\"}", "field \"cost\" is not money");
    refused(MONEY("\"1.005\"", "\"EUR\""), "finer than hundredths");
    refused(MONEY("1", "\"EUR\""), "field \"cost\" is not money");
    refused(MONEY("\"1\"", "\"eur\""), "currency \"eur\"");
    refused(MONEY("\"1\"", "\"EURO\""), "currency \"EURO\"");
    refused(MONEY("\"1\"", "\"EU\\u0000\""), "currency");
}

static void test_finer_scale_of_whole_hundredths(void **state) {
    (void)state;
    struct picked p = {0};
    struct failure why = {0};
    assert_int_equal(pick(MONEY("\"149.9000\"", "\"EUR\""), &p, &why), OK);
    assert_int_equal(p.cost.minor, 14990);
    assert_int_equal(pick(MONEY("\"150\"", "\"EUR\""), &p, &why), OK);
    assert_int_equal(p.cost.minor, 15000);
}

static void test_money(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t minor;
    } good[] = {
        {"149.90", 14990},
        {"149.9", 14990},
        {"149", 14900},
        {"0", 0},
        {"-0.05", -5},
        {"0.00", 0},
        {"9999999999999.99", 999999999999999},
        {"-9999999999999.99", -999999999999999}};
    static const char *const bad[] = {"",      "-",   ".",    "1.",       ".5",
                                      "+1",    "1e3", "1,50", " 1",       "1 ",
                                      "1.005", "--1", "0x1",  "\xd9\xa1", "99999999999999.99",
                                      "1.2.3", "nan"};
    struct failure why;
    int64_t minor;
    char text[32];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(money_parse(good[i].text, &minor, &why), OK);
        assert_int_equal(minor, good[i].minor);
        assert_int_equal(money_parse(money_text(minor, text), &minor, &why), OK);
        assert_int_equal(minor, good[i].minor);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (money_parse(bad[i], &minor, &why) != REJECT) fail_msg("\"%s\" was taken for an amount", bad[i]);
    assert_string_equal(money_text(-5, text), "-0.05");
    assert_string_equal(money_text(INT64_MIN, text), "-92233720368547758.08");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_picks_named_fields),
        cmocka_unit_test(test_falls_back),
        cmocka_unit_test(test_refuses_and_names_the_field),
        cmocka_unit_test(test_finer_scale_of_whole_hundredths),
        cmocka_unit_test(test_money),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    (void)!pick(NULL, NULL, NULL);
    return failures;
}
