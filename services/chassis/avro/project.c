#include "chassis/avro/codec_private.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/money.h"
#include "chassis/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AMOUNT_TEXT = 64, TYPE_TEXT_SIZE = 160 };

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

/* By what shape the JSON has where nobody says of what type it is. */
static enum reading reading_of_json(const json_t *json, bool wants_money) {
    if (json_is_string(json)) return wants_money ? AS_DECIMAL : AS_TEXT;
    return json_is_integer(json) ? AS_INTEGER : json_is_boolean(json) ? AS_BOOL : AS_OTHER;
}

static bool shape_fits(const struct node *n, const json_t *json) {
    switch (n->type) {
    case AVRO_NULL: return json_is_null(json);
    case AVRO_BOOLEAN: return json_is_boolean(json);
    case AVRO_INT32:
    case AVRO_INT64: return json_is_integer(json);
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return json_is_real(json);
    case AVRO_ARRAY: return json_is_array(json);
    case AVRO_MAP: return json_is_object(json);
    case AVRO_RECORD: break;
    default: return json_is_string(json);
    }
    if (json_object_size(json) != n->members_n) return false;
    for (size_t i = 0; i < n->members_n; i++)
        if (!json_object_get(json, n->members[i].name)) return false;
    return true;
}

static bool same_reading(const struct node *a, const struct node *b) {
    bool plain = a->type != AVRO_RECORD && a->type != AVRO_MAP && a->type != AVRO_ARRAY;
    return plain && reading_of(a) == reading_of(b) && a->logical == b->logical;
}

/* The branch that the value is of; the union itself where its shape does not tell. */
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

/* A member of a record, or of a map; what is null counts as absent: .json is NULL. */
static struct piece piece_member(struct piece v, const char *name, size_t n) {
    const json_t *json = json_object_getn(v.json, name, n);
    const struct node *type = NULL;
    if (json_is_null(json)) json = NULL;
    for (size_t i = 0; v.type && v.type->type == AVRO_RECORD && i < v.type->members_n; i++)
        if (!strncmp(v.type->members[i].name, name, n) && !v.type->members[i].name[n]) type = v.type->members[i].type;
    if (v.type && v.type->type == AVRO_MAP) type = v.type->members[0].type;
    /* Of a type that could not be told the members cannot be either; they are of the union then, and of no reading. */
    if (v.type && !type) type = v.type;
    return piece_of(type, json);
}

static struct piece piece_find(struct piece v, const char *path) {
    while (v.json && *path) {
        size_t n = strcspn(path, ".");
        v = piece_member(v, path, n);
        path += n + (path[n] == '.');
    }
    return v;
}

static const char *type_text(const struct node *n, char out[TYPE_TEXT_SIZE]) {
    if (n->logical_name)
        snprintf(out, TYPE_TEXT_SIZE, "%.100s (%s)", node_name(n), n->logical_name);
    else
        snprintf(
            out, TYPE_TEXT_SIZE, "%.100s%s", node_name(n), n->type == AVRO_UNION ? " whose branches look alike" : "");
    return out;
}

static verdict unlike(const char *path, struct piece v, const char *wanted, struct failure *why) {
    char type[TYPE_TEXT_SIZE];
    if (!v.type) return fail(why, REJECT, "field \"%s\" is not %s", path, wanted);
    return fail(
        why, REJECT, "field \"%s\" is not %s: it was written as %s, which cannot be converted exactly", path, wanted,
        type_text(v.type, type));
}

/* Keeps a text as long as the event. NULL: no memory. */
static const char *text_keep(struct written *w, const char *text, size_t n) {
    struct written *whole = w->whole ? w->whole : w;
    json_t *json = json_stringn(text, n);
    if (!whole->texts) whole->texts = json_array();
    return json && !json_array_append_new(whole->texts, json) ? json_string_value(json) : NULL;
}

/* The bytes that a text of the code points 0 to 255 stands for; the caller's. NULL: no memory. */
static char *bytes_of(const json_t *json, size_t *n) {
    const unsigned char *p = (const unsigned char *)json_string_value(json), *end = p + json_string_length(json);
    char *out = malloc(json_string_length(json) + 1);
    *n = 0;
    for (; out && p < end; p++) {
        unsigned char byte = *p;
        if (byte >= 0x80) byte = (unsigned char)(byte << 6 | (*++p & 0x3f));
        out[(*n)++] = (char)byte;
    }
    return out;
}

/* --- Text */

static verdict
bytes_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    size_t n;
    char *bytes = bytes_of(v.json, &n);
    if (!bytes) return fail(why, RETRY, "out of memory");
    bool is_text = utf8_valid(bytes, n), nul = memchr(bytes, 0, n);
    *out = is_text && !nul ? text_keep(w, bytes, n) : NULL;
    free(bytes);
    if (nul) return fail(why, REJECT, "field \"%s\" holds a NUL character", path);
    if (!is_text)
        return fail(why, REJECT, "field \"%s\" is not text: it was written as bytes, which are not UTF-8", path);
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static verdict uuid_project(struct written *w, struct piece v, const char **out, struct failure *why) {
    size_t n, at = 0;
    char text[40], *bytes = bytes_of(v.json, &n);
    for (size_t i = 0; bytes && i < n && i < 16; i++)
        at += (size_t)sprintf(
            text + at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", (unsigned char)bytes[i]);
    *out = bytes ? text_keep(w, text, at) : NULL;
    free(bytes);
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static verdict
text_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    switch (v.type ? reading_of(v.type) : reading_of_json(v.json, false)) {
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
    enum reading as = v.type ? reading_of(v.type) : reading_of_json(v.json, false);
    double real = json_real_value(v.json);
    *out = as == AS_REAL ? 0 : json_integer_value(v.json);
    if (as == AS_INTEGER) return OK;
    if (as != AS_REAL) return unlike(path, v, "an integer", why);
    if (real != floor(real) || fabs(real) > 9007199254740992.0)
        return fail(
            why, REJECT, "field \"%s\" is not an integer: it was written as %s, and is %.17g", path, node_name(v.type),
            real);
    *out = (int64_t)real;
    return OK;
}

/* What is finer than a millisecond does not count, as in what people write. */
static int64_t millis_of(int64_t n, int64_t scale) {
    return n / scale - (n % scale < 0);
}

static verdict moment_project(const char *path, struct piece v, int64_t *out, struct failure *why) {
    enum reading as = v.type ? reading_of(v.type) : reading_of_json(v.json, false);
    bool is_int = v.type && v.type->type == AVRO_INT32;
    if ((as != AS_MOMENT && as != AS_INTEGER) || is_int) return unlike(path, v, "a moment", why);
    enum logical unit = v.type ? v.type->logical : LOGICAL_MILLIS;
    *out = millis_of(json_integer_value(v.json), unit == LOGICAL_MICROS ? 1000 : unit == LOGICAL_NANOS ? 1000000 : 1);
    if (time_valid(*out)) return OK;
    return fail(
        why, REJECT, "field \"%s\" is %" JSON_INTEGER_FORMAT ", which is no moment of the years 1970 to 9999%s", path,
        json_integer_value(v.json), unit == LOGICAL_NONE ? " in milliseconds" : "");
}

static verdict bool_project(const char *path, struct piece v, bool *out, struct failure *why) {
    if (!json_is_boolean(v.json)) return unlike(path, v, "true or false", why);
    *out = json_is_true(v.json);
    return OK;
}

/* --- Money */

/* A decimal of a finer scale may still be whole hundredths: 149.900. */
static void amount_trim(const char *text, char out[AMOUNT_TEXT]) {
    snprintf(out, AMOUNT_TEXT, "%s", text);
    const char *point = strchr(out, '.');
    if (!point) return;
    for (size_t n = strlen(out); out + n > point + 3 && out[n - 1] == '0'; n--) out[n - 1] = '\0';
}

static verdict
money_project(struct written *w, const char *path, struct piece v, struct money *out, struct failure *why) {
    struct piece amount = piece_member(v, "amount", strlen("amount")),
                 unit = piece_member(v, "currency", strlen("currency"));
    const char *currency = NULL, *text = json_string_value(amount.json);
    char inner[300], trimmed[AMOUNT_TEXT];
    struct failure reason;
    if (!text || !json_is_string(unit.json))
        return fail(why, REJECT, "field \"%s\" is not money: a record of a decimal amount and a currency", path);
    enum reading as = amount.type ? reading_of(amount.type) : AS_DECIMAL;
    snprintf(inner, sizeof inner, "%s.amount", path);
    /* A string says all that a decimal does. Plain bytes say a number, and not where its point is. */
    if (as != AS_DECIMAL && (as != AS_TEXT || amount.type->type == AVRO_ENUM))
        return unlike(inner, amount, "a decimal amount", why);
    snprintf(inner, sizeof inner, "%s.currency", path);
    verdict converted = text_project(w, inner, unit, &currency, why);
    if (converted != OK) return converted;
    if (strlen(currency) != 3 || strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
        return fail(why, REJECT, "field \"%s\" has the currency \"%.20s\", not three capital letters", path, currency);
    if (strlen(text) != json_string_length(amount.json) || strlen(text) >= AMOUNT_TEXT)
        return fail(why, REJECT, "field \"%s\": the amount is too long", path);
    amount_trim(text, trimmed);
    if (money_parse(trimmed, &out->minor, &reason) != OK)
        return fail(why, REJECT, "field \"%s\": %s", path, reason.text);
    memcpy(out->currency, currency, sizeof out->currency);
    return OK;
}

/* --- Fields */

static verdict fallback_project(const struct field *f, void *member, struct failure *why) {
    const char *text = f->fallback;
    char *end;
    switch (f->type) {
    case TYPE_TEXT:
    case TYPE_ID: *(const char **)member = text; return OK;
    case TYPE_BOOL: *(bool *)member = !strcmp(text, "true"); return OK;
    case TYPE_INT:
    case TYPE_MOMENT:
        errno = 0;
        *(int64_t *)member = strtoll(text, &end, 10);
        if (!*text || *end || errno) break;
        return OK;
    case TYPE_MONEY: { /* "0.00 EUR" */
        char amount[AMOUNT_TEXT], currency[4];
        struct money *money = member;
        if (sscanf(text, "%63s %3s", amount, currency) != 2) break;
        memcpy(money->currency, currency, sizeof currency);
        return money_parse(amount, &money->minor, why);
    }
    }
    return fail(why, REJECT, "field \"%s\" has the fallback \"%s\", which is not of its type", f->path, text);
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
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        struct piece value = piece_find(piece_of(event->type, event->data), f->path);
        void *member = (char *)out + f->offset;
        verdict v;
        if (value.json)
            v = field_project(event, f, value, member, why);
        else if (f->fallback)
            v = fallback_project(f, member, why);
        else
            v = fail(why, REJECT, "field \"%s\" is missing", f->path);
        if (v != OK) return v;
    }
    return OK;
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
