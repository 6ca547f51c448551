/* If-Match, as RFC 9110 has it */
#include "chassis/web/precondition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#undef fail

static void what_fits(void **state) {
    (void)state;
    static const char *const fitting[] = {
        "\"3\"",       " \"3\" ",        "*",        " * ",           "\"1\", \"3\"",
        "\"3\",\"4\"", "W/\"3\", \"3\"", ",\"3\",,", "\"a,b\",\"3\"", "\"\xc3\xa9\" , \"3\"",
        "\t\"3\"\t,"};
    static const char *const other[] = {"\"2\"",          "W/\"3\"", "\"03\"",  "\"\"",   "\"33\"",
                                        "\"1\", W/\"3\"", "\"*\"",   "\"a,3\"", "\"W/3\""};
    struct failure why;
    bool fits;
    for (size_t i = 0; i < sizeof fitting / sizeof *fitting; i++) {
        assert_int_equal(precondition_fits(fitting[i], "\"3\"", &fits, &why), OK);
        if (!fits) print_error("%s does not fit\n", fitting[i]);
        assert_true(fits);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        assert_int_equal(precondition_fits(other[i], "\"3\"", &fits, &why), OK);
        if (fits) print_error("%s fits\n", other[i]);
        assert_false(fits);
    }
}

static void what_is_malformed(void **state) {
    (void)state;
    static const char *const broken[] = {"",         " ",        ",",         "3",        "\"3",       "3\"",
                                         "'3'",      "w/\"3\"",  "W\"3\"",    "W/3",      "W/ \"3\"",  "\"3\" \"4\"",
                                         "\"3\", *", "*, \"3\"", "**",        "\"3\"x",   "\"3\";q=1", "\"3\", 4",
                                         "\"a b\"",  "\"\x01\"", "\"3\", \"", "\"\x7f\"", "/\"3\""};
    struct failure why;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        bool fits = true;
        why.text[0] = '\0';
        verdict v = precondition_fits(broken[i], "\"3\"", &fits, &why);
        if (v != REJECT || fits) print_error("%s is taken for an If-Match\n", broken[i]);
        assert_true(v == REJECT && !fits);
        assert_non_null(strstr(why.text, broken[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_fits), cmocka_unit_test(what_is_malformed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
