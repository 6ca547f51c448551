/* What a registry says of a schema that it refuses: as Apicurio 3.0.9 said it. */
#include "chassis/avro/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char schema[] =
    "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"place\",\"type\":\"long\"},"
    "{\"name\":\"kind\",\"type\":{\"type\":\"enum\",\"name\":\"K\",\"symbols\":[\"A\"]}},"
    "{\"name\":\"cost\",\"type\":{\"type\":\"record\",\"name\":\"C\",\"fields\":[{\"name\":\"tax\",\"type\":\"int\"}]}},"
    "{\"name\":\"note\",\"type\":[\"null\",\"string\"]}]}";

static void check(const char *diffs, const char *expected) {
    struct buffer said = BUFFER(2000), out = BUFFER(2000);
    buffer_format(
        &said, "Incompatible artifact: s-E [AVRO], num of incompatible diffs: {1}, list of diff types: [%s]", diffs);
    refusal_write(&out, said.data, schema);
    assert_string_equal(out.data, expected);
    buffer_free(&said);
    buffer_free(&out);
}

#define MORE ". ./returns schemas check says more"

static void field_and_rule_are_named(void **state) {
    (void)state;
    check(
        "reader type: STRING not compatible with writer type: LONG at /fields/0/type, reader type: LONG not compatible "
        "with writer type: STRING at /fields/0/type",
        "field \"place\": TYPE_MISMATCH (keep the type, and add a field of another name)" MORE);
    check(
        "[B] at /fields/1/type/symbols",
        "field \"kind\": MISSING_ENUM_SYMBOLS (keep every symbol, or give the enum a default)" MORE);
    check(
        "[B, C] at /fields/1/type/symbols, tax at /fields/2/type/fields/0",
        "field \"kind\": MISSING_ENUM_SYMBOLS (keep every symbol, or give the enum a default); field \"cost.tax\": "
        "READER_FIELD_MISSING_DEFAULT_VALUE (give the field a default)" MORE);
    check(
        "reader union lacking writer type: INT at /fields/3/type/1",
        "field \"note\": MISSING_UNION_BRANCH (keep every branch)" MORE);
    check("expected: returns.E at /name", "NAME_MISMATCH at /name (keep the name)" MORE);
}

/* A place may be one in the schema of before, where other fields were. */
static void no_other_field_is_blamed(void **state) {
    (void)state;
    check("gone at /fields/0", "field \"gone\": READER_FIELD_MISSING_DEFAULT_VALUE (give the field a default)" MORE);
    check("gone at /fields/9", "field \"gone\": READER_FIELD_MISSING_DEFAULT_VALUE (give the field a default)" MORE);
    check(
        "reader type: STRING not compatible with writer type: BOOLEAN at /fields/0/type",
        "TYPE_MISMATCH at /fields/0/type (keep the type, and add a field of another name)" MORE);
    check(
        "[B] at /fields/0/type/symbols",
        "MISSING_ENUM_SYMBOLS at /fields/0/type/symbols (keep every symbol, or give the enum a default)" MORE);
}

static void other_words_are_kept(void **state) {
    (void)state;
    static const char *const all[] = {"the field 'x' at path '/fields/6' has no default", "", "list of diff types: ["};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buffer out = BUFFER(200);
        refusal_write(&out, all[i], schema);
        assert_string_equal(out.data ? out.data : "", all[i]);
        buffer_free(&out);
        refusal_write(&out, all[i], "no JSON");
        assert_string_equal(out.data ? out.data : "", all[i]);
        buffer_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(field_and_rule_are_named),
        cmocka_unit_test(no_other_field_is_blamed),
        cmocka_unit_test(other_words_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
