#include "chassis/avro/codec.h"

#include <avro.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One field of every kind. */
#define ALL                                                                                                            \
    "{\"type\":\"record\",\"name\":\"All\",\"namespace\":\"t.x\",\"fields\":["                                         \
    "{\"name\":\"n\",\"type\":\"null\"},{\"name\":\"b\",\"type\":\"boolean\"},{\"name\":\"i\",\"type\":\"int\"},"      \
    "{\"name\":\"l\",\"type\":\"long\"},{\"name\":\"f\",\"type\":\"float\"},{\"name\":\"d\",\"type\":\"double\"},"     \
    "{\"name\":\"s\",\"type\":\"string\"},{\"name\":\"y\",\"type\":\"bytes\"},"                                        \
    "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"Colour\",\"symbols\":[\"RED\",\"BLUE\"]}},"                \
    "{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"Three\",\"size\":3}},"                                    \
    "{\"name\":\"a\",\"type\":{\"type\":\"array\",\"items\":\"Colour\"}},"                                             \
    "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":[\"null\",\"long\",\"string\"]}},"                          \
    "{\"name\":\"c\",\"type\":{\"type\":\"record\",\"name\":\"t.money.Money\",\"fields\":["                            \
    "{\"name\":\"amount\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":15,\"scale\":2}},"    \
    "{\"name\":\"currency\",\"type\":\"string\"}]}},"                                                                  \
    "{\"name\":\"again\",\"type\":[\"null\",\"t.money.Money\"],\"default\":null}]}"

static const unsigned char ALL_BYTES[] = {
    1, 0x0d, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,    /* true, -7, INT64_MIN */
    0, 0,    0xc0, 0x3f, 0,    0,    0,    0,    0,    0,    4,    0xc0, /* 1.5, -2.5 */
    6, 0xe2, 0x82, 0xac, 4,    0xff, 0,    2,    1,    2,    3,          /* euro sign, bytes, BLUE, fixed */
    4, 0,    2,    0,                                                    /* two colours */
    1, 10,   2,    'k',  4,    2,    'v',  0,                            /* a block with its size: {"k": "v"} */
    4, 0x3a, 0x8e, 6,    'E',  'U',  'R',  0};                           /* 149.90 EUR, null */

static struct schema *parse(const char *text) {
    struct schema *s;
    struct failure why = {0};
    if (schema_parse(text, strlen(text), &s, &why) != OK) fail_msg("%s", why.text);
    return s;
}

static void refused_schema(const char *text, const char *says) {
    struct schema *s;
    struct failure why = {0};
    assert_int_equal(schema_parse(text, strlen(text), &s, &why), REJECT);
    assert_null(s);
    if (!strstr(why.text, says)) fail_msg("\"%s\" does not say \"%s\"", why.text, says);
}

/* Decodes a copy without a byte to spare, so that a sanitizer sees a read past its end. Once without JSON, as records
 * are read, and once to JSON: both say the same. */
static verdict decode(const struct schema *s, const void *bytes, size_t n, json_t **out, struct failure *why) {
    void *copy = malloc(n ? n : 1);
    struct written w;
    struct failure reason = {0};
    if (n) memcpy(copy, bytes, n);
    verdict read = codec_read(s, copy, n, &w, &reason), v = codec_decode(s, copy, n, out, why);
    assert_int_equal(read, v);
    if (v != OK) assert_string_equal(reason.text, why->text);
    written_free(&w);
    free(copy);
    return v;
}

static void refused_body(const char *fields, const void *bytes, size_t n, const char *says) {
    char text[2000];
    struct failure why = {0};
    json_t *json;
    snprintf(
        text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":%s}]}", fields);
    struct schema *s = parse(text);
    assert_int_equal(decode(s, bytes, n, &json, &why), REJECT);
    assert_null(json);
    if (!strstr(why.text, says)) fail_msg("\"%s\" does not say \"%s\"", why.text, says);
    schema_free(&s);
}
#define REFUSED(fields, bytes, says) refused_body(fields, bytes, sizeof(bytes) - 1, says)

/* Fields of a record R: what JSON its bytes become. */
static char *decoded(const char *fields, const void *bytes, size_t n) {
    char text[2000];
    struct failure why = {0};
    json_t *json;
    snprintf(
        text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":%s}]}", fields);
    struct schema *s = parse(text);
    if (decode(s, bytes, n, &json, &why) != OK) fail_msg("%s", why.text);
    char *dump = json_dumps(json_object_get(json, "f"), JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(json);
    schema_free(&s);
    return dump;
}
#define DECODES(fields, bytes, expected)                                                                               \
    do {                                                                                                               \
        char *dump_ = decoded(fields, bytes, sizeof(bytes) - 1);                                                       \
        assert_string_equal(dump_, expected);                                                                          \
        free(dump_);                                                                                                   \
    } while (0)

#define DECIMAL(precision, scale)                                                                                      \
    "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":" #precision ",\"scale\":" #scale "}"

static void test_frame(void **state) {
    (void)state;
    struct buffer b = BUFFER(100);
    struct failure why;
    const void *body;
    size_t n;
    int32_t id;
    frame_write(&b, 0x01020304);
    buffer_bytes(&b, "xyz", 3);
    assert_memory_equal(b.data, "\0\1\2\3\4xyz", 8);
    assert_int_equal(frame_read(b.data, b.length, &id, &body, &n, &why), OK);
    assert_int_equal(id, 0x01020304);
    assert_int_equal(n, 3);
    assert_memory_equal(body, "xyz", 3);
    assert_int_equal(frame_read("\0\0\0\0\7", 5, &id, &body, &n, &why), OK);
    assert_int_equal(n, 0);
    buffer_free(&b);
}

static void test_frame_refuses(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } bad[] = {
        {NULL, 0, "tombstone"},
        {"", 0, "is empty"},
        {"\0\0\0\1", 4, "too few"},
        {"\1\0\0\0\1\1", 6, "GUID"},
        {"{\"a\":1}", 7, "0x7b"},
        {"\0\xff\xff\xff\xff", 5, "4294967295"},
        {"", EVENT_BYTES_MAX + 1, "at most 1048576"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct failure why = {0};
        const void *body;
        size_t n;
        int32_t id;
        assert_int_equal(frame_read(bad[i].bytes, bad[i].n, &id, &body, &n, &why), REJECT);
        if (!strstr(why.text, bad[i].says)) fail_msg("\"%s\" does not say \"%s\"", why.text, bad[i].says);
    }
}

static void test_every_type_both_ways(void **state) {
    (void)state;
    struct schema *s = parse(ALL);
    struct failure why = {0};
    struct buffer body = BUFFER(1000), flat = BUFFER(1000);
    json_t *json, *again;
    assert_string_equal(schema_name(s), "t.x.All");
    if (decode(s, ALL_BYTES, sizeof ALL_BYTES, &json, &why) != OK) fail_msg("%s", why.text);
    json_t *expected = json_pack(
        "{s:n, s:b, s:i, s:I, s:f, s:f, s:s, s:s, s:s, s:s, s:[s,s], s:{s:s}, s:{s:s,s:s}, s:n}", "n", "b", 1, "i", -7,
        "l", (json_int_t)INT64_MIN, "f", 1.5, "d", -2.5, "s", "\xe2\x82\xac", "y", "\xc3\xbf", "e", "BLUE", "x",
        "\1\2\3", "a", "RED", "BLUE", "m", "k", "v", "c", "amount", "149.90", "currency", "EUR", "again");
    json_object_set_new(expected, "y", json_stringn("\xc3\xbf\0", 3));
    assert_true(json_equal(json, expected));
    if (codec_encode(s, json, &body, &why) != OK) fail_msg("%s", why.text);
    if (decode(s, body.data, body.length, &again, &why) != OK) fail_msg("%s", why.text);
    assert_true(json_equal(again, expected));
    /* The bytes as well, but for the map, which we write without its size. */
    assert_int_equal(body.length, sizeof ALL_BYTES - 1);
    buffer_free(&body), buffer_free(&flat);
    json_decref(json), json_decref(again), json_decref(expected);
    schema_free(&s);
    schema_free(&s);
}

static void test_decodes(void **state) {
    (void)state;
    DECODES("\"long\"", "\x00", "0");
    DECODES("\"long\"", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "9223372036854775807");
    DECODES("\"int\"", "\xfe\xff\xff\xff\x0f", "2147483647");
    DECODES(
        "\"string\"",
        "\x06"
        "a\0b",
        "\"a\\u0000b\"");
    DECODES("\"string\"", "\x08\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"");
    DECODES("[\"null\",\"string\"]", "\x00", "null");
    DECODES("[\"null\",\"string\"]", "\x02\x02x", "\"x\"");
    DECODES("{\"type\":\"array\",\"items\":\"long\"}", "\x02\x02\x03\x04\x04\x06\x00", "[1,2,3]");
    DECODES(DECIMAL(15, 2), "\x04\x3a\x8e", "\"149.90\"");
    DECODES(DECIMAL(15, 2), "\x02\xff", "\"-0.01\"");
    DECODES(DECIMAL(15, 0), "\x02\x07", "\"7\"");
    DECODES(DECIMAL(18, 2), "\x10\x80\0\0\0\0\0\0\0", "\"-92233720368547758.08\"");
    DECODES(DECIMAL(38, 2), "\x14\0\0\0\0\0\0\0\0\0\x05", "\"0.05\"");
    DECODES(DECIMAL(2, 5), "\x02\x07", "\"\\u0007\""); /* makes no sense, so it is bytes */
    DECODES("{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", "\x02", "1");
    DECODES("{\"type\":\"record\",\"name\":\"E\",\"fields\":[]}", "", "{}");
}

static void test_hostile_bytes(void **state) {
    (void)state;
    REFUSED("\"long\"", "", "field \"f\": the bytes end");
    REFUSED("\"long\"", "\x80", "the bytes end");
    REFUSED("\"long\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "more than 64 bits");
    REFUSED("\"long\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits");
    REFUSED("\"int\"", "\x80\x80\x80\x80\x10", "does not fit in an int");
    REFUSED(
        "\"string\"",
        "\x08"
        "abc",
        "4 bytes are needed, and 3 are left");
    REFUSED("\"string\"", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "9223372036854775807 bytes are needed");
    REFUSED("\"bytes\"", "\x01", "is negative");
    REFUSED("\"string\"", "\x04\xc0\x80", "not UTF-8");         /* overlong */
    REFUSED("\"string\"", "\x06\xe0\x80\x80", "not UTF-8");     /* overlong */
    REFUSED("\"string\"", "\x06\xed\xa0\x80", "not UTF-8");     /* surrogate */
    REFUSED("\"string\"", "\x08\xf4\x90\x80\x80", "not UTF-8"); /* past U+10FFFF */
    REFUSED("\"string\"", "\x04\xe2\x82", "not UTF-8");         /* cut */
    REFUSED("\"string\"", "\x02\xff", "not UTF-8");
    REFUSED("\"boolean\"", "\x02", "neither true nor false");
    REFUSED("\"float\"", "\0\0\x80\x7f", "not finite");
    REFUSED("\"double\"", "\0\0\0\0\0\0\xf8\x7f", "not finite");
    REFUSED("\"double\"", "\0\0\0", "8 bytes are needed");
    REFUSED("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", "\x02", "no symbol 1");
    REFUSED("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", "\x01", "no symbol -1");
    REFUSED("[\"null\",\"long\"]", "\x04", "no branch 2");
    REFUSED("{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}", "abc", "4 bytes are needed");
    REFUSED("\"null\"", "x", "1 bytes are left over");
    REFUSED(DECIMAL(38, 2), "\x12\x01\0\0\0\0\0\0\0\0", "too large");
    REFUSED(DECIMAL(15, 2), "\x00", "no bytes");
}

static void test_hostile_blocks(void **state) {
    (void)state;
#define SIXTEEN "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
#define LONGS "{\"type\":\"array\",\"items\":\"long\"}"
    REFUSED(LONGS, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a block of 9223372036854775807 items");
    REFUSED(LONGS, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02", "counts -9223372036854775808");
    REFUSED(LONGS, "\x04\x02", "a block of 2 items, and 1 bytes");
    REFUSED(LONGS, "\x02\x02", "the bytes end");
    REFUSED(LONGS, "\x01\x06\x02", "a block of 3 bytes");
    REFUSED(LONGS, "\x01\x01\x02\x00", "a block of -1 bytes");
    REFUSED(LONGS, "\x01\x04\x02\x00\x00", "do not fill the bytes");
    REFUSED("{\"type\":\"map\",\"values\":\"long\"}", "\x04\x02k\x02\x02k\x04\x00", "key \"k\" twice");
    REFUSED("{\"type\":\"map\",\"values\":\"long\"}", "\x02\x04k\0\x02\x00", "holds a NUL");
    REFUSED("{\"type\":\"map\",\"values\":\"long\"}", "\x02\x02\xff\x02\x00", "not UTF-8");
    REFUSED("{\"type\":\"map\",\"values\":\"long\"}", "\x02\x20" SIXTEEN, "not UTF-8");
    REFUSED("{\"type\":\"map\",\"values\":\"string\"}", "\x02\x02k\x20" SIXTEEN, "not UTF-8");
}

/* Each item takes one byte, and avro-c sets aside the largest branch for it. */
static void test_hostile_memory(void **state) {
    (void)state;
    char schema[9000], *p = schema;
    p += sprintf(p, "{\"type\":\"array\",\"items\":[\"null\",{\"type\":\"record\",\"name\":\"Big\",\"fields\":[");
    for (int i = 0; i < 200; i++) p += sprintf(p, "%s{\"name\":\"f%d\",\"type\":\"long\"}", i ? "," : "", i);
    sprintf(p, "]}]}");
    char text[9200];
    snprintf(
        text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":%s}]}", schema);
    struct schema *s = parse(text);
    static unsigned char bytes[500000] = {0x80, 0xf1, 0x04}; /* 40,000 items */
    struct failure why = {0};
    json_t *json;
    assert_int_equal(decode(s, bytes, 40004, &json, &why), REJECT);
    assert_non_null(strstr(why.text, "more than the 16777216 bytes of memory"));
    schema_free(&s);
}

/* What malloc has given out, at its highest while the body is decoded, against what was counted. */
static atomic_size_t in_use, highest;
static void *counted_malloc(size_t n) {
    size_t *p = malloc(n + 16);
    if (!p) return NULL;
    *p = n;
    size_t now = atomic_fetch_add(&in_use, n + 16) + n + 16;
    if (now > highest) highest = now;
    return (char *)p + 16;
}
static void counted_free(void *p) {
    if (!p) return;
    size_t *start = (size_t *)(void *)((char *)p - 16);
    atomic_fetch_sub(&in_use, *start + 16);
    free(start);
}
static void *counted_avro(void *user, void *p, size_t old, size_t new) {
    (void)user, (void)old;
    size_t *start = p ? (size_t *)(void *)((char *)p - 16) : NULL;
    if (!new) {
        counted_free(p);
        return NULL;
    }
    void *grown = counted_malloc(new);
    if (grown && start) memcpy(grown, p, *start < new ? *start : new);
    if (grown) counted_free(p);
    return grown;
}

static void *plain_avro(void *user, void *p, size_t old, size_t new) {
    (void)user, (void)old;
    if (new) return realloc(p, new);
    free(p);
    return NULL;
}

static void cost_holds(const char *fields, const void *bytes, size_t n) {
    char text[20000];
    struct failure why = {0};
    struct written w;
    snprintf(text, sizeof text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[%s]}", fields);
    struct schema *s = parse(text);
    json_set_alloc_funcs(counted_malloc, counted_free);
    avro_set_allocator(counted_avro, NULL);
    size_t before = highest = in_use;
    verdict v = codec_read(s, bytes, n, &w, &why);
    if (v == OK) assert_non_null(written_json(&w));
    size_t took = highest - before;
    if (getenv("SHOW_COST")) printf("%zu of %zu %.60s\n", took, w.bytes, fields);
    size_t counted = w.bytes;
    written_free(&w);
    json_set_alloc_funcs(malloc, free);
    avro_set_allocator(plain_avro, NULL);
    if (v == OK && took > counted) fail_msg("%zu bytes were taken, and %zu counted, for %.100s", took, counted, fields);
    if (v != OK && !strstr(why.text, "bytes of memory")) fail_msg("%s", why.text);
    if (v != OK && took > 10000) fail_msg("%zu bytes were taken for what was refused", took);
    schema_free(&s);
}

/* a: how many fields of the type, named f0, f1, … */
static char *fields_of(const char *type, int a) {
    static char text[15000];
    char *p = text;
    *p = 0;
    for (int i = 0; i < a; i++) p += sprintf(p, "%s{\"name\":\"f%d\",\"type\":%s}", i ? "," : "", i, type);
    return text;
}

static void test_what_is_counted_covers_what_is_taken(void **state) {
    (void)state;
    static unsigned char body[400000];
    memset(body, 0, sizeof body);
    cost_holds(fields_of("\"null\"", 300), body, 0);
    cost_holds(fields_of("\"long\"", 300), body, 300);
    cost_holds(fields_of("\"string\"", 300), body, 300);
    cost_holds(fields_of("\"bytes\"", 300), body, 300);
    cost_holds(fields_of("\"boolean\"", 300), body, 300);
    cost_holds(fields_of("[\"null\",\"long\"]", 250), body, 250);
    cost_holds(fields_of("{\"type\":\"array\",\"items\":\"long\"}", 250), body, 250);
    cost_holds(fields_of("{\"type\":\"map\",\"values\":\"long\"}", 250), body, 250);
    /* 20,000 items: a block's count, then the items, then 0 */
    memcpy(body, "\xc0\xb8\x02", 3);
    cost_holds(fields_of("{\"type\":\"array\",\"items\":\"long\"}", 1), body, 20004);
    cost_holds(fields_of("{\"type\":\"array\",\"items\":\"string\"}", 1), body, 20004);
    cost_holds(fields_of("{\"type\":\"array\",\"items\":[\"null\",\"string\"]}", 1), body, 20004);
    cost_holds(
        fields_of(
            "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"I\",\"fields\":[{\"name\":\"a\",\"type\":"
            "\"long\"}]}}",
            1),
        body, 20004);
    /* 10,000 entries of a map, with keys of 4 bytes. */
    unsigned char *p = (unsigned char *)mempcpy(body, "\xa0\x9c\x01", 3);
    for (int i = 0; i < 10000; i++) p += sprintf((char *)p, "\x08%04d", i) + 1; /* and the value 0 */
    *p++ = 0;
    cost_holds(fields_of("{\"type\":\"map\",\"values\":\"long\"}", 1), body, (size_t)(p - body));
    /* One text of 300,000 bytes, and as many bytes that JSON has to write as two. */
    memcpy(body, "\xc0\xcf\x24", 3);
    memset(body + 3, 'x', 300000);
    cost_holds(fields_of("\"string\"", 1), body, 300003);
    memset(body + 3, 0xff, 300000);
    cost_holds(fields_of("\"bytes\"", 1), body, 300003);
    cost_holds(fields_of("{\"type\":\"fixed\",\"name\":\"F\",\"size\":300000}", 1), body, 300000);
}

/* Of so many fields, each of 100 of 100 … of 100 nulls: records of that depth. */
static const char *of_nulls(int fields, int deep) {
    static char text[100000];
    char *p = text;
    for (int i = 0; i < deep; i++)
        p += sprintf(p, "{\"type\":\"record\",\"name\":\"R%d\",\"fields\":[{\"name\":\"f\",\"type\":", i);
    p += sprintf(p, "\"null\"}");
    for (int i = deep; i--; p += sprintf(p, i ? "]}}" : "]}")) {
        char type[16] = "null";
        if (i < deep - 1) snprintf(type, sizeof type, "R%d", i + 1);
        for (int f = 1; f < (i ? 100 : fields); f++) p += sprintf(p, ",{\"name\":\"f%d\",\"type\":\"%s\"}", f, type);
    }
    return text;
}

static void test_a_short_record_cannot_claim_much(void **state) {
    (void)state;
    struct failure why = {0};
    json_t *json;
    struct schema *s = parse(of_nulls(40, 3));
    assert_int_equal(decode(s, "", 0, &json, &why), REJECT);
    assert_non_null(strstr(why.text, "more than the 16777216 bytes of memory"));
    schema_free(&s);
    refused_schema(of_nulls(100, 3), "one \"R0\" would take more than the 16777216 bytes of memory");
    refused_schema(of_nulls(100, 10), "would take more than the 16777216 bytes of memory"); /* than can be counted */
}

static void test_a_schema_of_too_many_types(void **state) {
    (void)state;
    static char text[200000];
    char *p = text + sprintf(text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[");
    for (int i = 0; i < 6000; i++) p += sprintf(p, "%s{\"name\":\"f%d\",\"type\":\"int\"}", i ? "," : "", i);
    strcpy(p, "]}");
    refused_schema(text, "more than 10000 types");
}

static void test_a_schema_in_several_texts(void **state) {
    (void)state;
    static const char currency[] = "{\"type\":\"enum\",\"name\":\"t.Currency\",\"symbols\":[\"EUR\",\"CHF\"]}",
                      money[] =
                          "{\"type\":\"record\",\"name\":\"t.Money\",\"fields\":["
                          "{\"name\":\"minor\",\"type\":\"long\"},{\"name\":\"currency\",\"type\":\"Currency\"}]}",
                      event[] = "{\"type\":\"record\",\"name\":\"E\",\"namespace\":\"other\",\"fields\":["
                                "{\"name\":\"cost\",\"type\":\"t.Money\"},{\"name\":\"in\",\"type\":\"t.Currency\"}]}";
    const struct schema_text all[] = {
        {currency, sizeof currency - 1}, {money, sizeof money - 1}, {event, sizeof event - 1}};
    struct failure why = {0};
    struct schema *s;
    json_t *json;
    if (schema_parse_all(all, 3, &s, &why) != OK) fail_msg("%s", why.text);
    assert_string_equal(schema_name(s), "other.E");
    assert_int_equal(decode(s, "\x04\x02\0", 3, &json, &why), OK);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "cost"), "currency")), "CHF");
    json_decref(json);
    schema_free(&s);
    assert_int_equal(schema_parse_all(all + 1, 2, &s, &why), REJECT);
    assert_non_null(strstr(why.text, "\"t.Currency\" is not defined"));
}

/* null is the empty namespace, not the one around it. */
static void test_a_namespace_of_null(void **state) {
    (void)state;
    struct schema *s = parse("{\"type\":\"record\",\"name\":\"R\",\"namespace\":null,\"fields\":[]}");
    assert_string_equal(schema_name(s), "R");
    schema_free(&s);
    s = parse("{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"a\",\"fields\":["
              "{\"name\":\"x\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"namespace\":null,\"symbols\":[\"A\"]}},"
              "{\"name\":\"y\",\"type\":{\"type\":\"enum\",\"name\":\"a.E\",\"symbols\":[\"B\"]}},"
              "{\"name\":\"z\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"namespace\":\"\",\"fields\":["
              "{\"name\":\"e\",\"type\":\"E\"}]}}]}");
    struct failure why;
    json_t *json;
    assert_int_equal(decode(s, "\0\0\0", 3, &json, &why), OK);
    assert_string_equal(json_string_value(json_object_get(json, "y")), "B");
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "z"), "e")), "A");
    json_decref(json);
    schema_free(&s);
}

#define RECORD(fields) "{\"type\":\"record\",\"name\":\"R\",\"fields\":[" fields "]}"
#define OF(type) RECORD("{\"name\":\"f\",\"type\":" type "}")

static void test_refused_schemas(void **state) {
    (void)state;
    refused_schema("", "not JSON");
    refused_schema("{\"type\":\"record\"", "not JSON");
    refused_schema("{\"a\":1,\"a\":2}", "not JSON");
    refused_schema("{}", "\"type\" is missing");
    refused_schema("[\"null\",\"string\"]", "\"union\", and an event is a record");
    refused_schema("{\"type\":\"string\"}", "\"string\", and an event is a record");
    refused_schema("{\"type\":\"record\",\"fields\":[]}", "no \"name\"");
    refused_schema("{\"type\":\"record\",\"name\":\"a-b\",\"fields\":[]}", "\"a-b\" is not a name");
    refused_schema("{\"type\":\"record\",\"name\":\"string\",\"fields\":[]}", "\"string\" is not a name");
    refused_schema("{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"a..b\",\"fields\":[]}", "not a name");
    refused_schema("{\"type\":\"record\",\"name\":\"R\",\"namespace\":5,\"fields\":[]}", "not text");
    refused_schema("{\"type\":\"record\",\"name\":\"R\"}", "no list of \"fields\"");
    refused_schema(RECORD("7"), "field 1");
    refused_schema(RECORD("{\"name\":\"\",\"type\":\"int\"}"), "field 1");
    refused_schema(RECORD("{\"name\":\"f\"}"), "\"type\" is missing");
    refused_schema(RECORD("{\"name\":\"f\",\"type\":\"int\"},{\"name\":\"f\",\"type\":\"int\"}"), "two fields \"f\"");
    refused_schema(OF("\"Money\""), "\"Money\" is not defined");
    refused_schema(OF("{\"type\":{\"type\":\"string\"}}"), "\"type\" is missing, or is neither");
    refused_schema(OF("[]"), "no branches");
    refused_schema(OF("[\"int\",\"int\"]"), "two branches");
    refused_schema(OF("[\"int\",[\"null\"]]"), "directly within");
    refused_schema(OF("{\"type\":\"array\"}"), "\"type\" is missing");
    refused_schema(OF("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[]}"), "no \"symbols\"");
    refused_schema(OF("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}"), "there twice");
    refused_schema(OF("{\"type\":\"fixed\",\"name\":\"F\"}"), "\"size\" 0");
    refused_schema(OF("{\"type\":\"fixed\",\"name\":\"F\",\"size\":99999999999}"), "\"size\" 99999999999");
    refused_schema(OF("{\"type\":\"enum\",\"name\":\"R\",\"symbols\":[\"A\"]}"), "defined twice");
}

static void test_dangerous_schemas(void **state) {
    (void)state;
    refused_schema(OF("\"R\""), "contains itself");
    refused_schema(OF("[\"null\",\"R\"]"), "contains itself");
    refused_schema(OF("{\"type\":\"array\",\"items\":\"R\"}"), "contains itself");
    refused_schema(OF("{\"type\":\"array\",\"items\":\"null\"}"), "take no bytes");
    refused_schema(
        OF("{\"type\":\"map\",\"values\":{\"type\":\"record\",\"name\":\"E\",\"fields\":[]}}"), "take no bytes");
    char text[60000], *p = text;
    p += sprintf(p, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":");
    for (int i = 0; i < 2000; i++) p += sprintf(p, "{\"type\":\"array\",\"items\":");
    p += sprintf(p, "\"int\"");
    for (int i = 0; i < 2000; i++) *p++ = '}';
    strcpy(p, "}]}");
    refused_schema(text, "deeper than 32");
    /* Not in the text, but by name. */
    p = text + sprintf(
                   text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f0\",\"type\":"
                         "{\"type\":\"record\",\"name\":\"T0\",\"fields\":[]}}");
    for (int i = 1; i < 40; i++)
        p += sprintf(
            p,
            ",{\"name\":\"f%d\",\"type\":{\"type\":\"record\",\"name\":\"T%d\",\"fields\":["
            "{\"name\":\"a\",\"type\":\"T%d\"}]}}",
            i, i, i - 1);
    strcpy(p, "]}");
    refused_schema(text, "deeper than 32");
    /* Each type holds the one before it twice: 2 to the 24 values of no bytes, in 24 lines. */
    p = text + sprintf(
                   text, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f0\",\"type\":"
                         "{\"type\":\"record\",\"name\":\"T0\",\"fields\":[]}}");
    for (int i = 1; i < 25; i++)
        p += sprintf(
            p,
            ",{\"name\":\"f%d\",\"type\":{\"type\":\"record\",\"name\":\"T%d\",\"fields\":[{\"name\":\"a\",\"type\":"
            "\"T%d\"},{\"name\":\"b\",\"type\":\"T%d\"}]}}",
            i, i, i - 1, i - 1);
    strcpy(p, "]}");
    refused_schema(text, "would take more than the 16777216 bytes");
}

static void test_names_and_spaces(void **state) {
    (void)state;
    struct schema *s =
        parse("{\"type\":\"record\",\"name\":\"a.b.R\",\"namespace\":\"ignored\",\"fields\":["
              "{\"name\":\"x\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"namespace\":\"c\",\"fields\":["
              "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}}]}},"
              "{\"name\":\"y\",\"type\":\"c.E\"},{\"name\":\"z\",\"type\":{\"type\":\"c.S\"}}]}");
    assert_string_equal(schema_name(s), "a.b.R");
    struct failure why;
    json_t *json;
    assert_int_equal(decode(s, "\0\0\0", 3, &json, &why), OK);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "z"), "e")), "A");
    json_decref(json);
    schema_free(&s);
}

static void refused_value(const struct schema *s, const char *text, const char *says) {
    struct buffer body = BUFFER(1000);
    struct failure why = {0};
    json_t *json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    assert_int_equal(codec_encode(s, json, &body, &why), REJECT);
    assert_int_equal(body.length, 0);
    if (!strstr(why.text, says)) fail_msg("\"%s\" does not say \"%s\"", why.text, says);
    json_decref(json);
    buffer_free(&body);
}

#define CHARGE                                                                                                               \
    "{\"type\":\"record\",\"name\":\"t.Charge\",\"fields\":[{\"name\":\"id\",\"type\":\"string\"},"                          \
    "{\"name\":\"count\",\"type\":\"int\",\"default\":7},"                                                                   \
    "{\"name\":\"why\",\"type\":[\"null\",\"string\"],\"default\":null},"                                                    \
    "{\"name\":\"rate\",\"type\":" DECIMAL(                                                                                  \
        4,                                                                                                                   \
        2) ",\"default\":\"\\u0001\\u0000\"},"                                                                               \
           "{\"name\":\"kind\",\"type\":{\"type\":\"enum\",\"name\":\"Kind\",\"symbols\":[\"A\",\"B\"]},\"default\":\"B\"}," \
           "{\"name\":\"cost\",\"type\":{\"type\":\"record\",\"name\":\"Money\",\"fields\":["                                \
           "{\"name\":\"amount\",\"type\":" DECIMAL(6, 2) "}]}}]}"
#define WITH_COST(amount) "{\"id\":\"x\",\"cost\":{\"amount\":" amount "}}"

static void test_encode_defaults(void **state) {
    (void)state;
    struct schema *s = parse(CHARGE);
    struct buffer body = BUFFER(1000);
    struct failure why = {0};
    json_t *json = json_loads(WITH_COST("\"-1.28\""), 0, NULL);
    if (codec_encode(s, json, &body, &why) != OK) fail_msg("%s", why.text);
    static const unsigned char expected[] = {2, 'x', 14, 0, 4, 1, 0, 2, 2, 0x80};
    assert_int_equal(body.length, sizeof expected);
    assert_memory_equal(body.data, expected, sizeof expected);
    json_decref(json);
    buffer_free(&body);
    schema_free(&s);
}

static void test_encode_refuses(void **state) {
    (void)state;
    struct schema *s = parse(CHARGE);
    refused_value(s, "[]", "not an object");
    refused_value(s, "{\"id\":\"x\"}", "field \"cost\" is missing");
    refused_value(s, "{\"cost\":{\"amount\":\"1\"}}", "field \"id\" is missing");
    refused_value(
        s, "{\"id\":5,\"cost\":{\"amount\":\"1\"}}", "field \"id\" is an integer; the schema wants \"string\"");
    refused_value(s, "{\"id\":\"x\",\"cost\":{}}", "field \"cost.amount\" is missing");
    refused_value(
        s, "{\"id\":\"x\",\"colour\":1,\"cost\":{\"amount\":\"1\"}}", "field \"colour\" is not in the schema");
    refused_value(s, "{\"id\":\"x\",\"why\":1,\"cost\":{\"amount\":\"1\"}}", "field \"why\" is an integer");
    refused_value(s, "{\"id\":\"x\",\"count\":3000000000,\"cost\":{\"amount\":\"1\"}}", "3000000000");
    refused_value(s, "{\"id\":\"x\",\"kind\":\"C\",\"cost\":{\"amount\":\"1\"}}", "field \"kind\" is \"C\"");
    refused_value(s, WITH_COST("1.5"), "field \"cost.amount\" is a real");
    refused_value(s, WITH_COST("\"1.005\""), "2 decimal places");
    refused_value(s, WITH_COST("\"12345\""), "6 digits");
    refused_value(s, WITH_COST("\"10000.00\""), "6 digits");
    static const char *const amounts[] = {"\"\"",    "\"-\"",  "\"1.\"",    "\".5\"",      "\"1e3\"",
                                          "\"1,5\"", "\"+1\"", "\"1.2.3\"", "\"1\\u0000\""};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        char text[100];
        snprintf(text, sizeof text, WITH_COST("%s"), amounts[i]);
        refused_value(s, text, "no decimal");
    }
    schema_free(&s);
}

static void test_decimal_round_trips(void **state) {
    (void)state;
    static const char *const amounts[] = {
        "0.00",
        "0.01",
        "-0.01",
        "1.27",
        "1.28",
        "-1.28",
        "-1.29",
        "327.67",
        "327.68",
        "9999999999999.99",
        "-9999999999999.99",
        "83886.08",
        "-83886.08"};
    struct schema *s = parse(OF(DECIMAL(15, 2)));
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        struct buffer body = BUFFER(100);
        struct failure why = {0};
        json_t *json = json_pack("{s:s}", "f", amounts[i]), *again;
        if (codec_encode(s, json, &body, &why) != OK) fail_msg("%s", why.text);
        assert_int_equal(decode(s, body.data, body.length, &again, &why), OK);
        assert_true(json_equal(json, again));
        json_decref(json), json_decref(again);
        buffer_free(&body);
    }
    schema_free(&s);
}

/* Whatever the bytes: an answer, no crash, no leak; and what decodes encodes to what decodes to the same. */
static void test_mutations(void **state) {
    (void)state;
    struct schema *s = parse(ALL);
    unsigned seed = 12345;
    int good = 0;
    for (int round = 0; round < 50000; round++) {
        unsigned char bytes[sizeof ALL_BYTES];
        memcpy(bytes, ALL_BYTES, sizeof bytes);
        for (int changes = rand_r(&seed) % 4; changes >= 0; changes--)
            bytes[rand_r(&seed) % sizeof bytes] = (unsigned char)rand_r(&seed);
        size_t n = rand_r(&seed) % 4 ? sizeof bytes : (size_t)rand_r(&seed) % sizeof bytes;
        struct failure why = {0};
        json_t *json, *again;
        verdict v = decode(s, bytes, n, &json, &why);
        if (v != OK) {
            assert_int_equal(v, REJECT);
            continue;
        }
        good++;
        struct buffer body = BUFFER(1000);
        verdict encoded = codec_encode(s, json, &body, &why);
        if (encoded == OK) {
            assert_int_equal(decode(s, body.data, body.length, &again, &why), OK);
            assert_true(json_equal(json, again));
            json_decref(again);
        } else {
            assert_non_null(strstr(why.text, "digits")); /* bytes may hold more digits than the precision promises */
        }
        json_decref(json);
        buffer_free(&body);
    }
    assert_in_range(good, 1000, 49000);
    schema_free(&s);
}

static void test_schema_mutations(void **state) {
    (void)state;
    unsigned seed = 54321;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof ALL];
        memcpy(text, ALL, sizeof text);
        for (int changes = rand_r(&seed) % 3; changes >= 0; changes--) {
            size_t from = (size_t)rand_r(&seed) % (sizeof text - 9), to = (size_t)rand_r(&seed) % (sizeof text - 9);
            memmove(text + to, text + from, 1 + (size_t)rand_r(&seed) % 8);
        }
        struct failure why = {0};
        struct schema *s;
        if (schema_parse(text, sizeof text - 1, &s, &why) == OK)
            schema_free(&s);
        else if (strstr(why.text, "avro-c"))
            fail_msg("%s: %s", why.text, text); /* it leaks when it refuses */
    }
}

/* Of the whole process; 0: a sanitizer gives out the memory. */
static size_t heap_in_use(void) {
    struct mallinfo2 all = mallinfo2();
    return all.uordblks + all.hblkhd;
}

/* What it really takes, against what is counted. */
static void schema_cost_holds(const char *begin, const char *item, int n, const char *end) {
    struct buffer text = BUFFER(SCHEMA_BYTES_MAX);
    buffer_text(&text, begin);
    for (int i = 0; i < n; i++) {
        if (i) buffer_text(&text, ",");
        for (const char *c = item; *c; c++)
            if (*c == '#')
                buffer_format(&text, "%d", i);
            else
                buffer_bytes(&text, c, 1);
    }
    buffer_text(&text, end);
    assert_false(text.failed);
    size_t before = heap_in_use();
    struct schema *s = parse(text.data);
    size_t took = heap_in_use() - before, counted = schema_bytes(s);
    schema_free(&s);
    if (getenv("SHOW_COST")) printf("%zu of %zu %s\n", took, counted, item);
    if (took && (took > counted || counted > 4 * took + 8192))
        fail_msg("%zu bytes were taken, and %zu counted, for %s", took, counted, item);
    buffer_free(&text);
}

static void test_what_a_schema_takes_is_counted(void **state) {
    (void)state;
    static const char fields[] = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[";
    static const char padding[] = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[],\"x\":[";
    schema_cost_holds(fields, "{\"name\":\"a\",\"type\":\"string\"}", 1, "]}");
    schema_cost_holds(fields, "{\"name\":\"a#\",\"type\":\"int\"}", 4000, "]}");
    schema_cost_holds(fields, "{\"name\":\"a#\",\"type\":[\"null\",\"int\"]}", 1200, "]}");
    schema_cost_holds(fields, "{\"name\":\"a#\",\"type\":{\"type\":\"array\",\"items\":\"int\"}}", 1500, "]}");
    schema_cost_holds(fields, "{\"name\":\"a#\",\"type\":{\"type\":\"map\",\"values\":\"int\"}}", 1500, "]}");
    schema_cost_holds(
        fields, "{\"name\":\"a#\",\"type\":{\"type\":\"record\",\"name\":\"r#\",\"fields\":[]}}", 2000, "]}");
    schema_cost_holds(
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[",
        "\"a#\"", 9000, "]}}]}");
    schema_cost_holds(padding, "{}", 80000, "]}");
    schema_cost_holds(padding, "[]", 80000, "]}");
    schema_cost_holds(padding, "1", 120000, "]}");
    schema_cost_holds(padding, "\"\"", 80000, "]}");
    schema_cost_holds("{\"type\":\"record\",\"name\":\"R\",\"fields\":[],\"x\":{", "\"#\":1", 20000, "}}");
}

/* Each owner frees it, in any order. */
static void test_a_schema_with_several_owners(void **state) {
    (void)state;
    struct schema *s = parse(ALL), *other = schema_share(s);
    assert_ptr_equal(s, other);
    schema_free(&s);
    assert_null(s);
    assert_string_equal(schema_name(other), "t.x.All");
    schema_free(&other);
}

static void *decode_often(void *schema) {
    for (int i = 0; i < 2000; i++) {
        struct failure why;
        json_t *json;
        struct buffer body = BUFFER(1000);
        if (codec_decode(schema, ALL_BYTES, sizeof ALL_BYTES, &json, &why) != OK) return schema;
        if (codec_encode(schema, json, &body, &why) != OK) return schema;
        if (codec_decode(schema, "\1", 1, &(json_t *){NULL}, &why) != REJECT) return schema;
        json_decref(json);
        buffer_free(&body);
    }
    return NULL;
}

static void test_schema_shared_by_threads(void **state) {
    (void)state;
    struct schema *s = parse(ALL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, decode_often, s);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    schema_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_frame_refuses),
        cmocka_unit_test(test_every_type_both_ways),
        cmocka_unit_test(test_decodes),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_hostile_blocks),
        cmocka_unit_test(test_hostile_memory),
        cmocka_unit_test(test_what_is_counted_covers_what_is_taken),
        cmocka_unit_test(test_a_short_record_cannot_claim_much),
        cmocka_unit_test(test_a_schema_of_too_many_types),
        cmocka_unit_test(test_a_schema_in_several_texts),
        cmocka_unit_test(test_a_namespace_of_null),
        cmocka_unit_test(test_refused_schemas),
        cmocka_unit_test(test_dangerous_schemas),
        cmocka_unit_test(test_names_and_spaces),
        cmocka_unit_test(test_encode_defaults),
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_decimal_round_trips),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_schema_mutations),
        cmocka_unit_test(test_what_a_schema_takes_is_counted),
        cmocka_unit_test(test_a_schema_with_several_owners),
        cmocka_unit_test(test_schema_shared_by_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
