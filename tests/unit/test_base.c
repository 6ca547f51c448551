/* failures, buffers and their escaping writers, identifiers and times */
#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"
#include "chassis/base/hash.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#undef fail

static void failure_quotes_itself(void **state) {
    (void)state;
    struct failure why;
    assert_int_equal(fail(&why, RETRY, "inner"), RETRY);
    assert_int_equal(fail(&why, REJECT, "outer: %s", why.text), REJECT);
    assert_string_equal(why.text, "outer: inner");
    assert_int_equal(fail(NULL, FATAL, "nobody listens"), FATAL);
}

static void buffer_ends_at_its_ceiling(void **state) {
    (void)state;
    struct buffer b = BUFFER(10);
    buffer_text(&b, "0123456789");
    assert_false(b.failed);
    assert_string_equal(b.data, "0123456789");
    buffer_text(&b, "x");
    assert_true(b.failed);
    assert_null(b.data);
    buffer_text(&b, "y");
    assert_true(b.failed);
    buffer_free(&b);
}

static void check_writer(void (*write)(struct buffer *, const char *), const char *text, const char *expected) {
    struct buffer b = BUFFER(1000);
    write(&b, text);
    assert_string_equal(b.data, expected);
    buffer_free(&b);
}

static void html(struct buffer *b, const char *text) {
    buffer_html(b, text, strlen(text));
}

static void writers_escape(void **state) {
    (void)state;
    check_writer(html, "<a href='x'>&\"Ж", "&lt;a href=&#39;x&#39;&gt;&amp;&quot;Ж");
    check_writer(buffer_logfmt, "plain", "plain");
    check_writer(buffer_logfmt, "", "\"\"");
    check_writer(buffer_logfmt, "a b\n\"c\"=\\\x01", "\"a b\\n\\\"c\\\"=\\\\\\x01\"");
    check_writer(buffer_logfmt, "x level=error", "\"x level=error\"");
    /* C1 as UTF-8 and as bytes, DEL, and what turns the order of what follows. */
    check_writer(
        buffer_logfmt,
        "a\xc2\x9b"
        "31mb",
        "\"a\\xc2\\x9b31mb\"");
    check_writer(
        buffer_logfmt,
        "a\x9b"
        "31mb",
        "\"a\\x9b31mb\"");
    check_writer(buffer_logfmt, "a\x7f\x1b]0;x\x07", "\"a\\x7f\\x1b]0;x\\x07\"");
    check_writer(
        buffer_logfmt,
        "a\xe2\x80\xae"
        "b\xe2\x81\xa6"
        "c",
        "\"a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c\"");
    check_writer(buffer_logfmt, "a\xe2\x80\xa8level=error", "\"a\\xe2\\x80\\xa8level=error\"");
    check_writer(buffer_logfmt, "K\xc3\xb6ln\xf0\x9f\x93\xa6", "K\xc3\xb6ln\xf0\x9f\x93\xa6");
    check_writer(buffer_percent, "a/b c~%é", "a%2Fb%20c~%25%C3%A9");
}

static void hex_is_lower_case(void **state) {
    (void)state;
    struct buffer b = BUFFER(10);
    buffer_hex(&b, "\x00\xab\xff", 3);
    assert_string_equal(b.data, "00abff");
    buffer_free(&b);
}

static void uuids_rise(void **state) {
    (void)state;
    struct uuid last = uuid_make();
    for (int i = 0; i < 20000; i++) {
        struct uuid next = uuid_make();
        assert_true(memcmp(last.bytes, next.bytes, sizeof next.bytes) < 0);
        assert_int_equal(next.bytes[6] >> 4, 7);
        assert_int_equal(next.bytes[8] >> 6, 2);
        last = next;
    }
}

static void uuids_are_read_back(void **state) {
    (void)state;
    struct uuid id = uuid_make(), again;
    char text[UUID_TEXT];
    assert_true(uuid_parse(uuid_text(id, text), &again));
    assert_memory_equal(id.bytes, again.bytes, sizeof id.bytes);
    assert_true(uuid_parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F", &again));
    const char *const wrong[] = {
        "",
        "017f22e2",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398ff",
        "017f22e2x79b0-7cc3-98c4-dc0c0c07398f",
        "g17f22e2-79b0-7cc3-98c4-dc0c0c07398f"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(uuid_parse(wrong[i], &again));
}

static void times_are_read_back(void **state) {
    (void)state;
    const int64_t moments[] = {0, 1, 999, 1795251331123, 4102444800000, 253402300799999};
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        char text[TIME_TEXT];
        int64_t again;
        assert_true(time_valid(moments[i]));
        assert_true(time_parse(time_text(moments[i], text), &again));
        assert_int_equal(again, moments[i]);
    }
    char text[TIME_TEXT];
    assert_string_equal(time_text(1795251331123, text), "2026-11-21T08:55:31.123Z");
    int64_t ms;
    assert_true(time_parse("2026-11-21T08:55:31Z", &ms));
    static const int64_t none[] = {-1, 253402300800000, 1700000000123456, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_false(time_valid(none[i]));
        assert_string_equal(time_text(none[i], text), "xxxx-xx-xxTxx:xx:xx.xxxZ");
    }
    assert_false(time_parse("1969-12-31T23:59:59.999Z", &ms));
    assert_false(time_parse("2026-11-21", &ms));
    assert_false(time_parse("2026-11-21T08:55:31", &ms));
}

static void traces_are_continued(void **state) {
    (void)state;
    char parent[TRACE_PARENT], child[TRACE_PARENT], id[TRACE_ID], child_id[TRACE_ID];
    trace_make(parent);
    assert_true(trace_valid(parent));
    trace_child(parent, child);
    assert_true(trace_valid(child));
    assert_string_equal(trace_id(parent, id), trace_id(child, child_id));
    assert_string_not_equal(parent, child);
    const char *const wrong[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(trace_valid(wrong[i]));
        trace_child(wrong[i], child);
        assert_true(trace_valid(child));
    }
}

/* Databases keep such values: of tables, of the last record that was handled. */
static void hashes_stay_what_they_are(void **state) {
    (void)state;
    char text[17];
    assert_true(hash_text(HASH_START, "") == 0xcbf29ce484222325);
    assert_true(hash_text(HASH_START, NULL) == 0xcbf29ce484222325);
    assert_true(hash_text(HASH_START, "a") == 0xaf63dc4c8601ec8c);
    assert_true(hash_text(HASH_START, "foobar") == 0x85944171f73967e8);
    assert_true(hash_bytes(hash_text(HASH_START, "foo"), "bar", 3) == 0x85944171f73967e8);
    assert_true(hash_member(HASH_START, "") == 0xaf64724c8602eb6e);
    assert_true(hash_member(hash_member(HASH_START, "a"), "b") != hash_member(hash_member(HASH_START, "ab"), ""));
    assert_string_equal(hex_text("\x00\x7f\xff\xa0", 4, text), "007fffa0");
    assert_string_equal(hex_text(NULL, 0, text), "");
}

static void return_ids_differ(void **state) {
    (void)state;
    char a[RETURN_ID], b[RETURN_ID];
    return_id_make(a);
    return_id_make(b);
    assert_int_equal(strlen(a), RETURN_ID - 1);
    assert_string_not_equal(a, b);
    assert_int_equal(strspn(a + 2, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), RETURN_ID - 3);
}

static void json_each_ends_and_goes_on_as_a_loop_does(void **state) {
    (void)state;
    json_auto_t *array = json_pack("[i, i, i]", 1, 2, 4), *empty = json_array();
    json_int_t sum = 0;
    json_each(i, one, array) {
        if (i == 1) continue;
        sum += json_integer_value(one);
    }
    assert_int_equal(sum, 5);
    json_each(i, one, array) {
        if (i == 1) break;
        sum += 10 * json_integer_value(one);
    }
    assert_int_equal(sum, 15);
    json_each(i, one, empty) sum = -1;
    json_each(i, one, NULL) sum = -1;
    assert_int_equal(sum, 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failure_quotes_itself),
        cmocka_unit_test(buffer_ends_at_its_ceiling),
        cmocka_unit_test(writers_escape),
        cmocka_unit_test(hex_is_lower_case),
        cmocka_unit_test(uuids_rise),
        cmocka_unit_test(uuids_are_read_back),
        cmocka_unit_test(times_are_read_back),
        cmocka_unit_test(traces_are_continued),
        cmocka_unit_test(hashes_stay_what_they_are),
        cmocka_unit_test(return_ids_differ),
        cmocka_unit_test(json_each_ends_and_goes_on_as_a_loop_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
