/* Templates: what a page's data becomes, and that nothing gets out unescaped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/base/assets.h"
#include "chassis/web/template.h"

#include <cmocka.h>
#include <string.h>

#define FILE_OF(name, text)                                                                                            \
    { name, text, sizeof text - 1 }

static const struct asset files[] = {
    FILE_OF("value.html", "<p title=\"{{a}}\">{{ a }}</p>"),
    FILE_OF("kinds.html", "{{s}}|{{i}}|{{r}}|{{t}}|{{f}}|{{n}}|{{none}}|{{o}}|{{l}}"),
    FILE_OF("dotted.html", "{{a.b.c}}|{{a.x.c}}|{{#a}}{{b.c}}|{{top}}{{/a}}"),
    FILE_OF("list.html", "{{#rows}}[{{name}}{{^name}}?{{/name}} {{top}}]{{/rows}}{{^rows}}none{{/rows}}"),
    FILE_OF("nested.html", "{{#rows}}<{{#.}}{{.}},{{/.}}>{{/rows}}"),
    FILE_OF("shown.html", "{{#v}}yes{{/v}}{{^v}}no{{/v}}"),
    FILE_OF("again.html", "{{#v}}{{v}}{{/v}}"),
    FILE_OF("comment.html", "a{{! {{#x is not read }}b"),
    FILE_OF("outer.html", "1{{> inner.html}}3"),
    FILE_OF("inner.html", "{{#list}}{{> item.html}}{{/list}}"),
    FILE_OF("item.html", "({{.}})"),
    FILE_OF("loop.html", "{{> loop.html}}"),
    FILE_OF("unclosed.html", "\n\n{{#a}}text"),
    FILE_OF("wrong.html", "\n{{#a}}{{/b}}"),
    FILE_OF("stray.html", "{{/a}}"),
    FILE_OF("cut.html", "text {{name"),
    FILE_OF("missing.html", "{{#never}}{{> nowhere.html}}{{/never}}"),
    FILE_OF("triple.html", "{{{a}}}"),
    FILE_OF("raw.html", "{{&a}}"),
    FILE_OF("name.html", "{{a b}}"),
    FILE_OF("plain.c", "[{{v}}]"),
    FILE_OF("times.html", "{{v|moment}}/{{ v|clock }}/{{v|clock_ms}}/{{v|duration}}"),
    FILE_OF(
        "words.html",
        "{{v|query}}/{{v|name}}/{{v|words}}/{{v|tone}}/{{v|tone|shape}}/{{a.v|words}}/{{#l}}{{.|words}}{{/l}}"),
    FILE_OF(
        "is.html",
        "{{#v=open}}open{{/v=open}}{{^v=open}}other{{/v=open}}{{#v|tone=bad}}!{{/v|tone=bad}}{{#v|tone}}:{{/v|tone}}"),
    FILE_OF("filter.html", "\n{{a|nothing}}"),
    FILE_OF("filters.html", "{{#a|tone|}}{{/a|tone|}}"),
};

static const char *const errors[][3] = {
    {"loop.html", "nested too deep", "line 1"},
    {"unclosed.html", "not closed: \"a\"", "line 3"},
    {"wrong.html", "closes what is not open: \"b\"", "line 2"},
    {"stray.html", "closes what is not open", "line 1"},
    {"cut.html", "a tag is not closed", "line 1"},
    {"missing.html", "there is no file \"nowhere.html\"", "line 1"},
    {"triple.html", "no such tag", "line 1"},
    {"raw.html", "no such tag", "line 1"},
    {"name.html", "not a name", "line 1"},
    {"filter.html", "no such filter: \"a|nothing\"", "line 2"},
    {"filters.html", "no such filter", "line 1"},
    {"absent.html", "no page \"absent.html\"", ""},
};

static void assert_renders(const char *name, const char *json, const char *expected) {
    struct buffer out = BUFFER(10000);
    struct failure why = {.text = ""};
    json_t *data = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(data);
    if (template_render(name, data, &out, &why) != OK) print_error("%s\n", why.text);
    assert_string_equal(out.data ? out.data : "", expected);
    json_decref(data);
    buffer_free(&out);
}

static void test_escapes_every_value(void **state) {
    (void)state;
    assert_renders(
        "value.html", "{\"a\":\"<b>&\\\"'\"}", "<p title=\"&lt;b&gt;&amp;&quot;&#39;\">&lt;b&gt;&amp;&quot;&#39;</p>");
    assert_renders("value.html", "{\"a\":\"ж 📦 שלום\"}", "<p title=\"ж 📦 שלום\">ж 📦 שלום</p>");
}

static void test_kinds_of_values(void **state) {
    (void)state;
    assert_renders(
        "kinds.html",
        "{\"s\":\"x\",\"i\":-9007199254740993,\"r\":0.5,\"t\":true,\"f\":false,\"n\":null,\"o\":{},\"l\":[1]}",
        "x|-9007199254740993|0.5|true|false||||");
}

static void test_names(void **state) {
    (void)state;
    assert_renders("dotted.html", "{\"a\":{\"b\":{\"c\":\"in\"}},\"b\":{\"c\":\"out\"},\"top\":1}", "in||in|1");
    assert_renders(
        "list.html", "{\"top\":7,\"rows\":[{\"name\":\"a\"},{\"top\":8},{\"name\":null}]}", "[a 7][? 8][? 7]");
    assert_renders("list.html", "{\"name\":\"outer\",\"rows\":[{\"name\":\"\"}]}", "[? ]");
}

static void test_sections(void **state) {
    (void)state;
    static const char *const hidden[] = {"{}",           "{\"v\":false}", "{\"v\":null}",
                                         "{\"v\":\"\"}", "{\"v\":0}",     "{\"v\":[]}"};
    static const char *const shown[] = {"{\"v\":true}", "{\"v\":\"0\"}", "{\"v\":1}", "{\"v\":{}}", "{\"v\":[false]}"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) assert_renders("shown.html", hidden[i], "no");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) assert_renders("shown.html", shown[i], "yes");
    assert_renders("again.html", "{\"v\":\"text\"}", "text");
    assert_renders("list.html", "{\"rows\":[]}", "none");
    assert_renders("nested.html", "{\"rows\":[[1,\"<\",null],[]]}", "<1,&lt;,,><>");
}

static void test_filters_make_words(void **state) {
    (void)state;
    assert_renders(
        "times.html", "{\"v\":\"2026-11-21T09:28:51.123Z\"}", "2026-11-21 09:28:51.123/09:28:51/09:28:51.123/");
    assert_renders("times.html", "{\"v\":3200}", "///3.2 s");
    assert_renders("times.html", "{\"v\":\"<soon>\"}", "&lt;soon&gt;///");
    assert_renders("times.html", "{}", "///");
    assert_renders("words.html", "{\"v\":\"a b<\"}", "a%20b%3C/a b&lt;/a b&lt;////");
    assert_renders(
        "words.html", "{\"v\":\"x.DAMAGED_IN_TRANSIT\",\"a\":{\"v\":\"DEFECTIVE\"},\"l\":[\"A_B\",1]}",
        "x.DAMAGED_IN_TRANSIT/DAMAGED_IN_TRANSIT/x.damaged in transit///Defective/A b");
    assert_renders("words.html", "{\"v\":\"handled\"}", "handled/handled/handled/ok/●//");
    assert_renders("words.html", "{\"v\":7}", "//////");
    assert_renders("is.html", "{\"v\":\"open\"}", "open");
    assert_renders("is.html", "{\"v\":\"failed\"}", "other!:");
    assert_renders("is.html", "{\"v\":\"opened\"}", "other");
    assert_renders("is.html", "{}", "other");
}

static void test_comments_and_partials(void **state) {
    (void)state;
    assert_renders("comment.html", "{}", "ab");
    assert_renders("outer.html", "{\"list\":[\"a\",\"b\"]}", "1(a)(b)3");
    assert_renders("item.html", "\"x\"", "(x)");
}

static void test_errors_name_file_and_line(void **state) {
    (void)state;
    json_t *data = json_object();
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct buffer out = BUFFER(10000);
        struct failure why = {.text = ""};
        assert_int_equal(template_render(errors[i][0], data, &out, &why), FATAL);
        if (!strstr(why.text, errors[i][1])) print_error("%s\n", why.text);
        assert_non_null(strstr(why.text, errors[i][0]));
        assert_non_null(strstr(why.text, errors[i][1]));
        assert_non_null(strstr(why.text, errors[i][2]));
        buffer_free(&out);
    }
    json_decref(data);
}

static void test_a_file_that_is_no_page_gets_values_as_they_are(void **state) {
    (void)state;
    struct buffer plain = BUFFER(1000), page = BUFFER(1000);
    struct failure why;
    json_t *data = json_pack("{s:s}", "v", "a < \"b\" && 'c'");
    assert_int_equal(template_render_plain("plain.c", data, &plain, &why), OK);
    assert_string_equal(plain.data, "[a < \"b\" && 'c']");
    assert_int_equal(template_render("plain.c", data, &page, &why), OK);
    assert_null(strpbrk(page.data, "<>\"'"));
    buffer_free(&plain), buffer_free(&page);
    json_decref(data);
}

/* Every page of the chassis can be read without data, so a slip in one is found here and not by its first reader. */
static void test_own_pages_are_well_formed(void **state) {
    (void)state;
    int pages = 0;
    json_t *data = json_object();
    for (size_t i = 0; i < chassis_assets_n; i++) {
        struct buffer out = BUFFER(100000);
        struct failure why = {.text = ""};
        if (!strstr(chassis_assets[i].name, ".html")) continue;
        if (template_render(chassis_assets[i].name, data, &out, &why) != OK) fail_msg("%s", why.text);
        assert_false(out.failed);
        pages++;
        buffer_free(&out);
    }
    assert_true(pages >= 5);
    json_decref(data);
}

static void test_stylesheet_stays_small(void **state) {
    (void)state;
    assert_non_null(asset_find("style.css"));
    assert_in_range(asset_find("style.css")->n, 1000, 16 * 1024);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes_every_value),
        cmocka_unit_test(test_kinds_of_values),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_filters_make_words),
        cmocka_unit_test(test_comments_and_partials),
        cmocka_unit_test(test_errors_name_file_and_line),
        cmocka_unit_test(test_a_file_that_is_no_page_gets_values_as_they_are),
        cmocka_unit_test(test_own_pages_are_well_formed),
        cmocka_unit_test(test_stylesheet_stays_small)};
    assets_of_service(files, sizeof files / sizeof *files);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
