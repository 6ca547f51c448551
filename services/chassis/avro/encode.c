#include "chassis/avro/codec_private.h"
#include "chassis/base/json_get.h"

#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A JSON value on its way into one of avro-c's. Every function below returns false when `why` says what is wrong. */
struct filling {
    struct failure *why;
    const struct place *place;
    bool from_schema; /* the value is a default out of the schema: its decimals are written as bytes */
};
#define unfit(f, ...) place_fail((f)->why, (f)->place, " ", "the event ", __VA_ARGS__)

static bool value_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value);

static bool filled(struct filling *f, int error) {
    return !error || !fail(f->why, RETRY, "out of memory");
}

static bool mismatch(struct filling *f, const struct node *n, const json_t *json) {
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "text", [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a real",      [JSON_TRUE] = "true",    [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    return unfit(f, "is %s; the schema wants \"%s\"", kinds[json_typeof(json)], node_name(n));
}

/* "" for text that a NUL would cut: no decimal and no symbol. */
static const char *plain_text(const json_t *json) {
    const char *text = json_string_value(json);
    return text && strlen(text) == json_string_length(json) ? text : "";
}

/* --- Bytes and decimals */

static bool blob_set(struct filling *f, const struct node *n, const struct buffer *bytes, avro_value_t *value) {
    void *data = bytes->data ? bytes->data : (char *)"";
    if (bytes->failed) return filled(f, 1);
    if (n->type == AVRO_BYTES) return filled(f, avro_value_set_bytes(value, data, bytes->length));
    if (bytes->length == n->size) return filled(f, avro_value_set_fixed(value, data, n->size));
    return unfit(f, "has %zu bytes; the schema wants %zu", bytes->length, n->size);
}

/* "-12.5" in units of 10^-scale. */
static bool decimal_parse(struct filling *f, const struct node *n, const char *text, int64_t *out) {
    enum { DIGITS_MAX = 18 };
    const char *p = text + (*text == '-'), *point = p + strspn(p, "0123456789");
    int decimals = *point == '.' ? (int)strspn(point + 1, "0123456789") : 0, digits = 0;
    const char *end = decimals ? point + 1 + decimals : point;
    if (*end || point == p) return unfit(f, "is \"%s\", which is no decimal such as 149.90", text);
    if (decimals > n->scale) return unfit(f, "is \"%s\"; the schema keeps %d decimal places", text, n->scale);
    *out = 0;
    for (; p < end; p++)
        if (p != point && (digits || *p != '0') && ++digits <= DIGITS_MAX) *out = *out * 10 + (*p - '0');
    if (digits) digits += n->scale - decimals;
    if (digits > n->precision || digits > DIGITS_MAX)
        return unfit(f, "is \"%s\"; the schema keeps %d digits, and this service %d", text, n->precision, DIGITS_MAX);
    for (; decimals < n->scale; decimals++) *out *= 10;
    if (*text == '-') *out = -*out;
    return true;
}

static bool decimal_fill(struct filling *f, const struct node *n, const char *text, avro_value_t *value) {
    int64_t number = 0;
    if (!decimal_parse(f, n, text, &number)) return false;
    uint64_t big = htobe64((uint64_t)number);
    const unsigned char *bytes = (const unsigned char *)&big, sign = number < 0 ? 0xff : 0;
    size_t skip = 0; /* the shortest form: a leading byte that only repeats the sign says nothing */
    while (skip < 7 && bytes[skip] == sign && (bytes[skip + 1] & 0x80) == (sign & 0x80)) skip++;
    if (n->type == AVRO_FIXED && sizeof big - skip > n->size)
        return unfit(f, "is \"%s\", which does not fit in %zu bytes", text, n->size);
    buffer_auto blob = BUFFER(EVENT_BYTES_MAX);
    for (size_t i = sizeof big - skip; i < n->size; i++) buffer_bytes(&blob, &sign, 1);
    buffer_bytes(&blob, bytes + skip, sizeof big - skip);
    return blob_set(f, n, &blob, value);
}

bool blob_read(const json_t *json, struct buffer *out) {
    const char *p = json_string_value(json);
    for (const char *end = p + json_string_length(json); p < end; p++) {
        unsigned char byte = (unsigned char)*p;
        if (byte > 0xc3) return false;
        if (byte >= 0x80) byte = (unsigned char)(byte << 6 | (*++p & 0x3f));
        buffer_bytes(out, &byte, 1);
    }
    return true;
}

static bool blob_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    if (n->logical == LOGICAL_DECIMAL && !f->from_schema) return decimal_fill(f, n, plain_text(json), value);
    buffer_auto bytes = BUFFER(json_string_length(json));
    if (!blob_read(json, &bytes)) return unfit(f, "holds a character past U+00FF, which is no byte");
    return blob_set(f, n, &bytes, value);
}

/* --- Which JSON a type takes */

#define SHAPE(type) (1u << (type))

bool kind_fits(const struct node *n, const json_t *json) {
    static const unsigned shapes[] = {
        [AVRO_NULL] = SHAPE(JSON_NULL),
        [AVRO_BOOLEAN] = SHAPE(JSON_TRUE) | SHAPE(JSON_FALSE),
        [AVRO_INT32] = SHAPE(JSON_INTEGER),
        [AVRO_INT64] = SHAPE(JSON_INTEGER),
        [AVRO_FLOAT] = SHAPE(JSON_INTEGER) | SHAPE(JSON_REAL),
        [AVRO_DOUBLE] = SHAPE(JSON_INTEGER) | SHAPE(JSON_REAL),
        [AVRO_BYTES] = SHAPE(JSON_STRING),
        [AVRO_STRING] = SHAPE(JSON_STRING),
        [AVRO_ENUM] = SHAPE(JSON_STRING),
        [AVRO_FIXED] = SHAPE(JSON_STRING),
        [AVRO_RECORD] = SHAPE(JSON_OBJECT),
        [AVRO_MAP] = SHAPE(JSON_OBJECT),
        [AVRO_ARRAY] = SHAPE(JSON_ARRAY),
        [AVRO_UNION] = SHAPE(JSON_STRING)};
    return json && shapes[n->type] & SHAPE(json_typeof(json));
}

bool record_fits(const struct node *n, const json_t *json, bool defaults) {
    size_t known = 0;
    for (size_t i = 0; i < n->members_n; i++) {
        if (json_object_get(json, n->members[i].name))
            known++;
        else if (!defaults || !n->members[i].fallback)
            return false;
    }
    return known == json_object_size(json);
}

static const struct member *symbol_find(const struct node *n, const json_t *json) {
    const char *text = plain_text(json);
    return member_find(n, text, strlen(text));
}

/* Whether a union's value may be of this branch. */
static bool branch_fits(const struct node *n, const json_t *json) {
    if (!kind_fits(n, json)) return false;
    json_int_t integer = json_integer_value(json);
    switch (n->type) {
    case AVRO_INT32: return integer >= INT32_MIN && integer <= INT32_MAX;
    case AVRO_ENUM: return symbol_find(n, json);
    case AVRO_RECORD: return record_fits(n, json, true);
    default: return true;
    }
}

/* --- Compound values */

static bool union_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    size_t i = 0;
    avro_value_t branch;
    while (i < n->members_n && !branch_fits(n->members[i].type, json)) i++;
    if (i == n->members_n) return mismatch(f, n, json);
    return filled(f, avro_value_set_branch(value, (int)i, &branch)) && value_fill(f, n->members[i].type, json, &branch);
}

/* known: of the fields so far, those that were given. */
static bool field_fill(
    const struct filling *f, const struct node *n, size_t i, const json_t *json, size_t *known, avro_value_t *value) {
    const struct member *m = &n->members[i];
    const json_t *given = json_object_get(json, m->name);
    struct filling inner = {f->why, &(struct place){f->place, m->name}, f->from_schema || !given};
    avro_value_t field;
    *known += given != NULL;
    if (!given && !m->fallback) return unfit(&inner, "is missing");
    return filled(&inner, avro_value_get_by_index(value, i, &field, NULL)) &&
           value_fill(&inner, m->type, given ? given : m->fallback, &field);
}

static bool record_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    size_t known = 0;
    for (size_t i = 0; i < n->members_n; i++)
        if (!field_fill(f, n, i, json, &known, value)) return false;
    if (known == json_object_size(json)) return true;
    json_members(given, (json_t *)json) {
        struct filling inner = {f->why, &(struct place){f->place, given.name}, false};
        if (!member_find(n, given.name, strlen(given.name)))
            return unfit(&inner, "is not in the schema of \"%s\"", n->full_name);
    }
    return true;
}

static bool array_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    avro_value_t item;
    json_each(i, one, json)
        if (!filled(f, avro_value_append(value, &item, NULL)) || !value_fill(f, n->members->type, one, &item))
            return false;
    return true;
}

static bool map_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    json_members(given, (json_t *)json) {
        struct filling inner = {f->why, &(struct place){f->place, given.name}, f->from_schema};
        avro_value_t entry;
        if (!filled(f, avro_value_add(value, given.name, &entry, NULL, NULL)) ||
            !value_fill(&inner, n->members->type, given.value, &entry))
            return false;
    }
    return true;
}

/* --- */

static bool number_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    json_int_t integer = json_integer_value(json);
    double real = json_number_value(json);
    switch (n->type) {
    case AVRO_INT32:
        if (integer < INT32_MIN || integer > INT32_MAX)
            return unfit(f, "is %" JSON_INTEGER_FORMAT ", which does not fit in an int", integer);
        return filled(f, avro_value_set_int(value, (int32_t)integer));
    case AVRO_INT64: return filled(f, avro_value_set_long(value, integer));
    case AVRO_FLOAT:
        if (!isfinite((float)real)) return unfit(f, "is %g, which does not fit in a float", real);
        return filled(f, avro_value_set_float(value, (float)real));
    default: return filled(f, avro_value_set_double(value, real));
    }
}

static bool enum_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    const struct member *symbol = symbol_find(n, json);
    if (!symbol) return unfit(f, "is \"%s\", no symbol of \"%s\"", plain_text(json), n->full_name);
    return filled(f, avro_value_set_enum(value, (int)(symbol - n->members)));
}

static bool value_fill(struct filling *f, const struct node *n, const json_t *json, avro_value_t *value) {
    if (n->type == AVRO_UNION) return union_fill(f, n, json, value);
    if (!kind_fits(n, json)) return mismatch(f, n, json);
    switch (n->type) {
    case AVRO_NULL: return filled(f, avro_value_set_null(value));
    case AVRO_BOOLEAN: return filled(f, avro_value_set_boolean(value, json_is_true(json)));
    case AVRO_STRING:
        return filled(
            f, avro_value_set_string_len(value, (char *)json_string_value(json), json_string_length(json) + 1));
    case AVRO_BYTES:
    case AVRO_FIXED: return blob_fill(f, n, json, value);
    case AVRO_ENUM: return enum_fill(f, n, json, value);
    case AVRO_RECORD: return record_fill(f, n, json, value);
    case AVRO_ARRAY: return array_fill(f, n, json, value);
    case AVRO_MAP: return map_fill(f, n, json, value);
    default: return number_fill(f, n, json, value);
    }
}

static bool value_write(avro_value_t *value, struct buffer *body, struct failure *why) {
    size_t size = 0;
    if (avro_value_sizeof(value, &size)) return !fail(why, RETRY, "out of memory");
    if (size > EVENT_BYTES_MAX - FRAME_SIZE)
        return !fail(why, REJECT, "the event takes %zu bytes; at most %d are read", size, EVENT_BYTES_MAX - FRAME_SIZE);
    char *bytes = malloc(size + 1);
    avro_writer_t writer = bytes ? avro_writer_memory(bytes, (int64_t)size) : NULL;
    bool written = writer && !avro_value_write(writer, value);
    if (written) buffer_bytes(body, bytes, size);
    if (writer) avro_writer_free(writer);
    free(bytes);
    if (!written) return !fail(why, RETRY, "out of memory");
    return !body->failed || !fail(why, RETRY, "no room for the %zu bytes of the event", size);
}

verdict codec_encode(const struct schema *s, const json_t *value, struct buffer *body, struct failure *why) {
    struct failure reason = {0};
    avro_value_t root;
    if (!json_is_object(value)) return fail(why, REJECT, "could not encode a %s: it is not an object", schema_name(s));
    if (avro_generic_value_new(s->values, &root)) return fail(why, RETRY, "could not encode: out of memory");
    bool written =
        value_fill(&(struct filling){.why = &reason}, s->root, value, &root) && value_write(&root, body, &reason);
    avro_value_decref(&root);
    return written ? OK : fail(why, reason.kind, "could not encode a %s: %s", schema_name(s), reason.text);
}
