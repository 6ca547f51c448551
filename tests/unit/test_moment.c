/* moments of the past as people, browsers and programs write them */
#include "chassis/base/ids.h"
#include "chassis/base/moment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_is_a_moment(void **state) {
    (void)state;
    static const char *const all[][2] = {
        {"2026-11-21T09:28:51.123Z", "2026-11-21T09:28:51.123Z"},
        {"2026-11-21T09:28:51Z", "2026-11-21T09:28:51.000Z"},
        {"2026-11-21t09:28:51z", "2026-11-21T09:28:51.000Z"},
        {"2026-11-21 09:28:51.5", "2026-11-21T09:28:51.500Z"},
        {"2026-11-21T09:28:51.1239999Z", "2026-11-21T09:28:51.123Z"},
        {"2026-11-21T09:28:51.123+01:30", "2026-11-21T07:58:51.123Z"},
        {"2026-11-21T23:28:51-01:00", "2026-11-22T00:28:51.000Z"},
        {"2026-11-21T09:28", "2026-11-21T09:28:00.000Z"},
        {"2026-11-21T09:28:51", "2026-11-21T09:28:51.000Z"},
        {"2026-11-21T09:28:51.12", "2026-11-21T09:28:51.120Z"},
        {"2026-11-21", "2026-11-21T23:59:59.999Z"},
        {"2028-02-29", "2028-02-29T23:59:59.999Z"},
        {"1970-01-01T00:00Z", "1970-01-01T00:00:00.000Z"},
        {"1970-01-01T01:00+01:00", "1970-01-01T00:00:00.000Z"},
        {"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
        {"9999-12-31", "9999-12-31T23:59:59.999Z"},
    };
    char text[TIME_TEXT];
    int64_t ms;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!moment_read(all[i][0], &ms)) fail_msg("\"%s\" is not read", all[i][0]);
        assert_string_equal(time_text(ms, text), all[i][1]);
    }
}

static void what_is_none(void **state) {
    (void)state;
    static const char *const all[] = {
        "",
        "x",
        "yesterday",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:59+01:00",
        "9999-12-31T23:59:59-00:01",
        "10000-01-01",
        "0001-01-01",
        "2026",
        "2026-11",
        "2026-11-2",
        "2026-13-01",
        "2026-00-01",
        "2026-02-29",
        "2026-11-31",
        "2026-11-21T",
        "2026-11-21T09",
        "2026-11-21T24:00",
        "2026-11-21T09:60",
        "2026-11-21T09:28:60",
        "2026-11-21T09:28:51.",
        "2026-11-21T09:28:51,5",
        "2026-11-21T09:28:51 01:00",
        "2026-11-21T09:28:51+0100",
        "2026-11-21T09:28:51+01:00Z",
        "2026-11-21T09:28:51Z ",
        " 2026-11-21",
        "2026-11-21Z",
        "-026-11-21",
        "20261121",
        "1763717331000",
        "٢٠٢٦-11-21",
    };
    int64_t ms;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (moment_read(all[i], &ms)) fail_msg("\"%s\" is read as %lld", all[i], (long long)ms);
}

static void a_field_gets_its_moment_back(void **state) {
    (void)state;
    char text[MOMENT_LOCAL];
    int64_t ms;
    assert_string_equal(moment_local(1763717331123, text), "2025-11-21T09:28:51.123");
    assert_true(moment_read(text, &ms));
    assert_int_equal(ms, 1763717331123);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_a_moment),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(a_field_gets_its_moment_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
