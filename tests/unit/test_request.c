#include "../../services/support/request/request.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char complete[] =
    "{\"order_id\":\"O-1\",\"model\":\"M\",\"shipment_id\":\"S\",\"serial_number\":\"SN-1\",\"location\":\"Berlin\","
    "\"cost\":{\"amount\":\"149.90\",\"currency\":\"EUR\"},\"customer_id\":\"C\",\"reason\":\"broken\"}";

static json_t *symbols; /* as the schema has them */

static json_t *load(const char *text) {
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    return json;
}

/* A complete body with one field replaced; value: JSON, or NULL to leave the field out. */
static json_t *body_with(const char *field, const char *value) {
    json_t *body = load(complete), *in = body;
    const char *name = field;
    if (!strncmp(field, "cost.", 5)) in = json_object_get(body, "cost"), name += 5;
    if (value)
        json_object_set_new(in, name, load(value));
    else
        json_object_del(in, name);
    return body;
}

static const char *error_text(const json_t *error, const char *member) {
    return json_string_value(json_object_get(error, member));
}

/* Exactly one error, of this field, that says this. says NULL: none. */
static void check(const json_t *body, const char *field, const char *says) {
    struct request q;
    json_t *errors = request_read(body, symbols, &q), *error = json_array_get(errors, 0);
    char *text = json_dumps(errors, 0);
    if (json_array_size(errors) != (says ? 1 : 0)) fail_msg("%s: %s", field, text);
    if (says && (strcmp(error_text(error, "field"), field) || !strstr(error_text(error, "detail"), says)))
        fail_msg("%s should say \"%s\": %s", field, says, text);
    free(text);
    json_decref(errors);
}

static void check_value(const char *field, const char *value, const char *says) {
    json_t *body = body_with(field, value);
    check(body, field, says);
    json_decref(body);
}

/* JSON text: n times the character. */
static char *repeated(const char *character, int n) {
    char *text = calloc(1, strlen(character) * (size_t)n + 3), *p = text;
    *p++ = '"';
    for (int i = 0; i < n; i++) p = stpcpy(p, character);
    *p = '"';
    return text;
}

static void check_length(const char *field, const char *character, int n, const char *says) {
    char *text = repeated(character, n);
    check_value(field, text, says);
    free(text);
}

static void a_complete_request_is_read(void **state) {
    (void)state;
    struct request q;
    json_t *body = load(complete), *errors = request_read(body, symbols, &q);
    assert_int_equal(json_array_size(errors), 0);
    assert_string_equal(q.order_id, "O-1");
    assert_string_equal(q.model, "M");
    assert_string_equal(q.shipment_id, "S");
    assert_string_equal(q.serial_number, "SN-1");
    assert_string_equal(q.location, "Berlin");
    assert_string_equal(q.customer_id, "C");
    assert_string_equal(q.reason, "broken");
    assert_string_equal(q.reason_code, "OTHER");
    assert_string_equal(q.cost_currency, "EUR");
    assert_int_equal(q.cost_minor, 14990);
    json_decref(errors);
    json_decref(body);
}

static void every_field_is_checked(void **state) {
    (void)state;
    for (const struct request_field *f = request_fields; f->name; f++) {
        check_value(f->name, NULL, f->fallback ? NULL : "is missing");
        check_value(f->name, "\"\"", "is empty");
        check_value(f->name, "\" \\u00a0\\u3000\"", "nothing but blanks");
        check_value(f->name, "\"\\u200b\\u200f\"", "nothing but blanks");
        check_value(f->name, "null", "is null");
        check_value(f->name, "7", "is a number");
        check_value(f->name, "7.5", "is a number");
        check_value(f->name, "true", "is true or false");
        check_value(f->name, "[\"a\"]", "is an array");
        check_value(f->name, "{\"a\":1}", "is an object");
        check_value(f->name, "\"a\\u0000b\"", "U+0000");
        check_value(f->name, "\"a\\u0007b\"", "U+0007 as character 2");
        check_value(f->name, "\"a\\u007fb\"", "U+007F");
        check_value(f->name, "\"a\\u0085b\"", "U+0085");
        check_length(f->name, "я", f->characters + 1, "characters; at most");
        if (!f->lines) {
            check_value(f->name, "\"a\\nb\"", "U+000A");
            check_value(f->name, "\"a\\tb\"", "U+0009");
            check_value(f->name, "\"a\\u2028b\"", "U+2028");
            check_value(f->name, "\" a\"", "begins or ends with a blank");
            check_value(f->name, "\"a\\u00a0\"", "begins or ends with a blank");
        }
    }
}

static void text_is_kept_as_typed(void **state) {
    (void)state;
    static const char *const texts[] = {
        "\"Ноутбук\"",
        "\"ノート 笔记本\"",
        "\"💻👩🏽‍🔧\"",
        "\"\\u202bשלום\\u202c \\u200f(مرحبا)\\u200e\"",
        "\"<script>alert('&')</script>\"",
        "\"' OR 1=1 --\"",
        "\"=HYPERLINK(1)\""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct request q;
        json_t *body = body_with("model", texts[i]), *errors = request_read(body, symbols, &q), *typed = load(texts[i]);
        assert_int_equal(json_array_size(errors), 0);
        assert_string_equal(q.model, json_string_value(typed));
        json_decref(typed);
        json_decref(errors);
        json_decref(body);
    }
    check_value("reason", "\"  two\\n\\tlines \\r\\n\"", NULL);
}

static void length_counts_characters(void **state) {
    (void)state;
    check_length("location", "💻", 100, NULL);
    check_length("location", "💻", 101, "has 101 characters; at most 100");
    check_length("model", "é", 100, NULL);
    check_length("model", "💻", 64, "has 256 bytes"); /* an id, which has a limit in bytes */
    check_length("reason", "я", 2000, NULL);
    check_length("reason", "я", 2001, "has 2001 characters; at most 2000");
}

static void costs_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *amount, *currency, *says;
    } costs[] = {
        {"0", "EUR", NULL},
        {"0.00", "EUR", NULL},
        {"149.9", "USD", NULL},
        {"9999999999999.99", "EUR", NULL},
        {"10000000000000", "EUR", "too large"},
        {"1234567890123456", "EUR", "too large"},
        {"-1", "EUR", "negative"},
        {"-0.01", "EUR", "negative"},
        {"1.555", "EUR", "finer than hundredths"},
        {"1.000", "EUR", "finer than hundredths"},
        {"1e3", "EUR", "not an amount"},
        {"+1", "EUR", "not an amount"},
        {".5", "EUR", "not an amount"},
        {"5.", "EUR", "not an amount"},
        {"1,5", "EUR", "not an amount"},
        {"1 000", "EUR", "not an amount"},
        {"0x10", "EUR", "not an amount"},
        {"NaN", "EUR", "not an amount"},
        {"１", "EUR", "not an amount"},
        {"1500", "JPY", NULL},
        {"1500.00", "JPY", NULL},
        {"1500.50", "JPY", "JPY has none"},
    };
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        json_t *body = load(complete);
        json_object_set_new(
            body, "cost", json_pack("{s:s, s:s}", "amount", costs[i].amount, "currency", costs[i].currency));
        check(body, "cost.amount", costs[i].says);
        json_decref(body);
    }
}

static void currencies_are_those_of_the_table(void **state) {
    (void)state;
    static const char *const unknown[] = {"\"eur\"", "\"EURO\"", "\"EU\"", "\"XXX\"", "\"ZZZ\"", "\"D A\"", "\"€\""};
    check_value("cost.currency", "\"CHF\"", NULL);
    check_value("cost.currency", "\"KWD\"", "more than two decimals");
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        check_value("cost.currency", unknown[i], "not a currency's ISO 4217 code");
}

static void the_cost_is_an_object(void **state) {
    (void)state;
    check_value("cost", "\"149.90 EUR\"", "is text; write {");
    check_value("cost", "149.90", "is a number");
    check_value("cost", "null", "is null");
    check_value("cost", "[1]", "is an array");
}

static void unknown_members_are_refused_by_name(void **state) {
    (void)state;
    check_value("serial_nubmer", "\"x\"", "no such field");
    check_value("cost.curency", "\"x\"", "no such field");
    json_t *body = load(complete);
    json_object_set_new(body, "cost.amount", json_string("1")); /* a name of the form's, in JSON */
    check(body, "cost.amount", "no such field");
    json_decref(body);
}

static void a_flood_of_errors_is_cut(void **state) {
    (void)state;
    struct request q;
    json_t *body = json_object();
    char name[16];
    for (int i = 0; i < 1000; i++) snprintf(name, sizeof name, "x%d", i), json_object_set_new(body, name, json_null());
    json_t *errors = request_read(body, symbols, &q);
    assert_int_equal(json_array_size(errors), ERRORS_MAX);
    json_decref(errors);
    json_decref(body);
}

/* The schema alone says which there are. */
static void a_kind_of_reason_is_a_symbol_of_the_schema(void **state) {
    (void)state;
    struct request q;
    check_value("reason_code", "\"WRONG_ITEM\"", NULL);
    check_value(
        "reason_code", "\"wrong_item\"",
        "is \"wrong_item\"; it must be one of DEFECTIVE, WRONG_ITEM, OTHER, or left out");
    json_t *body = body_with("reason_code", "\"WRONG_ITEM\""), *errors = request_read(body, symbols, &q);
    assert_string_equal(q.reason_code, "WRONG_ITEM");
    json_decref(errors);
    errors = request_read(body, NULL, &q);
    assert_non_null(strstr(error_text(json_array_get(errors, 0), "detail"), "must be one of OTHER"));
    json_decref(errors);
    json_decref(body);
    check_value("reason_code", "\"RECALLED\"", "must be one of");
    json_array_append_new(symbols, json_string("RECALLED"));
    check_value("reason_code", "\"RECALLED\"", NULL);
}

static void errors_come_in_the_form_s_order(void **state) {
    (void)state;
    struct request q;
    json_t *body = json_object(), *errors = request_read(body, symbols, &q);
    size_t n = 0;
    for (const struct request_field *f = request_fields; f->name; f++)
        if (!f->fallback) assert_string_equal(error_text(json_array_get(errors, n++), "field"), f->name);
    assert_int_equal(json_array_size(errors), n);
    json_decref(errors);
    json_decref(body);
}

static void a_form_reads_like_json(void **state) {
    (void)state;
    struct request q;
    json_t *form = load(
        "{\"order_id\":\"O-1\",\"model\":\"M\",\"shipment_id\":\"S\",\"serial_number\":\"SN-1\",\"location\":\"Berlin\","
        "\"cost.amount\":\"1.50\",\"cost.currency\":\"EUR\",\"customer_id\":\"C\",\"reason\":\"a\\r\\nb\\rc\\r\"}");
    json_t *body = request_nest(form), *errors = request_read(body, symbols, &q);
    assert_int_equal(json_array_size(errors), 0);
    assert_int_equal(q.cost_minor, 150);
    assert_string_equal(q.reason, "a\nb\rc\r");
    for (const struct request_field *f = request_fields; f->name; f++)
        if (!f->fallback) assert_non_null(request_text(body, f));
    json_decref(errors);
    json_decref(body);
    json_object_set_new(form, "cost", json_string("1"));
    body = request_nest(form);
    check(body, "cost", "is text");
    json_decref(body);
    json_decref(form);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_request_is_read), cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(text_is_kept_as_typed),      cmocka_unit_test(length_counts_characters),
        cmocka_unit_test(costs_are_checked),          cmocka_unit_test(currencies_are_those_of_the_table),
        cmocka_unit_test(the_cost_is_an_object),      cmocka_unit_test(unknown_members_are_refused_by_name),
        cmocka_unit_test(a_flood_of_errors_is_cut),   cmocka_unit_test(errors_come_in_the_form_s_order),
        cmocka_unit_test(a_form_reads_like_json),     cmocka_unit_test(a_kind_of_reason_is_a_symbol_of_the_schema),
    };
    symbols = json_pack("[s, s, s]", "DEFECTIVE", "WRONG_ITEM", "OTHER");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(symbols);
    return failed;
}
