#include "chassis/avro/codec_private.h"
#include "chassis/base/json_get.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct schema *schema;
    const struct node *scope; /* the record around a type, whose namespace a name without one gets. NULL: none */
    struct failure *why;      /* filled by every function below that returns false */
};

/* least: bytes that a value takes at the least. bytes: what avro-c 1.11 and 1.12 allot for a value, rounded up: the
 * generic value itself, and what is made with it. json_bytes: jansson's, with an object's table, which is copied as it
 * grows. What members and size add: node_close(). make: of a primitive type. */
static const struct kind {
    const char *name;
    size_t least, bytes, json_bytes;
    avro_schema_t (*make)(void);
} kinds[] = {
    [AVRO_NULL] = {"null", 0, 32, 0, avro_schema_null},
    [AVRO_BOOLEAN] = {"boolean", 1, 32, 0, avro_schema_boolean},
    [AVRO_INT32] = {"int", 1, 32, 32, avro_schema_int},
    [AVRO_INT64] = {"long", 1, 32, 32, avro_schema_long},
    [AVRO_FLOAT] = {"float", 4, 32, 32, avro_schema_float},
    [AVRO_DOUBLE] = {"double", 8, 32, 32, avro_schema_double},
    [AVRO_BYTES] = {"bytes", 1, 96, 96, avro_schema_bytes},
    [AVRO_STRING] = {"string", 1, 96, 96, avro_schema_string},
    [AVRO_ENUM] = {"enum", 1, 32, 96, NULL},
    [AVRO_FIXED] = {"fixed", 0, 32, 96, NULL},
    [AVRO_RECORD] = {"record", 0, 48, 256, NULL},
    [AVRO_UNION] = {"union", 1, 32, 0, NULL},
    [AVRO_ARRAY] = {"array", 1, 96, 256, NULL},
    [AVRO_MAP] = {"map", 1, 320, 256, NULL},
};
enum { KINDS_N = sizeof kinds / sizeof *kinds };

/* The avro_type_t of that name. KINDS_N: it is no primitive type. */
static size_t primitive_find(const char *name) {
    size_t i = 0;
    while (i < KINDS_N && !(kinds[i].make && !strcmp(kinds[i].name, name))) i++;
    return i;
}

const char *node_name(const struct node *n) {
    return n->full_name ? n->full_name : kinds[n->type].name;
}

const struct member *member_find(const struct node *n, const char *name, size_t name_n) {
    for (const struct member *m = n->members; m < n->members + n->members_n && m->name; m++)
        if (!strncmp(m->name, name, name_n) && !m->name[name_n]) return m;
    return NULL;
}

/* --- Names */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define DIGITS "0123456789"

static bool name_part_valid(const char *text, size_t n) {
    return strspn(text, LETTERS) && strspn(text, LETTERS DIGITS) == n;
}

static bool name_valid(const char *text) {
    do {
        size_t n = strcspn(text, ".");
        if (!name_part_valid(text, n)) return false;
        text += n;
    } while (*text++ == '.');
    return true;
}

/* The full name, which the schema keeps. space: NULL: that of the type around it. */
static const char *name_qualify(struct parser *p, const char *name, const char *space) {
    const char *around = p->scope ? p->scope->full_name : "", *dot = strrchr(around, '.');
    size_t n = strchr(name, '.') ? 0 : space ? strlen(space) : dot ? (size_t)(dot - around) : 0;
    if (n + strlen(name) >= NAME_BYTES)
        return (void)!fail(p->why, REJECT, "the name of a type has more than %d bytes", NAME_BYTES), NULL;
    json_t *full = json_sprintf("%.*s%s%s", (int)n, space ? space : around, n ? "." : "", name);
    if (!json_array_append_new(p->schema->texts, full)) return json_string_value(full);
    (void)!fail(p->why, RETRY, "out of memory");
    return NULL;
}

static struct node *node_find(const struct schema *s, const char *full_name) {
    struct node *n = s->nodes;
    while (n && (!n->full_name || strcmp(n->full_name, full_name) != 0)) n = n->next;
    return n;
}

static bool name_define(struct parser *p, struct node *node, const json_t *json) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const json_t *space = json_object_get(json, "namespace");
    if (!name) return !fail(p->why, REJECT, "a record, enum or fixed has no \"name\"");
    if (space && !json_is_string(space) && !json_is_null(space))
        return !fail(p->why, REJECT, "the \"namespace\" of \"%s\" is not text", name);
    const char *full = name_qualify(p, name, json_is_null(space) ? "" : json_string_value(space));
    if (!full) return false;
    bool known = node_find(p->schema, full);
    node->full_name = full;
    if (!name_valid(full) || primitive_find(full) < KINDS_N)
        return !fail(p->why, REJECT, "\"%s\" is not a name that Avro allows for a type", full);
    return !known || !fail(p->why, REJECT, "the type \"%s\" is defined twice", full);
}

/* --- Nodes */

static struct node *node_new(struct parser *p, avro_type_t type, size_t members_n) {
    struct schema *s = p->schema;
    if (members_n >= TYPES_MAX - s->types_n) {
        (void)!fail(p->why, REJECT, "it has more than %d types, fields and symbols", TYPES_MAX);
        return NULL;
    }
    struct node *n = calloc(1, sizeof *n + members_n * sizeof *n->members);
    if (n) {
        *n = (struct node){.type = type, .members_n = members_n, .number = s->types_n, .next = s->nodes};
        s->nodes = n;
        s->types_n += 1 + members_n;
    } else {
        (void)!fail(p->why, RETRY, "out of memory");
    }
    return n;
}

/* Of the same type for avro-c what it is without its members. Logical types and defaults are left out, since avro-c
 * ignores them, and names stand for nothing: its rules of namespaces are not Avro's. */
static avro_schema_t avro_begin(const struct node *n) {
    char name[24];
    snprintf(name, sizeof name, "t%zu", n->number);
    switch (n->type) {
    case AVRO_RECORD: return avro_schema_record(name, NULL);
    case AVRO_ENUM: return avro_schema_enum(name);
    case AVRO_FIXED: return avro_schema_fixed(name, (int64_t)n->size);
    case AVRO_ARRAY: return avro_schema_array(n->members->type->avro);
    case AVRO_MAP: return avro_schema_map(n->members->type->avro);
    case AVRO_UNION: return avro_schema_union();
    default: return kinds[n->type].make();
    }
}

/* False: out of memory. */
static bool avro_make(struct node *n) {
    n->avro = avro_begin(n);
    int error = !n->avro;
    for (const struct member *m = n->members; !error && m < n->members + n->members_n; m++)
        if (n->type == AVRO_RECORD)
            error = avro_schema_record_field_append(n->avro, m->name, m->type->avro);
        else if (n->type == AVRO_ENUM)
            error = avro_schema_enum_symbol_append(n->avro, m->name);
        else if (n->type == AVRO_UNION)
            error = avro_schema_union_append(n->avro, m->type->avro);
    return !error;
}

/* Works out what follows from the members, when they are all there. */
static bool node_close(struct parser *p, struct node *n, const struct node **out) {
    size_t least = EVENT_BYTES_MAX, most = 0;
    n->least = kinds[n->type].least + n->size;
    n->bytes = kinds[n->type].bytes + n->size;
    n->json_bytes = kinds[n->type].json_bytes + 6 * n->size;
    for (size_t i = 0; n->type != AVRO_ENUM && i < n->members_n; i++) {
        const struct node *m = n->members[i].type;
        if (m->depth >= n->depth) n->depth = m->depth + 1;
        if (m->least < least) least = m->least;
        if (m->bytes > most) most = m->bytes;
        if (n->type != AVRO_RECORD) continue;
        n->least += m->least;
        n->bytes += m->bytes;
        n->json_bytes += 128 + strlen(n->members[i].name);
    }
    if (n->type == AVRO_UNION) { /* there is room for the largest branch */
        n->least += least;
        n->bytes += most;
    }
    if (n->least > EVENT_BYTES_MAX) n->least = EVENT_BYTES_MAX;
    n->open = false;
    *out = n;
    if (n->depth > DEPTH_MAX)
        return !fail(p->why, REJECT, "\"%s\" is nested deeper than %d types", node_name(n), DEPTH_MAX);
    if (n->bytes > DECODED_BYTES_MAX)
        return !fail(
            p->why, REJECT, "one \"%s\" would take more than the %d bytes of memory that a record may cost",
            node_name(n), DECODED_BYTES_MAX);
    return avro_make(n) || !fail(p->why, RETRY, "out of memory");
}

/* --- Logical types: one that does not fit its type, as Avro's rules say, counts for nothing. */

/* How many decimal digits fit in so many bytes for certain. */
static json_int_t fixed_digits(size_t size) {
    return size > 1000 ? 2408 : (json_int_t)(((double)size * 8 - 1) * 0.30102999566398120);
}

static bool decimal_fits(struct node *n, const json_t *json) {
    json_int_t p, s = 0;
    if (json_unpack((json_t *)json, "{s:I, s?I}", "precision", &p, "scale", &s)) return false;
    if (p < 1 || s < 0 || s > p || s > SCALE_MAX || p > INT32_MAX) return false;
    if (n->type == AVRO_FIXED && p > fixed_digits(n->size)) return false;
    n->precision = (int)p;
    n->scale = (int)s;
    return true;
}

static const struct logical_type {
    const char *name;
    avro_type_t type;
    size_t size; /* of a fixed */
    enum logical logical;
} logicals[] = {
    {"decimal", AVRO_BYTES, 0, LOGICAL_DECIMAL},
    {"decimal", AVRO_FIXED, 0, LOGICAL_DECIMAL},
    {"uuid", AVRO_STRING, 0, LOGICAL_UUID},
    {"uuid", AVRO_FIXED, 16, LOGICAL_UUID},
    {"timestamp-millis", AVRO_INT64, 0, LOGICAL_MILLIS},
    {"timestamp-micros", AVRO_INT64, 0, LOGICAL_MICROS},
    {"timestamp-nanos", AVRO_INT64, 0, LOGICAL_NANOS},
    {"local-timestamp-millis", AVRO_INT64, 0, LOGICAL_OTHER},
    {"local-timestamp-micros", AVRO_INT64, 0, LOGICAL_OTHER},
    {"local-timestamp-nanos", AVRO_INT64, 0, LOGICAL_OTHER},
    {"date", AVRO_INT32, 0, LOGICAL_OTHER},
    {"time-millis", AVRO_INT32, 0, LOGICAL_OTHER},
    {"time-micros", AVRO_INT64, 0, LOGICAL_OTHER},
    {"duration", AVRO_FIXED, 12, LOGICAL_OTHER},
};

static void node_set_logical(struct node *n, const json_t *json) {
    const char *name = json_string_value(json_object_get(json, "logicalType"));
    for (size_t i = 0; name && i < sizeof logicals / sizeof *logicals; i++) {
        const struct logical_type *l = &logicals[i];
        if (strcmp(name, l->name) != 0 || n->type != l->type || (l->size && l->size != n->size)) continue;
        if (l->logical == LOGICAL_DECIMAL && !decimal_fits(n, json)) continue;
        n->logical = l->logical;
        n->logical_name = l->name;
    }
}

/* --- Types: recursion here goes as deep as JSON that jansson reads, 2048. */

static bool type_parse(struct parser *p, const json_t *json, const struct node **out);

static bool field_parse(struct parser *p, struct node *n, size_t i, const json_t *field) {
    const char *name = json_string_value(json_object_get(field, "name"));
    if (!name || !name_part_valid(name, strlen(name)))
        return !fail(
            p->why, REJECT, "field %zu of \"%s\" has no name that Avro allows: \"%s\"", i + 1, n->full_name,
            name ? name : "");
    if (member_find(n, name, strlen(name)))
        return !fail(p->why, REJECT, "\"%s\" has two fields \"%s\"", n->full_name, name);
    n->members[i] = (struct member){.name = name, .fallback = json_object_get(field, "default")};
    return type_parse(p, json_object_get(field, "type"), &n->members[i].type);
}

static bool record_parse(struct parser *p, const json_t *json, const struct node **out) {
    const json_t *fields = json_object_get(json, "fields");
    const struct node *around = p->scope;
    if (!json_is_array(fields)) return !fail(p->why, REJECT, "a record has no list of \"fields\"");
    struct node *n = node_new(p, AVRO_RECORD, json_array_size(fields));
    if (!n || !name_define(p, n, json)) return false;
    n->open = true;
    p->scope = n;
    json_each(i, field, fields)
        if (!field_parse(p, n, i, field)) return false;
    p->scope = around;
    return node_close(p, n, out);
}

static bool enum_parse(struct parser *p, const json_t *json, const struct node **out) {
    const json_t *symbols = json_object_get(json, "symbols");
    struct node *n = node_new(p, AVRO_ENUM, json_array_size(symbols));
    if (!n || !name_define(p, n, json)) return false;
    if (!n->members_n) return !fail(p->why, REJECT, "the enum \"%s\" has no \"symbols\"", n->full_name);
    json_each(i, one, symbols) {
        const char *symbol = json_string_value(one);
        if (!symbol || !name_part_valid(symbol, strlen(symbol)) || member_find(n, symbol, strlen(symbol)))
            return !fail(
                p->why, REJECT, "symbol %zu of the enum \"%s\" is no valid name or there twice: \"%s\"", i + 1,
                n->full_name, symbol ? symbol : "");
        n->members[i].name = symbol;
    }
    n->symbols = symbols;
    return node_close(p, n, out);
}

static bool fixed_parse(struct parser *p, const json_t *json, const struct node **out) {
    json_int_t size = json_integer_value(json_object_get(json, "size"));
    struct node *n = node_new(p, AVRO_FIXED, 0);
    if (!n || !name_define(p, n, json)) return false;
    if (size < 1 || size > EVENT_BYTES_MAX)
        return !fail(
            p->why, REJECT, "the fixed \"%s\" has the \"size\" %lld; it must be 1 to %d", n->full_name, (long long)size,
            (int)EVENT_BYTES_MAX);
    n->size = (size_t)size;
    node_set_logical(n, json);
    return node_close(p, n, out);
}

/* items: what its member is called in the schema's text. */
static bool
list_parse(struct parser *p, const json_t *json, avro_type_t type, const char *items, const struct node **out) {
    struct node *n = node_new(p, type, 1);
    if (!n || !type_parse(p, json_object_get(json, items), &n->members->type)) return false;
    if (n->members->type->least) return node_close(p, n, out);
    return !fail(
        p->why, REJECT, "the \"%s\" of an %s of \"%s\" take no bytes; a short record could claim billions of them",
        items, node_name(n), node_name(n->members->type));
}

static bool union_parse(struct parser *p, const json_t *json, const struct node **out) {
    struct node *n = node_new(p, AVRO_UNION, json_array_size(json));
    if (!n) return false;
    if (!n->members_n) return !fail(p->why, REJECT, "a union has no branches");
    json_each(i, one, json) {
        const struct node *branch;
        if (!type_parse(p, one, &branch)) return false;
        if (branch->type == AVRO_UNION) return !fail(p->why, REJECT, "a union stands directly within a union");
        for (size_t j = 0; j < i; j++)
            if (!strcmp(node_name(n->members[j].type), node_name(branch)))
                return !fail(p->why, REJECT, "a union has two branches of the type \"%s\"", node_name(branch));
        n->members[i].type = branch;
    }
    return node_close(p, n, out);
}

/* A type that is only named: a primitive, or one defined before. attributes: the object around the name, or NULL. */
static bool name_parse(struct parser *p, const char *name, const json_t *attributes, const struct node **out) {
    size_t primitive = primitive_find(name);
    if (primitive < KINDS_N) {
        struct node *n = node_new(p, (avro_type_t)primitive, 0);
        if (n) node_set_logical(n, attributes);
        return n && node_close(p, n, out);
    }
    const char *full = name_qualify(p, name, NULL);
    if (!full) return false;
    const struct node *n = *out = node_find(p->schema, full);
    if (!n) return !fail(p->why, REJECT, "the type \"%s\" is not defined before its use", full);
    return !n->open || !fail(p->why, REJECT, "the type \"%s\" contains itself; recursive schemas are not read", full);
}

static bool type_parse(struct parser *p, const json_t *json, const struct node **out) {
    if (json_is_array(json)) return union_parse(p, json, out);
    const char *type = json_string_value(json_is_object(json) ? json_object_get(json, "type") : json);
    if (!type) return !fail(p->why, REJECT, "a \"type\" is missing, or is neither a name, an object nor a union");
    if (json_is_string(json)) return name_parse(p, type, NULL, out);
    if (!strcmp(type, "record")) return record_parse(p, json, out);
    if (!strcmp(type, "enum")) return enum_parse(p, json, out);
    if (!strcmp(type, "fixed")) return fixed_parse(p, json, out);
    if (!strcmp(type, "array")) return list_parse(p, json, AVRO_ARRAY, "items", out);
    return !strcmp(type, "map") ? list_parse(p, json, AVRO_MAP, "values", out) : name_parse(p, type, json, out);
}

/* --- What it costs: as measured with jansson 2.14 and avro-c 1.11, which keep far more than the text. */

static size_t json_cost(json_t *json) {
    size_t bytes = 32;
    if (json_is_string(json)) return bytes + 64 + json_string_length(json);
    if (json_is_array(json)) bytes += 112 + 16 * json_array_size(json);
    if (json_is_object(json)) bytes += 208;
    json_each(i, item, json) bytes += json_cost(item);
    json_members(m, json) bytes += 112 + strlen(m.name) + json_cost(m.value);
    return bytes;
}

enum { SCHEMA_COSTS = 4096, NODE_COSTS = 300, TYPE_COSTS = 160, TABLES_COST = 1900 };

static size_t schema_cost(const struct schema *s) {
    size_t bytes = SCHEMA_COSTS + s->types_n * TYPE_COSTS + json_cost(s->texts);
    for (const struct node *n = s->nodes; n; n = n->next)
        bytes += NODE_COSTS + (n->type == AVRO_RECORD || n->type == AVRO_UNION ? TABLES_COST : 0);
    return bytes;
}

size_t schema_bytes(const struct schema *s) {
    return s->bytes;
}

/* --- */

static bool text_parse(struct parser *p, const struct schema_text *text) {
    json_error_t error;
    json_t *json = json_loadb(text->text, text->n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!json && *error.text && json_error_code(&error) != json_error_out_of_memory)
        return !fail(p->why, REJECT, "it is not JSON: line %d: %s", error.line, error.text);
    if (json_array_append_new(p->schema->texts, json)) return !fail(p->why, RETRY, "out of memory");
    return type_parse(p, json, &p->schema->root);
}

verdict schema_parse_all(const struct schema_text *texts, size_t texts_n, struct schema **out, struct failure *why) {
    struct failure reason = {0};
    size_t n = 0;
    for (size_t i = 0; i < texts_n; i++) n += texts[i].n;
    struct schema *s = *out = n > SCHEMA_BYTES_MAX ? NULL : calloc(1, sizeof *s);
    if (n > SCHEMA_BYTES_MAX)
        return fail(why, REJECT, "the schema has %zu bytes; at most %d are read", n, (int)SCHEMA_BYTES_MAX);
    if (!s) return fail(why, RETRY, "could not read the schema: out of memory");
    *s = (struct schema){.owners = 1, .texts = json_array()};
    struct parser p = {.schema = s, .why = &reason};
    for (size_t i = 0; i < texts_n && reason.kind == OK; i++) (void)text_parse(&p, &texts[i]);
    if (reason.kind == OK && s->root->type != AVRO_RECORD)
        (void)!fail(&reason, REJECT, "it is a \"%s\", and an event is a record", node_name(s->root));
    if (reason.kind == OK && !(s->values = avro_generic_class_from_schema(s->root->avro)))
        (void)!fail(&reason, RETRY, "out of memory");
    if (reason.kind == OK) {
        s->bytes = schema_cost(s);
        return OK;
    }
    schema_free(out);
    return fail(why, reason.kind, "could not read the schema: %s", reason.text);
}

verdict schema_parse(const char *text, size_t n, struct schema **out, struct failure *why) {
    return schema_parse_all(&(struct schema_text){text, n}, 1, out, why);
}

struct schema *schema_share(struct schema *s) {
    s->owners++;
    return s;
}

void schema_free(struct schema **schema) {
    struct schema *s = *schema;
    *schema = NULL;
    if (!s || --s->owners) return;
    if (s->values) avro_value_iface_decref(s->values);
    for (struct node *n; (n = s->nodes);) {
        s->nodes = n->next;
        avro_schema_decref(n->avro);
        free(n);
    }
    json_decref(s->texts);
    free(s);
}

const char *schema_name(const struct schema *s) {
    return s->root->full_name;
}

const json_t *schema_symbols(const struct schema *s, const char *field) {
    const struct member *m = member_find(s->root, field, strlen(field));
    return m ? m->type->symbols : NULL;
}

bool schema_has(const struct schema *s, const char *field) {
    return member_find(s->root, field, strlen(field));
}

void schema_prune(const struct schema *s, json_t *value) {
    const char *name;
    json_t *one;
    void *next;
    json_object_foreach_safe(value, next, name, one) if (!member_find(s->root, name, strlen(name)))
        json_object_del(value, name);
}
