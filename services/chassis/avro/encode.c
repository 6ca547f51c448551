#include "chassis/avro/codec_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A JSON value on its way into one of avro-c's. */
struct filling {
    struct failure *why;
    bool from_schema; /* the value is a default out of the schema: its decimals are written as bytes */
};

static verdict
value_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place);

__attribute__((format(printf, 3, 4))) static verdict
unfit(struct filling *f, const struct place *place, const char *format, ...) {
    char where[PLACE_TEXT], text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    place_text(place, where);
    return *where ? fail(f->why, REJECT, "field \"%s\" %s", where, text) : fail(f->why, REJECT, "the event %s", text);
}

static verdict filled(struct filling *f, int error) {
    return error ? fail(f->why, RETRY, "out of memory") : OK;
}

static verdict mismatch(struct filling *f, const struct place *place, const struct node *n, const json_t *json) {
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "text", [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a real",      [JSON_TRUE] = "true",    [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    return unfit(f, place, "is %s; the schema wants \"%s\"", kinds[json_typeof(json)], node_name(n));
}

/* "" for text that a NUL would cut: no decimal and no symbol. */
static const char *plain_text(const json_t *json) {
    const char *text = json_string_value(json);
    return text && strlen(text) == json_string_length(json) ? text : "";
}

/* --- Bytes and decimals */

/* "-12.5" in units of 10^-scale. */
static verdict
decimal_parse(struct filling *f, const struct node *n, const char *text, const struct place *place, int64_t *out) {
    const char *p = text + (*text == '-');
    uint64_t value = 0;
    int digits = 0, significant = 0, decimals = -1;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && decimals < 0 && digits); p++) {
        if (decimals >= 0 || *p == '.') decimals++;
        if (*p == '.') continue;
        digits++;
        if (significant || *p != '0') significant++;
        if (significant <= 18) value = value * 10 + (uint64_t)(*p - '0');
    }
    if (*p || !digits || decimals == 0) return unfit(f, place, "is \"%s\", which is no decimal such as 149.90", text);
    if (decimals < 0) decimals = 0;
    if (decimals > n->scale) return unfit(f, place, "is \"%s\"; the schema keeps %d decimal places", text, n->scale);
    int padding = value ? n->scale - decimals : 0;
    if (significant + padding > n->precision || significant + padding > 18)
        return unfit(f, place, "is \"%s\"; the schema keeps %d digits, and this service 18", text, n->precision);
    for (int i = 0; i < padding; i++) value *= 10;
    *out = *text == '-' ? -(int64_t)value : (int64_t)value;
    return OK;
}

static verdict decimal_fill(
    struct filling *f, const struct node *n, const char *text, avro_value_t *value, const struct place *place) {
    int64_t number = 0;
    verdict v = decimal_parse(f, n, text, place, &number);
    if (v != OK) return v;
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)number >> (56 - 8 * i));
    size_t skip = 0; /* the shortest form: a leading byte that only repeats the sign says nothing */
    while (skip < 7 && bytes[skip] == (number < 0 ? 0xff : 0) && (bytes[skip + 1] & 0x80) == (bytes[skip] & 0x80))
        skip++;
    size_t length = sizeof bytes - skip;
    if (n->type == AVRO_BYTES) return filled(f, avro_value_set_bytes(value, bytes + skip, length));
    if (length > n->size) return unfit(f, place, "is \"%s\", which does not fit in %zu bytes", text, n->size);
    unsigned char *fixed = malloc(n->size);
    if (!fixed) return filled(f, 1);
    memset(fixed, number < 0 ? 0xff : 0, n->size);
    memcpy(fixed + n->size - length, bytes + skip, length);
    v = filled(f, avro_value_set_fixed(value, fixed, n->size));
    free(fixed);
    return v;
}

/* Text of the code points 0 to 255 as bytes; false when there is another one. */
static bool bytes_from_text(const json_t *json, unsigned char *out, size_t *n) {
    const unsigned char *p = (const unsigned char *)json_string_value(json), *end = p + json_string_length(json);
    for (*n = 0; p < end; p++) {
        if (*p > 0xc3) return false;
        unsigned char byte = *p;
        if (byte >= 0x80) byte = (unsigned char)(byte << 6 | (*++p & 0x3f));
        out[(*n)++] = byte;
    }
    return true;
}

static verdict bytes_fill(
    struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    if (n->logical == LOGICAL_DECIMAL && !f->from_schema) return decimal_fill(f, n, plain_text(json), value, place);
    unsigned char *bytes = malloc(json_string_length(json) + 1);
    size_t size;
    verdict v;
    if (!bytes) return filled(f, 1);
    if (!bytes_from_text(json, bytes, &size))
        v = unfit(f, place, "holds a character past U+00FF, which is no byte");
    else if (n->type == AVRO_BYTES)
        v = filled(f, avro_value_set_bytes(value, bytes, size));
    else if (size != n->size)
        v = unfit(f, place, "has %zu bytes; the schema wants %zu", size, n->size);
    else
        v = filled(f, avro_value_set_fixed(value, bytes, size));
    free(bytes);
    return v;
}

/* --- Compound values */

static bool record_fits(const struct node *n, const json_t *json) {
    size_t known = 0;
    for (size_t i = 0; i < n->members_n; i++) {
        if (json_object_get(json, n->members[i].name))
            known++;
        else if (!n->members[i].fallback)
            return false;
    }
    return known == json_object_size(json);
}

static int symbol_find(const struct node *n, const char *text) {
    for (size_t i = 0; i < json_array_size(n->symbols); i++)
        if (!strcmp(json_string_value(json_array_get(n->symbols, i)), text)) return (int)i;
    return -1;
}

static bool kind_fits(const struct node *n, const json_t *json) {
    switch (n->type) {
    case AVRO_NULL: return json_is_null(json);
    case AVRO_BOOLEAN: return json_is_boolean(json);
    case AVRO_INT32:
    case AVRO_INT64: return json_is_integer(json);
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return json_is_number(json);
    case AVRO_ARRAY: return json_is_array(json);
    case AVRO_RECORD:
    case AVRO_MAP: return json_is_object(json);
    default: return json_is_string(json);
    }
}

/* Whether a union's value may be of this branch. */
static bool branch_fits(const struct node *n, const json_t *json) {
    if (!kind_fits(n, json)) return false;
    json_int_t integer = json_integer_value(json);
    switch (n->type) {
    case AVRO_INT32: return integer >= INT32_MIN && integer <= INT32_MAX;
    case AVRO_ENUM: return symbol_find(n, plain_text(json)) >= 0;
    case AVRO_RECORD: return record_fits(n, json);
    default: return true;
    }
}

static verdict union_fill(
    struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    size_t i = 0;
    while (i < n->members_n && !branch_fits(n->members[i].type, json)) i++;
    if (i == n->members_n) return mismatch(f, place, n, json);
    avro_value_t branch;
    verdict v = filled(f, avro_value_set_branch(value, (int)i, &branch));
    return v == OK ? value_fill(f, n->members[i].type, json, &branch, place) : v;
}

static verdict record_fill(
    struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    size_t used = 0;
    for (size_t i = 0; i < n->members_n; i++) {
        const struct member *m = &n->members[i];
        const struct place here = {place, m->name};
        struct filling inner = *f;
        const json_t *given = json_object_get(json, m->name);
        if (given)
            used++;
        else if (!m->fallback)
            return unfit(f, &here, "is missing");
        else
            inner.from_schema = true;
        avro_value_t field;
        verdict v = filled(f, avro_value_get_by_index(value, i, &field, NULL));
        if (v == OK) v = value_fill(&inner, m->type, given ? given : m->fallback, &field, &here);
        if (v != OK) return v;
    }
    if (used == json_object_size(json)) return OK;
    const char *key;
    json_t *ignored;
    json_object_foreach((json_t *)json, key, ignored) {
        bool known = false;
        for (size_t i = 0; i < n->members_n && !known; i++) known = !strcmp(n->members[i].name, key);
        if (!known) return unfit(f, &(struct place){place, key}, "is not in the schema of \"%s\"", n->full_name);
    }
    return OK;
}

static verdict array_fill(
    struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < json_array_size(json); i++) {
        avro_value_t item;
        v = filled(f, avro_value_append(value, &item, NULL));
        if (v == OK) v = value_fill(f, n->members[0].type, json_array_get(json, i), &item, place);
    }
    return v;
}

static verdict
map_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    const char *key;
    json_t *one;
    json_object_foreach((json_t *)json, key, one) {
        avro_value_t entry;
        verdict v = filled(f, avro_value_add(value, key, &entry, NULL, NULL));
        if (v == OK) v = value_fill(f, n->members[0].type, one, &entry, &(struct place){place, key});
        if (v != OK) return v;
    }
    return OK;
}

/* --- */

static verdict number_fill(
    struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    json_int_t integer = json_integer_value(json);
    double real = json_number_value(json);
    switch (n->type) {
    case AVRO_INT32:
        if (integer < INT32_MIN || integer > INT32_MAX)
            return unfit(f, place, "is %" JSON_INTEGER_FORMAT ", which does not fit in an int", integer);
        return filled(f, avro_value_set_int(value, (int32_t)integer));
    case AVRO_INT64: return filled(f, avro_value_set_long(value, integer));
    case AVRO_FLOAT:
        if (!isfinite((float)real)) return unfit(f, place, "is %g, which does not fit in a float", real);
        return filled(f, avro_value_set_float(value, (float)real));
    default: return filled(f, avro_value_set_double(value, real));
    }
}

static verdict
enum_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    const char *text = plain_text(json);
    int index = symbol_find(n, text);
    if (index < 0) return unfit(f, place, "is \"%s\", no symbol of \"%s\"", text, n->full_name);
    return filled(f, avro_value_set_enum(value, index));
}

static verdict value_fill(
    struct filling *f, const struct node *n, const json_t *json, avro_value_t *value, const struct place *place) {
    if (n->type == AVRO_UNION) return union_fill(f, n, json, value, place);
    if (!kind_fits(n, json)) return mismatch(f, place, n, json);
    switch (n->type) {
    case AVRO_NULL: return filled(f, avro_value_set_null(value));
    case AVRO_BOOLEAN: return filled(f, avro_value_set_boolean(value, json_is_true(json)));
    case AVRO_STRING:
        return filled(
            f, avro_value_set_string_len(value, (char *)json_string_value(json), json_string_length(json) + 1));
    case AVRO_BYTES:
    case AVRO_FIXED: return bytes_fill(f, n, json, value, place);
    case AVRO_ENUM: return enum_fill(f, n, json, value, place);
    case AVRO_RECORD: return record_fill(f, n, json, value, place);
    case AVRO_ARRAY: return array_fill(f, n, json, value, place);
    case AVRO_MAP: return map_fill(f, n, json, value, place);
    default: return number_fill(f, n, json, value, place);
    }
}

static verdict value_write(avro_value_t *value, struct buffer *body, struct failure *why) {
    size_t size = 0;
    if (avro_value_sizeof(value, &size)) return fail(why, RETRY, "out of memory");
    if (size > EVENT_BYTES_MAX - FRAME_SIZE)
        return fail(why, REJECT, "the event takes %zu bytes; at most %d are read", size, EVENT_BYTES_MAX - FRAME_SIZE);
    if (!size) return OK; /* a record without fields */
    char *bytes = malloc(size);
    avro_writer_t writer = bytes ? avro_writer_memory(bytes, (int64_t)size) : NULL;
    verdict v = OK;
    if (!writer || avro_value_write(writer, value))
        v = fail(why, RETRY, "out of memory");
    else
        buffer_bytes(body, bytes, size);
    if (writer) avro_writer_free(writer);
    free(bytes);
    if (v == OK && body->failed) v = fail(why, RETRY, "no room for the %zu bytes of the event", size);
    return v;
}

verdict codec_encode(const struct schema *s, const json_t *value, struct buffer *body, struct failure *why) {
    struct failure reason = {0};
    avro_value_t root;
    verdict v;
    if (!json_is_object(value)) return fail(why, REJECT, "could not encode a %s: it is not an object", schema_name(s));
    if (avro_generic_value_new(s->values, &root)) return fail(why, RETRY, "could not encode: out of memory");
    v = value_fill(&(struct filling){.why = &reason}, s->root, value, &root, NULL);
    if (v == OK) v = value_write(&root, body, &reason);
    avro_value_decref(&root);
    return v == OK ? OK : fail(why, v, "could not encode a %s: %s", schema_name(s), reason.text);
}
