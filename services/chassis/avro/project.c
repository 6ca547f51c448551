#include "chassis/avro/codec_private.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/money.h"
#include "chassis/base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AMOUNT_TEXT = 64 };

/* --- What was written: a value, and its writer's type */

struct piece {
    const struct node *type; /* NULL: not known */
    const json_t *json;
};

/* What a type is read as. Branches of a union that have one shape in JSON are told apart by it, or not at all. */
enum reading { AS_TEXT, AS_BYTES, AS_UUID, AS_DECIMAL, AS_INTEGER, AS_REAL, AS_BOOL, AS_MOMENT, AS_OTHER };

static enum reading reading_of(const struct node *n) {
    if (n->logical == LOGICAL_DECIMAL) return AS_DECIMAL;
    switch (n->type) {
    case AVRO_STRING:
    case AVRO_ENUM: return AS_TEXT;
    case AVRO_BYTES: return AS_BYTES;
    case AVRO_FIXED: return n->logical == LOGICAL_UUID ? AS_UUID : AS_OTHER;
    case AVRO_INT32: return n->logical ? AS_OTHER : AS_INTEGER;
    case AVRO_INT64: return !n->logical ? AS_INTEGER : n->logical == LOGICAL_OTHER ? AS_OTHER : AS_MOMENT;
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return AS_REAL;
    case AVRO_BOOLEAN: return AS_BOOL;
    default: return AS_OTHER;
    }
}

/* By the shape that the JSON has where nobody says of what type it is. */
static enum reading reading(struct piece v) {
    if (v.type) return reading_of(v.type);
    return json_is_string(v.json)    ? AS_TEXT
           : json_is_integer(v.json) ? AS_INTEGER
           : json_is_boolean(v.json) ? AS_BOOL
                                     : AS_OTHER;
}

/* Whether what was decoded can be of that type. */
static bool shape_fits(const struct node *n, const json_t *json) {
    if (n->type == AVRO_FLOAT || n->type == AVRO_DOUBLE) return json_is_real(json);
    return kind_fits(n, json) && (n->type != AVRO_RECORD || record_fits(n, json, false));
}

static bool same_reading(const struct node *a, const struct node *b) {
    bool plain = a->type != AVRO_RECORD && a->type != AVRO_MAP && a->type != AVRO_ARRAY;
    return plain && reading_of(a) == reading_of(b) && a->logical == b->logical;
}

/* The branch that the value is of. The union itself where its shape does not tell. */
static const struct node *branch_of(const struct node *n, const json_t *json) {
    const struct node *branch = NULL;
    if (!n || n->type != AVRO_UNION) return n;
    for (size_t i = 0; i < n->members_n; i++) {
        const struct node *one = n->members[i].type;
        if (!shape_fits(one, json)) continue;
        if (branch && !same_reading(branch, one)) return n;
        branch = one;
    }
    return branch ? branch : n;
}

static struct piece piece_of(const struct node *type, const json_t *json) {
    return (struct piece){branch_of(type, json), json};
}

/* A member of a record, or of a map. What is null counts as absent: .json is NULL. Of a type that could not be told the
 * members cannot be either. They are of the union then, and of no reading. */
static struct piece piece_member(struct piece v, const char *name, size_t n) {
    const json_t *json = json_object_getn(v.json, name, n);
    const struct member *m = v.type && v.type->type == AVRO_RECORD ? member_find(v.type, name, n) : NULL;
    if (v.type && v.type->type == AVRO_MAP) m = v.type->members;
    return piece_of(m ? m->type : v.type, json_is_null(json) ? NULL : json);
}

static struct piece piece_find(struct piece v, const char *path) {
    while (v.json && *path) {
        size_t n = strcspn(path, ".");
        v = piece_member(v, path, n);
        path += n + (path[n] == '.');
    }
    return v;
}

static verdict unlike(const char *path, struct piece v, const char *wanted, struct failure *why) {
    if (!v.type) return fail(why, REJECT, "field \"%s\" is not %s", path, wanted);
    const char *logical = v.type->logical_name;
    return fail(
        why, REJECT, "field \"%s\" is not %s: it was written as %.100s%s%s%s, which cannot be converted exactly", path,
        wanted, node_name(v.type), logical ? " (" : "",
        logical                      ? logical
        : v.type->type == AVRO_UNION ? " whose branches look alike"
                                     : "",
        logical ? ")" : "");
}

/* Keeps a text as long as the event. NULL: no memory. */
static const char *text_keep(struct written *w, const char *text, size_t n) {
    struct written *whole = w->whole ? w->whole : w;
    json_t *json = json_stringn(text, n);
    if (!whole->texts) whole->texts = json_array();
    return json && !json_array_append_new(whole->texts, json) ? json_string_value(json) : NULL;
}

/* --- Text */

static verdict
bytes_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    buffer_auto bytes = BUFFER(EVENT_BYTES_MAX);
    (void)blob_read(v.json, &bytes);
    const char *text = bytes.data ? bytes.data : "";
    if (memchr(text, 0, bytes.length)) return fail(why, REJECT, "field \"%s\" holds a NUL character", path);
    if (!utf8_valid(text, bytes.length))
        return fail(why, REJECT, "field \"%s\" is not text: it was written as bytes, which are not UTF-8", path);
    *out = bytes.failed ? NULL : text_keep(w, text, bytes.length);
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static verdict uuid_project(struct written *w, struct piece v, const char **out, struct failure *why) {
    char text[UUID_TEXT];
    struct uuid id;
    buffer_auto bytes = BUFFER(sizeof id.bytes);
    (void)blob_read(v.json, &bytes);
    if (bytes.length == sizeof id.bytes) memcpy(id.bytes, bytes.data, sizeof id.bytes);
    *out = bytes.length == sizeof id.bytes ? text_keep(w, uuid_text(id, text), UUID_TEXT - 1) : NULL;
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static verdict
text_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    switch (reading(v)) {
    case AS_TEXT: break;
    case AS_BYTES: return bytes_project(w, path, v, out, why);
    case AS_UUID: return uuid_project(w, v, out, why);
    default: return unlike(path, v, "text", why);
    }
    *out = json_string_value(v.json);
    if (strlen(*out) == json_string_length(v.json)) return OK;
    return fail(why, REJECT, "field \"%s\" holds a NUL character", path);
}

static verdict id_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    struct failure reason;
    verdict read = text_project(w, path, v, out, why);
    if (read != OK || input_id(*out, strlen(*out), &reason) == OK) return read;
    return fail(why, REJECT, "field \"%s\" %s", path, reason.text);
}

/* --- Numbers */

static verdict int_project(const char *path, struct piece v, int64_t *out, struct failure *why) {
    enum reading as = reading(v);
    double real = json_real_value(v.json);
    *out = as == AS_INTEGER ? json_integer_value(v.json) : 0;
    if (as == AS_INTEGER) return OK;
    if (as != AS_REAL) return unlike(path, v, "an integer", why);
    if (real != floor(real) || fabs(real) > 9007199254740992.0)
        return fail(
            why, REJECT, "field \"%s\" is not an integer: it was written as %s, and is %.17g", path, node_name(v.type),
            real);
    *out = (int64_t)real;
    return OK;
}

static verdict moment_project(const char *path, struct piece v, int64_t *out, struct failure *why) {
    enum reading as = reading(v);
    enum logical unit = v.type ? v.type->logical : LOGICAL_MILLIS;
    json_int_t n = json_integer_value(v.json), per_ms = unit == LOGICAL_MICROS  ? 1000
                                                        : unit == LOGICAL_NANOS ? 1000000
                                                                                : 1;
    if ((as != AS_MOMENT && as != AS_INTEGER) || (v.type && v.type->type == AVRO_INT32))
        return unlike(path, v, "a moment", why);
    *out = n / per_ms - (n % per_ms < 0); /* what is finer than a millisecond does not count, as in what people write */
    if (time_valid(*out)) return OK;
    return fail(
        why, REJECT, "field \"%s\" is %" JSON_INTEGER_FORMAT ", which is no moment of the years 1970 to 9999%s", path,
        n, unit == LOGICAL_NONE ? " in milliseconds" : "");
}

static verdict bool_project(const char *path, struct piece v, bool *out, struct failure *why) {
    *out = json_is_true(v.json);
    return json_is_boolean(v.json) ? OK : unlike(path, v, "true or false", why);
}

/* --- Money */

/* A decimal of a finer scale may still be whole hundredths: 149.900. */
static verdict amount_project(const char *path, const json_t *json, int64_t *minor, struct failure *why) {
    const char *text = json_string_value(json), *point = strchr(text, '.');
    size_t n = strlen(text);
    char trimmed[AMOUNT_TEXT];
    struct failure reason;
    if (n != json_string_length(json) || n >= AMOUNT_TEXT)
        return fail(why, REJECT, "field \"%s\": the amount is too long", path);
    while (point && text + n > point + 3 && text[n - 1] == '0') n--;
    snprintf(trimmed, sizeof trimmed, "%.*s", (int)n, text);
    return money_parse(trimmed, minor, &reason) == OK ? OK : fail(why, REJECT, "field \"%s\": %s", path, reason.text);
}

static verdict
money_project(struct written *w, const char *path, struct piece v, struct money *out, struct failure *why) {
    struct piece amount = piece_member(v, "amount", strlen("amount")),
                 unit = piece_member(v, "currency", strlen("currency"));
    const char *currency = NULL;
    char inner[300];
    if (!json_is_string(amount.json) || !json_is_string(unit.json))
        return fail(why, REJECT, "field \"%s\" is not money: a record of a decimal amount and a currency", path);
    enum reading as = reading(amount);
    snprintf(inner, sizeof inner, "%s.amount", path);
    /* A string says all that a decimal does. Plain bytes say a number, and not where its point is. */
    if (as != AS_DECIMAL && (as != AS_TEXT || (amount.type && amount.type->type == AVRO_ENUM)))
        return unlike(inner, amount, "a decimal amount", why);
    snprintf(inner, sizeof inner, "%s.currency", path);
    verdict converted = text_project(w, inner, unit, &currency, why);
    if (converted != OK) return converted;
    if (strlen(currency) != 3 || strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
        return fail(why, REJECT, "field \"%s\" has the currency \"%.20s\", not three capital letters", path, currency);
    memcpy(out->currency, currency, sizeof out->currency);
    return amount_project(path, amount.json, &out->minor, why);
}

/* --- Fields */

static verdict fallback_project(const struct field *f, void *member, struct failure *why) {
    char *end, amount[AMOUNT_TEXT];
    struct money *money = member;
    switch (f->type) {
    case TYPE_TEXT:
    case TYPE_ID: *(const char **)member = f->fallback; return OK;
    case TYPE_BOOL: *(bool *)member = !strcmp(f->fallback, "true"); return OK;
    case TYPE_INT:
    case TYPE_MOMENT:
        *(int64_t *)member = strtoll(f->fallback, &end, 10);
        if (*f->fallback && !*end) return OK;
        break;
    case TYPE_MONEY: /* "0.00 EUR" */
        if (sscanf(f->fallback, "%63s %3s", amount, money->currency) != 2) break;
        return money_parse(amount, &money->minor, why);
    }
    return fail(why, REJECT, "field \"%s\" has the fallback \"%s\", which is not of its type", f->path, f->fallback);
}

static verdict
field_project(struct written *w, const struct field *f, struct piece v, void *member, struct failure *why) {
    switch (f->type) {
    case TYPE_TEXT: return text_project(w, f->path, v, member, why);
    case TYPE_ID: return id_project(w, f->path, v, member, why);
    case TYPE_INT: return int_project(f->path, v, member, why);
    case TYPE_BOOL: return bool_project(f->path, v, member, why);
    case TYPE_MOMENT: return moment_project(f->path, v, member, why);
    default: return money_project(w, f->path, v, member, why);
    }
}

verdict project(struct written *event, const struct field *fields, size_t n, void *out, struct failure *why) {
    verdict v = OK;
    for (const struct field *f = fields; v == OK && f < fields + n; f++) {
        struct piece value = piece_find(piece_of(event->type, event->data), f->path);
        void *member = (char *)out + f->offset;
        if (value.json)
            v = field_project(event, f, value, member, why);
        else if (f->fallback)
            v = fallback_project(f, member, why);
        else
            v = fail(why, REJECT, "field \"%s\" is missing", f->path);
    }
    return v;
}

/* --- Lists */

verdict written_list(struct written *w, const char *field, size_t *n, struct failure *why) {
    struct piece v = piece_find(piece_of(w->type, w->data), field);
    *n = json_array_size(v.json);
    return !v.json || json_is_array(v.json) ? OK : fail(why, REJECT, "field \"%s\" is no list", field);
}

struct written written_item(struct written *w, const char *field, size_t i) {
    struct piece v = piece_find(piece_of(w->type, w->data), field);
    json_t *item = json_array_get(v.json, i);
    const struct node *type = v.type && v.type->type == AVRO_ARRAY ? v.type->members[0].type : v.type;
    return (struct written){.type = branch_of(type, item), .data = item, .whole = w->whole ? w->whole : w};
}
