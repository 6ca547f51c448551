/* Hosts, ports and sites: what is one, and which are the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/base/authority.h"

#include <cmocka.h>
#include <string.h>

static void assert_authority(const char *text, const char *host, int port) {
    struct authority a;
    if (!authority_read(text, strlen(text), &a)) fail_msg("\"%s\" is a host", text);
    assert_string_equal(a.host, host);
    assert_int_equal(a.port, port);
}

static void what_is_a_host(void **state) {
    (void)state;
    assert_authority("localhost", "localhost", 0);
    assert_authority("LocalHost.:8000", "localhost", 8000);
    assert_authority("fraud-check_1.example:65535", "fraud-check_1.example", 65535);
    assert_authority("127.0.0.1:1", "127.0.0.1", 1);
    assert_authority("[2001:DB8::1]:443", "[2001:db8::1]", 443);
    assert_authority("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]", 0);
}

static void what_is_none(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        ".",
        ":80",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a:1:2",
        "a b",
        "a/b",
        "a@b",
        "a,b",
        "[]",
        "[::1",
        "[::1]x",
        "[g]",
        "::1",
        "a..b",
        "a\\b",
        "a?b",
        "a#b",
        "a%2e",
        "\xc3\xa9",
        "[::1%25eth0]",
        "..",
        "a:\t80",
        " a",
        "a ",
        "a:8000000000000000000001"};
    struct authority a;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (authority_read(texts[i], strlen(texts[i]), &a))
            fail_msg("\"%s\" is no host, but was read as %s %d", texts[i], a.host, a.port);
    char longer[400];
    memset(longer, 'a', sizeof longer);
    assert_false(authority_read(longer, sizeof longer, &a));
    assert_false(authority_read("a\0b", 3, &a));
}

static void what_is_a_site(void **state) {
    (void)state;
    struct authority a;
    static const char *const none[] = {
        "http://x/path", "http://x/?q=", "http://x?q=",    "http://x#y", "http://user@x/", "http://user:p@x:1/",
        "ftp://x",       "HTTP:/x",      "http://",        "http:///",   "x:8000",         "http://x//",
        "http://x\\y",   "https://x:0/", "http://x/\r\n/", "file:///x",  "http://x y/",    ""};
    assert_true(site_read("http://localhost:8000", &a));
    assert_int_equal(a.port, 8000);
    assert_true(site_read("https://Returns.example/", &a));
    assert_string_equal(a.host, "returns.example");
    assert_int_equal(a.port, 443);
    assert_true(site_read("http://[::1]", &a));
    assert_int_equal(a.port, 80);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (site_read(none[i], &a)) fail_msg("\"%s\" is no site", none[i]);
}

static bool same(const char *x, const char *y) {
    struct authority a, b;
    assert_true(authority_read(x, strlen(x), &a) && authority_read(y, strlen(y), &b));
    return authority_same(&a, &b);
}

static void which_are_the_same(void **state) {
    (void)state;
    assert_true(same("a", "A.") && same("a", "a:80") && same("a:443", "a") && same("a:1", "a:1"));
    assert_false(same("a", "b") || same("a:80", "a:443") || same("a", "a:8000") || same("a:1", "a:2"));
}

static void which_are_this_machine(void **state) {
    (void)state;
    static const char *const own[] = {"localhost", "127.0.0.1", "127.255.0.3", "[::1]", "LOCALHOST."};
    static const char *const other[] = {"localhost.evil", "128.0.0.1", "[::2]", "127.0.0.1.evil", "127.1", "0.0.0.0"};
    struct authority a;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        assert_true(authority_read(own[i], strlen(own[i]), &a) && authority_is_loopback(&a));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_true(authority_read(other[i], strlen(other[i]), &a) && !authority_is_loopback(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_a_host), cmocka_unit_test(what_is_none), cmocka_unit_test(what_is_a_site),
        cmocka_unit_test(which_are_the_same), cmocka_unit_test(which_are_this_machine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
