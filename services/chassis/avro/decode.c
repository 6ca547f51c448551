#include "chassis/avro/codec_private.h"
#include "chassis/base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- The walk: checks every byte against the schema, and keeps nothing. What passes, avro-c reads without harm. */

struct walk {
    const unsigned char *at, *end;
    size_t bytes; /* what decoding takes so far, at the most */
    struct failure *why;
};

static verdict walk_value(struct walk *w, const struct node *n, const struct place *place);

__attribute__((format(printf, 3, 4))) static verdict
malformed(struct walk *w, const struct place *place, const char *format, ...) {
    char where[PLACE_TEXT], text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    place_text(place, where);
    return *where ? fail(w->why, REJECT, "field \"%s\": %s", where, text) : fail(w->why, REJECT, "%s", text);
}

static size_t walk_left(const struct walk *w) {
    return (size_t)(w->end - w->at);
}

static verdict walk_long(struct walk *w, const struct place *place, int64_t *out) {
    uint64_t n = 0;
    for (int shift = 0;; shift += 7) {
        if (w->at == w->end) return malformed(w, place, "the bytes end within a number");
        unsigned char b = *w->at++;
        if (shift == 63 && b > 1) return malformed(w, place, "a number has more than 64 bits");
        n |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) break;
    }
    *out = (int64_t)(n >> 1 ^ -(n & 1));
    return OK;
}

static verdict walk_int(struct walk *w, const struct place *place) {
    int64_t n = 0;
    verdict v = walk_long(w, place, &n);
    if (v == OK && (n < INT32_MIN || n > INT32_MAX)) v = malformed(w, place, "%" PRId64 " does not fit in an int", n);
    return v;
}

static verdict walk_cost(struct walk *w, const struct place *place, size_t bytes) {
    if (bytes > DECODED_BYTES_MAX || w->bytes > DECODED_BYTES_MAX - bytes)
        return malformed(
            w, place, "decoding the event would take more than the %d bytes of memory that a record may cost",
            DECODED_BYTES_MAX);
    w->bytes += bytes;
    return OK;
}

static verdict walk_skip(struct walk *w, const struct place *place, int64_t n) {
    if (n < 0) return malformed(w, place, "the length %" PRId64 " is negative", n);
    if ((uint64_t)n > walk_left(w))
        return malformed(w, place, "%" PRId64 " bytes are needed, and %zu are left", n, walk_left(w));
    w->at += n;
    return OK;
}

static verdict walk_bytes(struct walk *w, const struct place *place, const unsigned char **bytes, size_t *bytes_n) {
    int64_t n = 0;
    verdict v = walk_long(w, place, &n);
    *bytes = w->at;
    if (v == OK) v = walk_skip(w, place, n);
    if (v == OK) *bytes_n = (size_t)n;
    return v;
}

enum { TEXT_COSTS = 3, BYTES_COST = 6 }; /* for each byte: avro-c's copy, and JSON's, with what makes it */

static verdict walk_text(struct walk *w, const struct place *place, const unsigned char **text, size_t *n) {
    verdict v = walk_bytes(w, place, text, n);
    if (v != OK) return v;
    if (!utf8_valid((const char *)*text, *n)) return malformed(w, place, "the text is not UTF-8");
    return walk_cost(w, place, TEXT_COSTS * *n);
}

/* Big-endian two's complement of any length; false when it does not fit in 64 bits. */
static bool decimal_read(const unsigned char *bytes, size_t n, int64_t *out) {
    if (!n) return false;
    unsigned char sign = bytes[0] & 0x80 ? 0xff : 0;
    for (; n > 8; bytes++, n--)
        if (bytes[0] != sign || (bytes[1] & 0x80) != (sign & 0x80)) return false;
    uint64_t value = sign ? UINT64_MAX : 0;
    for (size_t i = 0; i < n; i++) value = value << 8 | bytes[i];
    *out = (int64_t)value;
    return true;
}

static verdict walk_decimal(struct walk *w, const struct place *place, const unsigned char *bytes, size_t n) {
    int64_t value;
    if (decimal_read(bytes, n, &value)) return OK;
    if (!n) return malformed(w, place, "a decimal of no bytes has no value");
    return malformed(w, place, "a decimal of %zu bytes is too large; up to 64 bits are read", n);
}

static verdict walk_bytes_or_decimal(struct walk *w, const struct node *n, const struct place *place) {
    const unsigned char *bytes = w->at;
    size_t bytes_n = n->size;
    verdict v = n->type == AVRO_FIXED ? walk_skip(w, place, (int64_t)n->size) : walk_bytes(w, place, &bytes, &bytes_n);
    if (v == OK && n->type == AVRO_BYTES) v = walk_cost(w, place, BYTES_COST * bytes_n);
    return v == OK && n->logical == LOGICAL_DECIMAL ? walk_decimal(w, place, bytes, bytes_n) : v;
}

/* JSON has no way to write infinity, nor what is not a number. */
static verdict walk_real(struct walk *w, const struct place *place, size_t size) {
    const unsigned char *bytes = w->at;
    verdict v = walk_skip(w, place, (int64_t)size);
    if (v != OK) return v;
    float single = 0;
    double real = 0;
    if (size == sizeof single)
        memcpy(&single, bytes, size);
    else
        memcpy(&real, bytes, size);
    return isfinite(single) && isfinite(real) ? OK : malformed(w, place, "the number is not finite");
}

static verdict walk_index(struct walk *w, const struct place *place, const char *what, size_t n, size_t *out) {
    int64_t index = 0;
    verdict v = walk_long(w, place, &index);
    if (v == OK && (index < 0 || (uint64_t)index >= n))
        v = malformed(w, place, "there is no %s %" PRId64 ", only %zu", what, index, n);
    if (v == OK) *out = (size_t)index;
    return v;
}

/* Two equal keys would be merged by avro-c; a NUL would end the key. */
static verdict walk_key(struct walk *w, const struct place *place, json_t *keys) {
    const unsigned char *key;
    size_t n = 0;
    verdict v = walk_text(w, place, &key, &n);
    if (v != OK) return v;
    if (memchr(key, 0, n)) return malformed(w, place, "a map's key holds a NUL");
    char text[256 + 1];
    if (n > 256) return malformed(w, place, "a map's key has %zu bytes; at most 256 are read", n);
    memcpy(text, key, n);
    text[n] = '\0';
    if (json_object_get(keys, text)) return malformed(w, place, "the map has the key \"%s\" twice", text);
    return json_object_set_new_nocheck(keys, text, json_null()) ? fail(w->why, RETRY, "out of memory") : OK;
}

enum { MAP_ENTRY_COSTS = 512 };

/* *count items follow, 0 at the end; where the writer told their bytes, *end is where they must end. */
static verdict
walk_block(struct walk *w, const struct node *n, const struct place *place, int64_t *count, const unsigned char **end) {
    size_t least = n->members[0].type->least + (n->type == AVRO_MAP); /* a key is a byte more */
    int64_t size = -1;
    verdict v = walk_long(w, place, count);
    if (v == OK && *count < 0) {
        if (*count == INT64_MIN) return malformed(w, place, "a block counts %" PRId64 " items", *count);
        *count = -*count;
        v = walk_long(w, place, &size);
        if (v == OK && (size < 0 || (uint64_t)size > walk_left(w)))
            v = malformed(w, place, "a block of %" PRId64 " bytes, and %zu are left", size, walk_left(w));
    }
    if (v == OK && (uint64_t)*count > walk_left(w) / least)
        v = malformed(w, place, "a block of %" PRId64 " items, and %zu bytes are left", *count, walk_left(w));
    *end = v == OK && size >= 0 ? w->at + size : NULL;
    return v;
}

static verdict walk_items(struct walk *w, const struct node *n, const struct place *place, json_t *keys) {
    const struct node *item = n->members[0].type;
    for (;;) {
        const unsigned char *end = NULL;
        int64_t count = 0;
        verdict v = walk_block(w, n, place, &count, &end);
        if (v != OK || !count) return v;
        for (int64_t i = 0; i < count; i++) {
            v = walk_cost(w, place, 32 + 2 * item->bytes + (keys ? MAP_ENTRY_COSTS : 0));
            if (v == OK && keys) v = walk_key(w, place, keys);
            if (v == OK) v = walk_value(w, item, place);
            if (v != OK) return v;
        }
        if (end && w->at != end) return malformed(w, place, "a block's items do not fill the bytes it claims");
    }
}

static verdict walk_map(struct walk *w, const struct node *n, const struct place *place) {
    json_t *keys = json_object();
    verdict v = keys ? walk_items(w, n, place, keys) : fail(w->why, RETRY, "out of memory");
    json_decref(keys);
    return v;
}

static verdict walk_record(struct walk *w, const struct node *n, const struct place *place) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < n->members_n; i++)
        v = walk_value(w, n->members[i].type, &(struct place){place, n->members[i].name});
    return v;
}

static verdict walk_union(struct walk *w, const struct node *n, const struct place *place) {
    size_t branch = 0;
    verdict v = walk_index(w, place, "branch", n->members_n, &branch);
    return v == OK ? walk_value(w, n->members[branch].type, place) : v;
}

static verdict walk_boolean(struct walk *w, const struct place *place) {
    verdict v = walk_skip(w, place, 1);
    return v == OK && w->at[-1] > 1 ? malformed(w, place, "0x%02x is neither true nor false", w->at[-1]) : v;
}

static verdict walk_value(struct walk *w, const struct node *n, const struct place *place) {
    const unsigned char *text;
    int64_t number;
    size_t size;
    verdict v = walk_cost(w, place, n->json_bytes);
    if (v != OK) return v;
    switch (n->type) {
    case AVRO_NULL: return OK;
    case AVRO_BOOLEAN: return walk_boolean(w, place);
    case AVRO_INT32: return walk_int(w, place);
    case AVRO_INT64: return walk_long(w, place, &number);
    case AVRO_FLOAT: return walk_real(w, place, sizeof(float));
    case AVRO_DOUBLE: return walk_real(w, place, sizeof(double));
    case AVRO_STRING: return walk_text(w, place, &text, &size);
    case AVRO_BYTES:
    case AVRO_FIXED: return walk_bytes_or_decimal(w, n, place);
    case AVRO_ENUM: return walk_index(w, place, "symbol", json_array_size(n->symbols), &size);
    case AVRO_RECORD: return walk_record(w, n, place);
    case AVRO_UNION: return walk_union(w, n, place);
    case AVRO_MAP: return walk_map(w, n, place);
    default: return walk_items(w, n, place, NULL);
    }
}

/* --- From avro-c's values to JSON. Only memory can be missing: each function then returns NULL. */

static json_t *value_json(const struct node *n, const avro_value_t *value);

static json_t *decimal_json(const unsigned char *bytes, size_t n, int scale) {
    char digits[80], text[84];
    int64_t value = 0;
    (void)!decimal_read(bytes, n, &value);
    uint64_t absolute = value < 0 ? -(uint64_t)value : (uint64_t)value;
    int whole = snprintf(digits, sizeof digits, "%0*" PRIu64, scale + 1, absolute) - scale;
    snprintf(text, sizeof text, "%s%.*s%s%s", value < 0 ? "-" : "", whole, digits, scale ? "." : "", digits + whole);
    return json_string(text);
}

static json_t *node_bytes_json(const struct node *n, const unsigned char *bytes, size_t size) {
    if (n->logical == LOGICAL_DECIMAL) return decimal_json(bytes, size, n->scale);
    struct buffer text = BUFFER(2 * EVENT_BYTES_MAX);
    for (size_t i = 0; i < size; i++) {
        const unsigned char two[2] = {(unsigned char)(0xc0 | bytes[i] >> 6), (unsigned char)(0x80 | (bytes[i] & 0x3f))};
        buffer_bytes(&text, bytes[i] < 0x80 ? bytes + i : two, bytes[i] < 0x80 ? 1 : 2);
    }
    json_t *json = text.failed ? NULL : json_stringn_nocheck(text.data ? text.data : "", text.length);
    buffer_free(&text);
    return json;
}

static json_t *record_json(const struct node *n, const avro_value_t *value) {
    json_t *json = json_object();
    for (size_t i = 0; json && i < n->members_n; i++) {
        avro_value_t field;
        if (avro_value_get_by_index(value, i, &field, NULL) ||
            json_object_set_new_nocheck(json, n->members[i].name, value_json(n->members[i].type, &field))) {
            json_decref(json);
            json = NULL;
        }
    }
    return json;
}

/* An array or a map. */
static json_t *items_json(const struct node *n, const avro_value_t *value) {
    bool map = n->type == AVRO_MAP;
    json_t *json = map ? json_object() : json_array();
    size_t items_n = 0;
    if (avro_value_get_size(value, &items_n)) goto failed;
    for (size_t i = 0; i < items_n; i++) {
        avro_value_t item;
        const char *key = NULL;
        if (avro_value_get_by_index(value, i, &item, &key)) goto failed;
        json_t *one = value_json(n->members[0].type, &item);
        if (map ? json_object_set_new_nocheck(json, key, one) : json_array_append_new(json, one)) goto failed;
    }
    return json;
failed:
    json_decref(json);
    return NULL;
}

static json_t *union_json(const struct node *n, const avro_value_t *value) {
    avro_value_t branch;
    int index;
    if (avro_value_get_discriminant(value, &index) || avro_value_get_current_branch(value, &branch)) return NULL;
    return value_json(n->members[index].type, &branch);
}

/* A copy: jansson counts the references of what is shared, but not between threads. */
static json_t *symbol_json(const struct node *n, int index) {
    return json_string(json_string_value(json_array_get(n->symbols, (size_t)index)));
}

static json_t *number_json(const struct node *n, const avro_value_t *value) {
    int boolean = 0;
    int32_t integer = 0;
    int64_t number = 0;
    float single = 0;
    double real = 0;
    switch (n->type) {
    case AVRO_BOOLEAN: return avro_value_get_boolean(value, &boolean) ? NULL : json_boolean(boolean);
    case AVRO_INT32: return avro_value_get_int(value, &integer) ? NULL : json_integer(integer);
    case AVRO_INT64: return avro_value_get_long(value, &number) ? NULL : json_integer(number);
    case AVRO_FLOAT: return avro_value_get_float(value, &single) ? NULL : json_real(single);
    case AVRO_DOUBLE: return avro_value_get_double(value, &real) ? NULL : json_real(real);
    default: return json_null();
    }
}

static json_t *value_json(const struct node *n, const avro_value_t *value) {
    const void *bytes;
    const char *text;
    size_t size;
    int index;
    switch (n->type) {
    case AVRO_STRING: return avro_value_get_string(value, &text, &size) ? NULL : json_stringn_nocheck(text, size - 1);
    case AVRO_BYTES: return avro_value_get_bytes(value, &bytes, &size) ? NULL : node_bytes_json(n, bytes, size);
    case AVRO_FIXED: return avro_value_get_fixed(value, &bytes, &size) ? NULL : node_bytes_json(n, bytes, size);
    case AVRO_ENUM: return avro_value_get_enum(value, &index) ? NULL : symbol_json(n, index);
    case AVRO_RECORD: return record_json(n, value);
    case AVRO_UNION: return union_json(n, value);
    case AVRO_ARRAY:
    case AVRO_MAP: return items_json(n, value);
    default: return number_json(n, value);
    }
}

/* --- */

static verdict body_check(const struct schema *s, const void *body, size_t n, size_t *bytes, struct failure *why) {
    struct walk w = {.at = body, .end = (const unsigned char *)body + n, .why = why};
    if (n > EVENT_BYTES_MAX) return malformed(&w, NULL, "%zu bytes; at most %d are read", n, (int)EVENT_BYTES_MAX);
    verdict v = walk_cost(&w, NULL, s->root->bytes);
    if (v == OK) v = walk_value(&w, s->root, NULL);
    if (v == OK && w.at != w.end) v = malformed(&w, NULL, "%zu bytes are left over at its end", walk_left(&w));
    *bytes = w.bytes;
    return v;
}

static json_t *body_read(const struct schema *s, const void *body, size_t n) {
    avro_value_t value;
    if (avro_generic_value_new(s->values, &value)) return NULL;
    avro_reader_t reader = avro_reader_memory(body, (int64_t)n);
    json_t *json = NULL;
    if (reader && !avro_value_read(reader, &value)) json = value_json(s->root, &value);
    if (reader) avro_reader_free(reader);
    avro_value_decref(&value);
    return json;
}

verdict codec_read(const struct schema *s, const void *body, size_t n, struct written *out, struct failure *why) {
    struct failure reason = {0};
    *out = (struct written){.type = s->root};
    verdict v = body_check(s, n ? body : "", n, &out->bytes, &reason);
    if (v == OK && !(out->data = body_read(s, n ? body : "", n))) v = fail(&reason, RETRY, "out of memory");
    return v == OK ? OK : fail(why, v, "could not decode the %s: %s", schema_name(s), reason.text);
}

verdict codec_decode(const struct schema *s, const void *body, size_t n, json_t **out, struct failure *why) {
    struct written w;
    verdict v = codec_read(s, body, n, &w, why);
    *out = w.data;
    return v;
}

void written_free(struct written *w) {
    json_decref(w->data);
    json_decref(w->texts);
    *w = (struct written){0};
}
