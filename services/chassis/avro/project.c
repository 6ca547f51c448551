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

/* --- What was written: bytes of its writer's type, or JSON, whose type nobody says */

struct piece {
    const struct node *type; /* never a union. NULL: in JSON */
    const unsigned char *at;
    const json_t *json;
};

static bool is_there(struct piece v) {
    return v.type || v.json;
}

/* What is null counts as absent. */
static struct piece piece_of(const struct node *n, const unsigned char *at) {
    if (n->type == AVRO_UNION) {
        int64_t branch = long_read(&at);
        n = n->members[branch].type;
    }
    return n->type == AVRO_NULL ? (struct piece){0} : (struct piece){n, at, NULL};
}

static struct piece piece_json(const json_t *json) {
    return (struct piece){.json = json_is_null(json) ? NULL : json};
}

static struct piece piece_whole(const struct written *w) {
    return w->type ? piece_of(w->type, w->body) : piece_json(w->json);
}

/* Whether another item, or entry, follows, which begins at *at then. *left: of the block at hand. */
static bool block_next(const unsigned char **at, int64_t *left) {
    if (!*left) *left = long_read(at);
    if (*left < 0) {
        *left = -*left;
        (void)long_read(at); /* the block's bytes */
    }
    return (*left)-- > 0;
}

static struct piece entry_find(struct piece v, const char *key, size_t key_n) {
    const struct node *type = v.type->members->type;
    const unsigned char *at = v.at;
    for (int64_t left = 0, n; block_next(&at, &left); at = past(type, at + n)) {
        n = long_read(&at);
        if ((size_t)n == key_n && !memcmp(at, key, key_n)) return piece_of(type, at + n);
    }
    return (struct piece){0};
}

/* Of a record, or of a map. */
static struct piece piece_member(struct piece v, const char *name, size_t n) {
    if (!v.type) return piece_json(json_object_getn(v.json, name, n));
    if (v.type->type == AVRO_MAP) return entry_find(v, name, n);
    const struct member *m = v.type->members, *end = m + (v.type->type == AVRO_RECORD ? v.type->members_n : 0);
    for (; m < end; v.at = past(m++->type, v.at))
        if (*m->name == *name && !strncmp(m->name, name, n) && !m->name[n]) return piece_of(m->type, v.at);
    return (struct piece){0};
}

static struct piece piece_find(struct piece v, const char *path) {
    while (is_there(v) && *path) {
        size_t n = strcspn(path, ".");
        v = piece_member(v, path, n);
        path += n + (path[n] == '.');
    }
    return v;
}

/* What it is read as. */
enum reading { AS_TEXT, AS_BYTES, AS_UUID, AS_DECIMAL, AS_INTEGER, AS_REAL, AS_BOOL, AS_MOMENT, AS_OTHER };

static enum reading reading(struct piece v) {
    if (!v.type)
        return json_is_string(v.json)    ? AS_TEXT
               : json_is_integer(v.json) ? AS_INTEGER
               : json_is_boolean(v.json) ? AS_BOOL
                                         : AS_OTHER;
    if (v.type->logical == LOGICAL_DECIMAL) return AS_DECIMAL;
    switch (v.type->type) {
    case AVRO_STRING:
    case AVRO_ENUM: return AS_TEXT;
    case AVRO_BYTES: return AS_BYTES;
    case AVRO_FIXED: return v.type->logical == LOGICAL_UUID ? AS_UUID : AS_OTHER;
    case AVRO_INT32: return v.type->logical ? AS_OTHER : AS_INTEGER;
    case AVRO_INT64: return !v.type->logical ? AS_INTEGER : v.type->logical == LOGICAL_OTHER ? AS_OTHER : AS_MOMENT;
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return AS_REAL;
    case AVRO_BOOLEAN: return AS_BOOL;
    default: return AS_OTHER;
    }
}

static verdict unlike(const char *path, struct piece v, const char *wanted, struct failure *why) {
    if (!v.type) return fail(why, REJECT, "field \"%s\" is not %s", path, wanted);
    const char *logical = v.type->logical_name;
    return fail(
        why, REJECT, "field \"%s\" is not %s: it was written as %.100s%s%s%s, which cannot be converted exactly", path,
        wanted, node_name(v.type), logical ? " (" : "", logical ? logical : "", logical ? ")" : "");
}

/* --- Texts that are kept as long as the event */

enum { TEXT_BLOCK = 480 };

struct text_block {
    struct text_block *before;
    size_t used, size;
    char text[];
};

/* NULL: no memory. */
static const char *text_keep(struct written *w, const char *text, size_t n) {
    struct written *whole = w->whole ? w->whole : w;
    struct text_block *b = whole->texts;
    if (!b || b->size - b->used <= n) {
        size_t size = n < TEXT_BLOCK ? TEXT_BLOCK : n + 1;
        if (!(b = malloc(sizeof *b + size))) return NULL;
        *b = (struct text_block){whole->texts, 0, size};
        whole->texts = b;
    }
    char *kept = b->text + b->used;
    b->used += n + 1;
    memcpy(kept, text, n);
    kept[n] = '\0';
    return kept;
}

void written_free(struct written *w) {
    json_decref(w->json);
    for (struct text_block *b; (b = w->texts);) {
        w->texts = b->before;
        free(b);
    }
    *w = (struct written){0};
}

/* --- Text */

/* Of a text, of bytes, of a fixed: not terminated. */
static const char *text_at(struct piece v, size_t *n) {
    const char *text = v.type ? NULL : json_string_value(v.json);
    if (v.type && v.type->type == AVRO_ENUM) text = v.type->members[long_read(&v.at)].name;
    *n = !v.type                      ? json_string_length(v.json)
         : v.type->type == AVRO_FIXED ? v.type->size
         : text                       ? strlen(text)
                                      : (size_t)long_read(&v.at);
    return text ? text : (const char *)v.at;
}

static verdict uuid_project(struct written *w, struct piece v, const char **out, struct failure *why) {
    char text[UUID_TEXT];
    struct uuid id;
    memcpy(id.bytes, v.at, sizeof id.bytes);
    *out = text_keep(w, uuid_text(id, text), UUID_TEXT - 1);
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static verdict
text_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    enum reading as = reading(v);
    size_t n;
    if (as == AS_UUID) return uuid_project(w, v, out, why);
    if (as != AS_TEXT && as != AS_BYTES) return unlike(path, v, "text", why);
    const char *text = text_at(v, &n);
    if (memchr(text, 0, n)) return fail(why, REJECT, "field \"%s\" holds a NUL character", path);
    if (as == AS_BYTES && !utf8_valid(text, n))
        return fail(why, REJECT, "field \"%s\" is not text: it was written as bytes, which are not UTF-8", path);
    *out = v.type ? text_keep(w, text, n) : text;
    return *out ? OK : fail(why, RETRY, "out of memory");
}

static verdict id_project(struct written *w, const char *path, struct piece v, const char **out, struct failure *why) {
    struct failure reason;
    verdict read = text_project(w, path, v, out, why);
    if (read != OK || input_id(*out, strlen(*out), &reason) == OK) return read;
    return fail(why, REJECT, "field \"%s\" %s", path, reason.text);
}

/* --- Numbers */

static int64_t integer_at(struct piece v) {
    return v.type ? long_read(&v.at) : json_integer_value(v.json);
}

static double real_at(struct piece v) {
    float single;
    double real;
    memcpy(&single, v.at, sizeof single);
    if (v.type->type == AVRO_FLOAT) return (double)single;
    memcpy(&real, v.at, sizeof real);
    return real;
}

static verdict int_project(const char *path, struct piece v, int64_t *out, struct failure *why) {
    enum reading as = reading(v);
    if (as == AS_INTEGER) *out = integer_at(v);
    if (as == AS_INTEGER) return OK;
    if (as != AS_REAL) return unlike(path, v, "an integer", why);
    double real = real_at(v);
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
    if ((as != AS_MOMENT && as != AS_INTEGER) || (v.type && v.type->type == AVRO_INT32))
        return unlike(path, v, "a moment", why);
    int64_t n = integer_at(v), per_ms = unit == LOGICAL_MICROS ? 1000 : unit == LOGICAL_NANOS ? 1000000 : 1;
    *out = n / per_ms - (n % per_ms < 0); /* what is finer than a millisecond does not count, as in what people write */
    if (time_valid(*out)) return OK;
    return fail(
        why, REJECT, "field \"%s\" is %" PRId64 ", which is no moment of the years 1970 to 9999%s", path, n,
        unit == LOGICAL_NONE ? " in milliseconds" : "");
}

static verdict bool_project(const char *path, struct piece v, bool *out, struct failure *why) {
    if (reading(v) != AS_BOOL) return unlike(path, v, "true or false", why);
    *out = v.type ? *v.at : json_is_true(v.json);
    return OK;
}

/* --- Money */

/* Of a text, or of a decimal. False: it does not fit. */
static bool amount_text(struct piece v, char out[DECIMAL_TEXT]) {
    size_t n;
    const char *text = text_at(v, &n);
    int64_t value;
    if (reading(v) == AS_DECIMAL)
        return decimal_read((const unsigned char *)text, n, &value) && decimal_text(value, v.type->scale, out);
    if (n >= DECIMAL_TEXT || memchr(text, 0, n)) return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

/* A decimal of a finer scale may still be whole hundredths: 149.900. */
static verdict amount_project(const char *path, struct piece v, int64_t *minor, struct failure *why) {
    char text[DECIMAL_TEXT];
    struct failure reason;
    if (!amount_text(v, text)) return fail(why, REJECT, "field \"%s\": the amount is too long", path);
    size_t n = strlen(text);
    const char *point = strchr(text, '.');
    while (point && text + n > point + 3 && text[n - 1] == '0') text[--n] = '\0';
    return money_parse(text, minor, &reason) == OK ? OK : fail(why, REJECT, "field \"%s\": %s", path, reason.text);
}

/* Whether it is text in JSON. */
static bool is_texty(struct piece v) {
    if (!v.type) return json_is_string(v.json);
    avro_type_t t = v.type->type;
    return t == AVRO_STRING || t == AVRO_BYTES || t == AVRO_FIXED || t == AVRO_ENUM;
}

static verdict
money_project(struct written *w, const char *path, struct piece v, struct money *out, struct failure *why) {
    struct piece amount = piece_member(v, "amount", strlen("amount")),
                 unit = piece_member(v, "currency", strlen("currency"));
    const char *currency = NULL;
    char inner[300];
    if (!is_texty(amount) || !is_texty(unit))
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
    return amount_project(path, amount, &out->minor, why);
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
        struct piece value = piece_find(piece_whole(event), f->path);
        void *member = (char *)out + f->offset;
        if (is_there(value))
            v = field_project(event, f, value, member, why);
        else if (f->fallback)
            v = fallback_project(f, member, why);
        else
            v = fail(why, REJECT, "field \"%s\" is missing", f->path);
    }
    return v;
}

bool written_has(const struct written *w, const char *field) {
    return is_there(piece_find(piece_whole(w), field));
}

/* --- Lists */

verdict written_items(struct written *w, const char *field, struct items *out, struct failure *why) {
    struct piece v = piece_find(piece_whole(w), field);
    *out = (struct items){.of = w->whole ? w->whole : w, .list = v.json};
    if (v.type && v.type->type == AVRO_ARRAY) out->type = v.type->members->type, out->at = v.at;
    return !is_there(v) || out->type || json_is_array(v.json) ? OK
                                                              : fail(why, REJECT, "field \"%s\" is no list", field);
}

bool items_next(struct items *it, struct written *item) {
    struct piece v = {.json = json_array_get(it->list, it->i)};
    if (it->type && it->i) it->at = past(it->type, it->at);
    if (it->type ? !block_next(&it->at, &it->left) : !v.json) return false;
    if (it->type) v = piece_of(it->type, it->at);
    it->i++;
    *item = (struct written){.type = v.type, .body = v.at, .json = (json_t *)v.json, .whole = it->of};
    return true;
}
