/* The Idempotency-Key as it may be written, and what tells one request from another. */
#include "chassis/web/idempotency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_key_is_the_same_with_and_without_quotes(void **state) {
    static const struct {
        const char *header, *key;
    } rows[] = {
        {"\"8e03978e-40d5\"", "8e03978e-40d5"},
        {"8e03978e-40d5", "8e03978e-40d5"},
        {"\"a\" \t", "a"},
        {"\"a\\\"b\\\\c\"", "a\"b\\c"},
        {"a\"b", "a\"b"},
        {"!~", "!~"}};
    char key[IDEMPOTENCY_KEY_MAX + 1];
    struct failure why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(idempotency_key_read(rows[i].header, key, &why), OK);
        assert_string_equal(key, rows[i].key);
    }
}

static void what_is_no_key_is_refused_with_the_reason(void **state) {
    static const struct {
        const char *header, *why;
    } rows[] = {{"", "empty"},        {"\"\"", "empty"},    {"\"a", "quote"},          {"\"", "quote"},
                {"\"a\\\"", "quote"}, {"\"a\" b", "quote"}, {"\"a\";p=1", "quote"},    {"a b", "blank"},
                {"\"a b\"", "blank"}, {"a\tb", "blank"},    {"sch\xc3\xb6n", "ASCII"}, {"\x7f", "ASCII"}};
    char key[IDEMPOTENCY_KEY_MAX + 1] = "untouched";
    struct failure why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(idempotency_key_read(rows[i].header, key, &why), REJECT);
        if (!strstr(why.text, rows[i].why)) fail_msg("%s: %s", rows[i].header, why.text);
        assert_string_equal(key, "untouched");
    }
}

static void a_key_has_at_most_255_characters(void **state) {
    char header[400], key[IDEMPOTENCY_KEY_MAX + 1];
    struct failure why;
    (void)state;
    memset(header, 'k', sizeof header);
    header[255] = '\0';
    assert_int_equal(idempotency_key_read(header, key, &why), OK);
    assert_string_equal(key, header);
    header[255] = 'k';
    header[256] = '\0';
    assert_int_equal(idempotency_key_read(header, key, &why), REJECT);
    header[0] = '"';
    header[256] = '"';
    header[257] = '\0';
    assert_int_equal(idempotency_key_read(header, key, &why), OK);
    assert_int_equal(strlen(key), 255);
    memset(header + 1, 'k', 398);
    header[398] = '"';
    header[399] = '\0';
    assert_int_equal(idempotency_key_read(header, key, &why), REJECT);
}

static void every_part_tells_requests_apart(void **state) {
    struct request_parts rows[] = {
        {"POST", "/a", NULL, "text/x", NULL, "b", 1}, {"PUT", "/a", NULL, "text/x", NULL, "b", 1},
        {"POST", "/b", NULL, "text/x", NULL, "b", 1}, {"POST", "/a", "q=1", "text/x", NULL, "b", 1},
        {"POST", "/a", "", "text/x", NULL, "b", 1},   {"POST", "/a", NULL, "text/y", NULL, "b", 1},
        {"POST", "/a", NULL, NULL, NULL, "b", 1},     {"POST", "/a", NULL, "text/x", "\"1\"", "b", 1},
        {"POST", "/a", NULL, NULL, "text/x", "b", 1}, {"POST", "/a", NULL, "text/x", NULL, "b\0", 2},
        {"POST", "/a", NULL, "text/x", NULL, "", 0},  {"POST", "/a", NULL, "text/x1", NULL, "b", 1},
        {"POST", "/at", NULL, "ext/x", NULL, "b", 1}, {"POST/", "a", NULL, "text/x", NULL, "b", 1}};
    enum { N = sizeof rows / sizeof *rows };
    unsigned char hash[N][IDEMPOTENCY_HASH], again[IDEMPOTENCY_HASH];
    (void)state;
    for (int i = 0; i < N; i++) {
        assert_true(idempotency_fingerprint(&rows[i], hash[i]));
        assert_true(idempotency_fingerprint(&rows[i], again));
        assert_memory_equal(hash[i], again, IDEMPOTENCY_HASH);
        for (int k = 0; k < i; k++)
            if (!memcmp(hash[i], hash[k], IDEMPOTENCY_HASH)) fail_msg("%d and %d are taken for the same", k, i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_the_same_with_and_without_quotes),
        cmocka_unit_test(what_is_no_key_is_refused_with_the_reason),
        cmocka_unit_test(a_key_has_at_most_255_characters),
        cmocka_unit_test(every_part_tells_requests_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
