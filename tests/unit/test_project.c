#include "chassis/avro/codec.h"
#include "chassis/base/money.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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
    return project(&(struct written){.json = event}, PICKED, sizeof PICKED / sizeof *PICKED, out, why);
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

/* The one rule for ids, of those of events, too. */
static void test_reads_ids(void **state) {
    (void)state;
    static const struct {
        const char *id, *says; /* NULL: it is one */
    } cases[] = {
        {"RMA/2026/f0f1", NULL},
        {" .a b. ", NULL},
        {"K\xc3\xb6ln \xf0\x9f\x93\xa6", NULL},
        {"", "\"order_id\" is empty"},
        {".", "no address can hold"},
        {"..", "no address can hold"},
        {"a\\u0000b", "holds a NUL character"},
        {"a\\u001bb", "control character U+001B"},
        {"a\\u009bb", "control character U+009B"},
        {"a\\u2028b", "control character U+2028"},
        {"\\u200b ", "nothing that can be seen"}};
    static const struct field id[] = {FIELD_ID(struct picked, order_id)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct picked p = {0};
        struct failure why = {0};
        char text[200];
        snprintf(text, sizeof text, "{\"order_id\":\"%s\"}", cases[i].id);
        json_t *event = json_loads(text, JSON_ALLOW_NUL, NULL);
        assert_non_null(event);
        verdict v = project(&(struct written){.json = event}, id, 1, &p, &why);
        if ((v == OK) != !cases[i].says || (cases[i].says && !strstr(why.text, cases[i].says)))
            fail_msg("%s: %s", text, why.text);
        json_decref(event);
    }
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

/* --- By the writer's types. Each case is a record with one field f of that type, written from JSON. */

struct one {
    const char *text;
    int64_t number, moment;
    bool flag;
    struct money money;
};
static const struct field ONE[] = {
    {"f", TYPE_TEXT, offsetof(struct one, text), NULL},     {"f", TYPE_INT, offsetof(struct one, number), NULL},
    {"f", TYPE_BOOL, offsetof(struct one, flag), NULL},     {"f", TYPE_MONEY, offsetof(struct one, money), NULL},
    {"f", TYPE_MOMENT, offsetof(struct one, moment), NULL},
};
enum { WANT_TEXT, WANT_INT, WANT_BOOL, WANT_MONEY, WANT_MOMENT, WANT_LIST };

static struct written the_event;
static struct schema *the_schema;

static verdict written_as(const char *type, const char *value, int wanted, struct one *out, struct failure *why) {
    char text[2000], json_text[300];
    static struct buffer body = BUFFER(10000); /* lives as long as the event */
    written_free(&the_event);
    buffer_free(&body);
    schema_free(&the_schema);
    *why = (struct failure){0};
    if (!type) return OK;
    snprintf(text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":%s}]}", type);
    snprintf(json_text, sizeof json_text, "{\"f\":%s}", value);
    json_t *json = json_loads(json_text, JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    if (schema_parse(text, strlen(text), &the_schema, why) != OK) fail_msg("%s: %s", type, why->text);
    if (codec_encode(the_schema, json, &body, why) != OK) fail_msg("%s: %s", type, why->text);
    if (codec_read(the_schema, body.data ? body.data : "", body.length, &the_event, why) != OK)
        fail_msg("%s: %s", type, why->text);
    json_decref(json);
    *out = (struct one){0};
    return wanted == WANT_LIST ? OK : project(&the_event, &ONE[wanted], 1, out, why);
}

static struct one taken(const char *type, const char *value, int wanted) {
    struct one out;
    struct failure why;
    if (written_as(type, value, wanted, &out, &why) != OK) fail_msg("%s: %s", type, why.text);
    return out;
}

static void not_taken(const char *type, const char *value, int wanted, const char *says) {
    struct one out;
    struct failure why;
    if (written_as(type, value, wanted, &out, &why) != REJECT) fail_msg("%s was taken", type);
    if (!strstr(why.text, says) || !strstr(why.text, "\"f")) fail_msg("\"%s\" does not say \"%s\"", why.text, says);
}

#define LOGICAL(type, name) "{\"type\":\"" type "\",\"logicalType\":\"" name "\"}"
#define DECIMAL(precision, scale)                                                                                      \
    "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":" #precision ",\"scale\":" #scale "}"
#define PRICE(type)                                                                                                    \
    "{\"type\":\"record\",\"name\":\"M\",\"fields\":[{\"name\":\"amount\",\"type\":" type                              \
    "},{\"name\":\"currency\",\"type\":\"string\"}]}"
#define EUR(amount) "{\"amount\":" amount ",\"currency\":\"EUR\"}"

/* 12597 is "15" as two bytes: read as text it would be fifteen. */
static void test_an_amount_that_lost_its_decimal(void **state) {
    (void)state;
    assert_int_equal(taken(PRICE(DECIMAL(15, 2)), EUR("\"125.97\""), WANT_MONEY).money.minor, 12597);
    assert_int_equal(taken(PRICE(DECIMAL(9, 4)), EUR("\"125.9700\""), WANT_MONEY).money.minor, 12597);
    assert_int_equal(taken(PRICE(DECIMAL(100, 2)), EUR("\"125.97\""), WANT_MONEY).money.minor, 12597);
    assert_int_equal(taken(PRICE(DECIMAL(9, 0)), EUR("\"125\""), WANT_MONEY).money.minor, 12500);
    assert_int_equal(taken(PRICE("[\"null\"," DECIMAL(9, 2) "]"), EUR("\"125.97\""), WANT_MONEY).money.minor, 12597);
    assert_int_equal(taken(PRICE("\"string\""), EUR("\"125.97\""), WANT_MONEY).money.minor, 12597);
    static const char *const lost[] = {
        PRICE("\"bytes\""),
        PRICE("\"bytes\",\"logicalType\":\"decimal\",\"precision\":15,\"scale\":2"),
        PRICE(LOGICAL("bytes", "decimal")),
        PRICE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":2,\"scale\":3}"),
        PRICE("{\"type\":\"bytes\",\"logicalType\":\"Decimal\",\"precision\":15,\"scale\":2}"),
        PRICE("[\"null\",\"bytes\"]"),
        PRICE("[\"bytes\",\"string\"]"),
        PRICE("{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}"),
        /* Five digits do not fit in two bytes, so Avro says that it is no decimal. */
        PRICE("{\"type\":\"fixed\",\"name\":\"F\",\"size\":2,\"logicalType\":\"decimal\",\"precision\":5,\"scale\":2}"),
    };
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++)
        not_taken(lost[i], EUR("\"15\""), WANT_MONEY, "\"f.amount\" is not a decimal amount: it was written as");
    not_taken(PRICE(DECIMAL(9, 3)), EUR("\"125.975\""), WANT_MONEY, "finer than hundredths");
    not_taken(PRICE("\"long\""), EUR("12597"), WANT_MONEY, "is not money");
    not_taken(PRICE("\"double\""), EUR("125.97"), WANT_MONEY, "is not money");
    not_taken(PRICE("\"string\""), EUR("\"1e3\""), WANT_MONEY, "is not an amount");
}

static void test_moments(void **state) {
    (void)state;
    enum { AT = 1700000000 };
    assert_int_equal(
        taken(LOGICAL("long", "timestamp-millis"), "1700000000123", WANT_MOMENT).moment, AT * 1000LL + 123);
    assert_int_equal(
        taken(LOGICAL("long", "timestamp-micros"), "1700000000123999", WANT_MOMENT).moment, AT * 1000LL + 123);
    assert_int_equal(
        taken(LOGICAL("long", "timestamp-nanos"), "1700000000123999999", WANT_MOMENT).moment, AT * 1000LL + 123);
    assert_int_equal(taken("\"long\"", "1700000000123", WANT_MOMENT).moment, AT * 1000LL + 123);
    assert_int_equal(taken("[\"null\",\"long\"]", "1700000000123", WANT_MOMENT).moment, AT * 1000LL + 123);
    assert_int_equal(
        taken(LOGICAL("long", "timestamp-millis"), "253402300799999", WANT_MOMENT).moment, 253402300799999);
    assert_int_equal(taken("\"long\"", "0", WANT_MOMENT).moment, 0);
    not_taken("\"long\"", "1700000000123456", WANT_MOMENT, "no moment of the years 1970 to 9999 in milliseconds");
    not_taken(LOGICAL("long", "timestamp-millis"), "253402300800000", WANT_MOMENT, "no moment of the years");
    not_taken(LOGICAL("long", "timestamp-millis"), "-1", WANT_MOMENT, "no moment of the years");
    not_taken(LOGICAL("long", "timestamp-micros"), "-1", WANT_MOMENT, "no moment of the years");
    not_taken(LOGICAL("long", "timestamp-micros"), "-9223372036854775807", WANT_MOMENT, "no moment of the years");
    not_taken("\"long\"", "9223372036854775807", WANT_MOMENT, "no moment of the years");
    static const char *const others[] = {
        LOGICAL("long", "local-timestamp-millis"),
        LOGICAL("long", "local-timestamp-micros"),
        LOGICAL("long", "time-micros"),
        LOGICAL("int", "time-millis"),
        LOGICAL("int", "date"),
        "\"int\""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        not_taken(others[i], "19700", WANT_MOMENT, "is not a moment: it was written as");
    not_taken("\"string\"", "\"2026-11-21T09:28:51Z\"", WANT_MOMENT, "written as string");
    not_taken("\"double\"", "1.5", WANT_MOMENT, "written as double");
    not_taken("[\"int\"," LOGICAL("long", "timestamp-millis") "]", "1700000000", WANT_MOMENT, "was written as int");
}

static void test_integers(void **state) {
    (void)state;
    assert_int_equal(taken("\"int\"", "7", WANT_INT).number, 7);
    assert_int_equal(taken("\"double\"", "7.0", WANT_INT).number, 7);
    assert_int_equal(taken("\"float\"", "-16777216.0", WANT_INT).number, -16777216);
    assert_int_equal(taken("[\"int\",\"long\"]", "7", WANT_INT).number, 7);
    not_taken("\"double\"", "7.5", WANT_INT, "it was written as double, and is 7.5");
    not_taken("\"double\"", "1e300", WANT_INT, "it was written as double");
    not_taken(LOGICAL("int", "date"), "7", WANT_INT, "written as int (date)");
    not_taken(LOGICAL("long", "timestamp-millis"), "7", WANT_INT, "written as long (timestamp-millis)");
    not_taken(DECIMAL(9, 0), "\"7\"", WANT_INT, "written as bytes (decimal)");
    not_taken("\"string\"", "\"7\"", WANT_INT, "written as string");
    not_taken("\"boolean\"", "true", WANT_INT, "written as boolean");
    not_taken("\"int\"", "1", WANT_BOOL, "is not true or false: it was written as int");
}

static void test_texts(void **state) {
    (void)state;
    /* The code points of its UTF-8, as plain bytes are in JSON. */
    static const char koeln[] = "\"K\\u00c3\\u00b6ln\"";
    assert_string_equal(taken("\"bytes\"", koeln, WANT_TEXT).text, "K\xc3\xb6ln");
    assert_string_equal(taken("[\"null\",\"bytes\"]", koeln, WANT_TEXT).text, "K\xc3\xb6ln");
    assert_string_equal(taken("\"string\"", koeln, WANT_TEXT).text, "K\xc3\x83\xc2\xb6ln");
    assert_string_equal(
        taken("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "\"B\"", WANT_TEXT).text, "B");
    assert_string_equal(taken(LOGICAL("string", "uuid"), "\"x\"", WANT_TEXT).text, "x");
    assert_string_equal(
        taken(
            "{\"type\":\"fixed\",\"name\":\"F\",\"size\":16,\"logicalType\":\"uuid\"}",
            "\"\\u0001#Eg\\u0089\\u00ab\\u00cd\\u00ef\\u0001#Eg\\u0089\\u00ab\\u00cd\\u00ef\"", WANT_TEXT)
            .text,
        "01234567-89ab-cdef-0123-456789abcdef");
    not_taken("\"bytes\"", "\"K\\u00f6ln\"", WANT_TEXT, "written as bytes, which are not UTF-8");
    not_taken("\"bytes\"", "\"a\\u0000b\"", WANT_TEXT, "holds a NUL");
    assert_string_equal(taken("[\"bytes\",\"string\"]", "\"x\"", WANT_TEXT).text, "x"); /* its branch is known */
    not_taken("{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}", "\"x\"", WANT_TEXT, "written as F");
    not_taken(
        "{\"type\":\"fixed\",\"name\":\"F\",\"size\":12,\"logicalType\":\"duration\"}", "\"abcdefghijkl\"", WANT_TEXT,
        "written as F (duration)");
    not_taken(DECIMAL(9, 2), "\"1.00\"", WANT_TEXT, "written as bytes (decimal)");
    not_taken("\"long\"", "7", WANT_TEXT, "written as long");
}

/* A text that was made lasts as long as the event, however often it is asked for. */
static void test_a_converted_text_lasts(void **state) {
    (void)state;
    struct one first = taken("\"bytes\"", "\"K\\u00c3\\u00b6ln\"", WANT_TEXT), again;
    struct failure why;
    assert_int_equal(project(&the_event, &ONE[WANT_TEXT], 1, &again, &why), OK);
    assert_string_equal(first.text, again.text);
}

static void test_items_of_a_list(void **state) {
    (void)state;
    struct one out;
    struct failure why;
    struct items items;
    struct written item;
    (void)taken(
        "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"I\",\"fields\":[{\"name\":\"f\",\"type\":\"bytes\"}]}}",
        "[{\"f\":\"a\"},{\"f\":\"K\\u00c3\\u00b6ln\"}]", WANT_LIST);
    assert_int_equal(written_items(&the_event, "f", &items, &why), OK);
    assert_true(items_next(&items, &item));
    assert_true(items_next(&items, &item));
    assert_int_equal(project(&item, &ONE[WANT_TEXT], 1, &out, &why), OK);
    assert_string_equal(out.text, "K\xc3\xb6ln");
    assert_int_equal(project(&item, &ONE[WANT_MONEY], 1, &out, &why), REJECT);
    assert_false(items_next(&items, &item));
    (void)taken("\"string\"", "\"x\"", WANT_TEXT);
    assert_int_equal(written_items(&the_event, "f", &items, &why), REJECT);
    assert_int_equal(written_items(&the_event, "g", &items, &why), OK);
    assert_false(items_next(&items, &item));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_picks_named_fields),
        cmocka_unit_test(test_reads_ids),
        cmocka_unit_test(test_falls_back),
        cmocka_unit_test(test_refuses_and_names_the_field),
        cmocka_unit_test(test_finer_scale_of_whole_hundredths),
        cmocka_unit_test(test_money),
        cmocka_unit_test(test_an_amount_that_lost_its_decimal),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_a_converted_text_lasts),
        cmocka_unit_test(test_items_of_a_list),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    (void)!pick(NULL, NULL, NULL);
    (void)!written_as(NULL, NULL, 0, NULL, &(struct failure){0});
    return failures;
}
