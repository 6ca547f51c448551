#include "chassis/avro/codec_private.h"
#include "chassis/base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The walk: checks every byte against the schema, and makes JSON of what it has checked where JSON is wanted. What it
 * finds wrong first is kept in `why`. Then no loop goes on, and what is still read counts for nothing. */

struct walk {
    const unsigned char *at, *end;
    const struct place *place;
    bool makes;   /* JSON. Else every walk_…() answers NULL */
    size_t bytes; /* what decoding takes so far, at the most. JSON counts in any case: somebody may want it later */
    struct failure *why;
};
#define malformed(w, ...) place_fail((w)->why, (w)->place, ": ", "", __VA_ARGS__)

static json_t *walk_value(struct walk *w, const struct node *n);

static size_t walk_left(const struct walk *w) {
    return (size_t)(w->end - w->at);
}

static void walk_cost(struct walk *w, size_t bytes) {
    w->bytes += bytes;
    if (w->bytes > DECODED_BYTES_MAX)
        malformed(
            w, "decoding the event would take more than the %d bytes of memory that a record may cost",
            DECODED_BYTES_MAX);
}

static int64_t walk_long(struct walk *w) {
    uint64_t n = 0;
    for (int shift = 0; w->at < w->end; shift += 7) {
        unsigned char b = *w->at++;
        if (shift == 63 && b > 1) return malformed(w, "a number has more than 64 bits");
        n |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return (int64_t)(n >> 1 ^ -(n & 1));
    }
    return malformed(w, "the bytes end within a number");
}

static json_t *walk_integer(struct walk *w, const struct node *n) {
    int64_t number = walk_long(w);
    if (n->type == AVRO_INT32 && (number < INT32_MIN || number > INT32_MAX))
        malformed(w, "%" PRId64 " does not fit in an int", number);
    return w->makes ? json_integer(number) : NULL;
}

/* The next n bytes. NULL: something is wrong. */
static const unsigned char *walk_bytes(struct walk *w, int64_t n) {
    if (n < 0)
        malformed(w, "the length %" PRId64 " is negative", n);
    else if ((uint64_t)n > walk_left(w))
        malformed(w, "%" PRId64 " bytes are needed, and %zu are left", n, walk_left(w));
    if (w->why->kind) return NULL;
    w->at += n;
    return w->at - n;
}

enum { TEXT_COSTS = 3, BYTES_COST = 6 }; /* for each byte: JSON's copy, with what makes it */

/* NULL, and no bytes: something is wrong. */
static const char *walk_text(struct walk *w, size_t *n) {
    int64_t size = walk_long(w);
    const char *text = (const char *)walk_bytes(w, size);
    *n = text ? (size_t)size : 0;
    if (!utf8_valid(text, *n)) malformed(w, "the text is not UTF-8");
    walk_cost(w, TEXT_COSTS * *n);
    if (!w->why->kind) return text;
    *n = 0;
    return NULL;
}

static json_t *walk_string(struct walk *w, const struct node *n) {
    size_t size;
    const char *text = walk_text(w, &size);
    (void)n;
    return text && w->makes ? json_stringn_nocheck(text, size) : NULL;
}

bool decimal_read(const unsigned char *bytes, size_t n, int64_t *out) {
    if (!n) return false;
    *out = bytes[0] & 0x80 ? -1 : 0;
    for (const unsigned char *end = bytes + n; bytes < end; bytes++) {
        if (*out >> 55 != *out >> 63) return false; /* a bit that is not the sign would be lost */
        *out = (int64_t)((uint64_t)*out << 8 | *bytes);
    }
    return true;
}

const char *decimal_text(int64_t value, int scale, char out[DECIMAL_TEXT]) {
    char digits[DECIMAL_TEXT];
    uint64_t absolute = value < 0 ? -(uint64_t)value : (uint64_t)value;
    int whole = snprintf(digits, sizeof digits, "%0*" PRIu64, scale + 1, absolute) - scale;
    snprintf(out, DECIMAL_TEXT, "%s%.*s%s%s", value < 0 ? "-" : "", whole, digits, scale ? "." : "", digits + whole);
    return out;
}

static json_t *blob_json(const unsigned char *bytes, size_t size) {
    buffer_auto text = BUFFER(2 * EVENT_BYTES_MAX);
    for (size_t i = 0; i < size; i++) {
        const unsigned char two[2] = {(unsigned char)(0xc0 | bytes[i] >> 6), (unsigned char)(0x80 | (bytes[i] & 0x3f))};
        buffer_bytes(&text, bytes[i] < 0x80 ? bytes + i : two, bytes[i] < 0x80 ? 1 : 2);
    }
    return text.failed ? NULL : json_stringn_nocheck(text.data ? text.data : "", text.length);
}

/* And a decimal. */
static json_t *walk_blob(struct walk *w, const struct node *n) {
    char text[DECIMAL_TEXT];
    int64_t value, size = n->type == AVRO_FIXED ? (int64_t)n->size : walk_long(w);
    const unsigned char *bytes = walk_bytes(w, size);
    if (bytes && n->type == AVRO_BYTES) walk_cost(w, BYTES_COST * (size_t)size);
    if (w->why->kind) return NULL;
    if (n->logical != LOGICAL_DECIMAL) return w->makes ? blob_json(bytes, (size_t)size) : NULL;
    if (decimal_read(bytes, (size_t)size, &value))
        return w->makes ? json_string(decimal_text(value, n->scale, text)) : NULL;
    if (size)
        malformed(w, "a decimal of %" PRId64 " bytes is too large; up to 64 bits are read", size);
    else
        malformed(w, "a decimal of no bytes has no value");
    return NULL;
}

static json_t *walk_boolean(struct walk *w, const struct node *n) {
    const unsigned char *byte = walk_bytes(w, 1);
    (void)n;
    if (byte && *byte > 1) malformed(w, "0x%02x is neither true nor false", *byte);
    return w->makes ? json_boolean(byte && *byte) : NULL;
}

/* JSON has no way to write infinity, nor what is not a number. */
static json_t *walk_real(struct walk *w, const struct node *n) {
    float single = 0;
    double real = 0;
    size_t size = n->type == AVRO_FLOAT ? sizeof single : sizeof real;
    const unsigned char *bytes = walk_bytes(w, (int64_t)size);
    if (bytes) memcpy(n->type == AVRO_FLOAT ? (void *)&single : &real, bytes, size);
    if (!isfinite(single) || !isfinite(real)) malformed(w, "the number is not finite");
    return !w->makes ? NULL : json_real(n->type == AVRO_FLOAT ? (double)single : real);
}

/* Of a symbol or a branch. 0 where it is wrong. */
static size_t walk_index(struct walk *w, const struct node *n, const char *what) {
    int64_t index = walk_long(w);
    if (index >= 0 && (uint64_t)index < n->members_n) return (size_t)index;
    return (size_t)malformed(w, "there is no %s %" PRId64 ", only %zu", what, index, n->members_n);
}

static json_t *walk_enum(struct walk *w, const struct node *n) {
    const char *symbol = n->members[walk_index(w, n, "symbol")].name;
    return w->makes ? json_string(symbol) : NULL;
}

static json_t *walk_union(struct walk *w, const struct node *n) {
    return walk_value(w, n->members[walk_index(w, n, "branch")].type);
}

/* error: of jansson, which has no memory, or was given what is wrong. */
static void walk_kept(struct walk *w, int error) {
    if (error && !w->why->kind) (void)!fail(w->why, RETRY, "out of memory");
}

static json_t *walk_record(struct walk *w, const struct node *n) {
    json_t *json = w->makes ? json_object() : NULL;
    struct place here = {w->place, NULL};
    w->place = &here;
    for (size_t i = 0; i < n->members_n && !w->why->kind; i++) {
        here.name = n->members[i].name;
        json_t *one = walk_value(w, n->members[i].type);
        if (w->makes) walk_kept(w, json_object_set_new_nocheck(json, here.name, one));
    }
    w->place = here.up;
    return json;
}

/* Of two equal keys only the last would be kept. A NUL would end the key. */
static const char *walk_key(struct walk *w, const json_t *map, size_t *n) {
    const char *key = walk_text(w, n);
    if (!key) return "";
    if (memchr(key, 0, *n))
        malformed(w, "a map's key holds a NUL");
    else if (*n > 256)
        malformed(w, "a map's key has %zu bytes; at most 256 are read", *n);
    else if (json_object_getn(map, key, *n))
        malformed(w, "the map has the key \"%.*s\" twice", (int)*n, key);
    return key;
}

/* How many items follow, 0 at the end. Where the writer told their bytes, *end is where they must end. */
static int64_t walk_block(struct walk *w, const struct node *n, const unsigned char **end) {
    size_t least = n->members->type->least + (n->type == AVRO_MAP); /* a key is a byte more */
    int64_t count = walk_long(w), size = -1;
    if (count == INT64_MIN) return malformed(w, "a block counts %" PRId64 " items", count);
    if (count < 0) {
        count = -count;
        size = walk_long(w);
        if (size < 0 || (uint64_t)size > walk_left(w))
            return malformed(w, "a block of %" PRId64 " bytes, and %zu are left", size, walk_left(w));
    }
    *end = size < 0 ? NULL : w->at + size;
    if ((uint64_t)count <= walk_left(w) / least) return count;
    return malformed(w, "a block of %" PRId64 " items, and %zu bytes are left", count, walk_left(w));
}

enum { MAP_ENTRY_COSTS = 512 };

static void walk_item(struct walk *w, const struct node *n, json_t *list) {
    walk_cost(w, 32 + 2 * n->members->type->bytes);
    json_t *one = walk_value(w, n->members->type);
    if (w->makes) walk_kept(w, json_array_append_new(list, one));
}

static void walk_entry(struct walk *w, const struct node *n, json_t *map) {
    size_t key_n = 0;
    walk_cost(w, 32 + 2 * n->members->type->bytes + MAP_ENTRY_COSTS);
    const char *key = walk_key(w, map, &key_n);
    json_t *one = walk_value(w, n->members->type);
    walk_kept(w, json_object_setn_new_nocheck(map, key, key_n, w->makes ? one : json_null()));
}

/* Of an array or a map, which is made in any case, as its keys tell whether one comes twice. */
static json_t *walk_items(struct walk *w, const struct node *n) {
    json_t *json = n->type == AVRO_MAP ? json_object() : w->makes ? json_array() : NULL;
    const unsigned char *end = NULL;
    for (int64_t count; (count = walk_block(w, n, &end)) && !w->why->kind;) {
        for (; count && !w->why->kind; count--) (n->type == AVRO_MAP ? walk_entry : walk_item)(w, n, json);
        if (end && w->at != end) malformed(w, "a block's items do not fill the bytes it claims");
    }
    return json;
}

static json_t *walk_null(struct walk *w, const struct node *n) {
    (void)n;
    return w->makes ? json_null() : NULL;
}

/* NULL: `why` says it, or nothing is made. */
static json_t *walk_value(struct walk *w, const struct node *n) {
    static json_t *(*const walks[])(struct walk *, const struct node *) = {
        [AVRO_NULL] = walk_null,     [AVRO_BOOLEAN] = walk_boolean, [AVRO_INT32] = walk_integer,
        [AVRO_INT64] = walk_integer, [AVRO_FLOAT] = walk_real,      [AVRO_DOUBLE] = walk_real,
        [AVRO_STRING] = walk_string, [AVRO_BYTES] = walk_blob,      [AVRO_FIXED] = walk_blob,
        [AVRO_ENUM] = walk_enum,     [AVRO_RECORD] = walk_record,   [AVRO_UNION] = walk_union,
        [AVRO_ARRAY] = walk_items,   [AVRO_MAP] = walk_items};
    walk_cost(w, n->json_bytes);
    json_t *json = w->why->kind ? NULL : walks[n->type](w, n);
    walk_kept(w, w->makes && !json);
    if (w->makes && !w->why->kind) return json;
    json_decref(json);
    return NULL;
}

/* NULL for `made`: no JSON is wanted. */
static verdict
walk(const struct node *type, const void *body, size_t n, json_t **made, size_t *bytes, struct failure *why) {
    struct failure reason = {0};
    if (!n) body = "";
    struct walk w = {.at = body, .end = (const unsigned char *)body + n, .makes = made, .why = &reason};
    if (n > EVENT_BYTES_MAX) malformed(&w, "%zu bytes; at most %d are read", n, (int)EVENT_BYTES_MAX);
    walk_cost(&w, type->bytes);
    json_auto_t *json = walk_value(&w, type);
    if (w.at != w.end) malformed(&w, "%zu bytes are left over at its end", walk_left(&w));
    if (made) *made = reason.kind ? NULL : json_incref(json);
    *bytes = w.bytes;
    return reason.kind ? fail(why, reason.kind, "could not decode the %s: %s", node_name(type), reason.text) : OK;
}

verdict codec_read(const struct schema *s, const void *body, size_t n, struct written *out, struct failure *why) {
    *out = (struct written){0};
    verdict v = walk(s->root, body, n, NULL, &out->bytes, why);
    if (v == OK) out->type = s->root, out->body = n ? body : "";
    return v;
}

verdict codec_decode(const struct schema *s, const void *body, size_t n, json_t **out, struct failure *why) {
    size_t bytes;
    return walk(s->root, body, n, out, &bytes, why);
}

const json_t *written_json(struct written *w) {
    struct failure why; /* it was checked, so only memory can be missing */
    size_t n = w->type && !w->json ? (size_t)(past(w->type, w->body) - w->body) : 0, bytes;
    if (w->type && !w->json) (void)!walk(w->type, w->body, n, &w->json, &bytes, &why);
    return w->json;
}

/* --- What was checked */

int64_t long_read(const unsigned char **at) {
    uint64_t n = 0;
    int shift = 0;
    do n |= (uint64_t)(**at & 0x7f) << shift, shift += 7;
    while (*(*at)++ & 0x80);
    return (int64_t)(n >> 1 ^ -(n & 1));
}

static const unsigned char *past_text(const unsigned char *at) {
    int64_t n = long_read(&at);
    return at + n;
}

static const unsigned char *past_members(const struct node *n, const unsigned char *at) {
    for (size_t i = 0; i < n->members_n; i++) at = past(n->members[i].type, at);
    return at;
}

/* Of an array or a map. */
static const unsigned char *past_items(const struct node *n, const unsigned char *at) {
    for (int64_t count; (count = long_read(&at));) {
        if (count < 0) at = past_text(at); /* the block says how many bytes it has */
        for (; count > 0; count--) at = past(n->members->type, n->type == AVRO_MAP ? past_text(at) : at);
    }
    return at;
}

const unsigned char *past(const struct node *n, const unsigned char *at) {
    int64_t branch;
    switch (n->type) {
    case AVRO_NULL: return at;
    case AVRO_BOOLEAN: return at + 1;
    case AVRO_FLOAT: return at + sizeof(float);
    case AVRO_DOUBLE: return at + sizeof(double);
    case AVRO_FIXED: return at + n->size;
    case AVRO_STRING:
    case AVRO_BYTES: return past_text(at);
    case AVRO_RECORD: return past_members(n, at);
    case AVRO_UNION: branch = long_read(&at); return past(n->members[branch].type, at);
    case AVRO_ARRAY:
    case AVRO_MAP: return past_items(n, at);
    default: (void)long_read(&at); return at; /* numbers, and symbols of an enum */
    }
}
