#include "chassis/avro/codec_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct schema *schema;
    struct failure *why;
};

static const struct primitive {
    const char *name;
    avro_type_t type;
    size_t least;
} primitives[] = {
    {"null", AVRO_NULL, 0},   {"boolean", AVRO_BOOLEAN, 1}, {"int", AVRO_INT32, 1},   {"long", AVRO_INT64, 1},
    {"float", AVRO_FLOAT, 4}, {"double", AVRO_DOUBLE, 8},   {"bytes", AVRO_BYTES, 1}, {"string", AVRO_STRING, 1},
};
enum { PRIMITIVES_N = sizeof primitives / sizeof *primitives };

static const struct primitive *primitive_find(const char *name) {
    for (size_t i = 0; i < PRIMITIVES_N; i++)
        if (!strcmp(primitives[i].name, name)) return &primitives[i];
    return NULL;
}

const char *node_name(const struct node *n) {
    if (n->full_name) return n->full_name;
    for (size_t i = 0; i < PRIMITIVES_N; i++)
        if (primitives[i].type == n->type) return primitives[i].name;
    return n->type == AVRO_UNION ? "union" : n->type == AVRO_ARRAY ? "array" : "map";
}

const char *place_text(const struct place *at, char out[PLACE_TEXT]) {
    out[0] = '\0';
    if (!at) return out;
    place_text(at->up, out);
    size_t n = strlen(out);
    if (at->name) snprintf(out + n, PLACE_TEXT - n, "%s%s", n ? "." : "", at->name);
    return out;
}

/* --- Names */

static bool name_part_valid(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool letter = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') || text[i] == '_';
        if (!letter && (i == 0 || text[i] < '0' || text[i] > '9')) return false;
    }
    return n > 0;
}

static bool name_valid(const char *text) {
    for (;; text++) {
        size_t n = strcspn(text, ".");
        if (!name_part_valid(text, n)) return false;
        text += n;
        if (!*text) return true;
    }
}

/* The namespace that a name without one gets; *n is 0 for none. */
static const char *scope_space(const struct node *scope, size_t *n) {
    const char *dot = scope ? strrchr(scope->full_name, '.') : NULL;
    *n = dot ? (size_t)(dot - scope->full_name) : 0;
    return *n ? scope->full_name : "";
}

/* The caller's; NULL: out of memory. */
static char *name_qualify(const char *name, const char *space, size_t space_n) {
    char *full;
    bool bare = strchr(name, '.') || !space_n;
    int n = bare ? asprintf(&full, "%s", name) : asprintf(&full, "%.*s.%s", (int)space_n, space, name);
    return n < 0 ? NULL : full;
}

static struct node *node_find(const struct schema *s, const char *full_name) {
    for (struct node *n = s->nodes; n; n = n->next)
        if (n->full_name && !strcmp(n->full_name, full_name)) return n;
    return NULL;
}

static verdict name_define(struct parser *p, struct node *node, const json_t *json, const struct node *scope) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const json_t *space_json = json_object_get(json, "namespace");
    if (!name) return fail(p->why, REJECT, "a record, enum or fixed has no \"name\"");
    if (space_json && !json_is_string(space_json) && !json_is_null(space_json))
        return fail(p->why, REJECT, "the \"namespace\" of \"%s\" is not text", name);
    size_t n;
    const char *space = scope_space(scope, &n);
    if (space_json) { /* null is the empty one */
        space = json_is_null(space_json) ? "" : json_string_value(space_json);
        n = strlen(space);
    }
    char *full = name_qualify(name, space, n);
    if (!full) return fail(p->why, RETRY, "out of memory");
    verdict v = OK;
    if (!name_valid(full) || primitive_find(full))
        v = fail(p->why, REJECT, "\"%s\" is not a name that Avro allows for a type", full);
    else if (node_find(p->schema, full))
        v = fail(p->why, REJECT, "the type \"%s\" is defined twice", full);
    if (v == OK)
        node->full_name = full;
    else
        free(full);
    return v;
}

/* --- Types: recursion here goes as deep as JSON that jansson reads, 2048. */

static verdict type_parse(struct parser *p, const json_t *json, const struct node *scope, const struct node **out);

/* NULL: p->why says why. */
static struct node *node_new(struct parser *p, avro_type_t type, size_t members_n) {
    if (members_n >= TYPES_MAX - p->schema->types_n) {
        (void)!fail(p->why, REJECT, "it has more than %d types, fields and symbols", TYPES_MAX);
        return NULL;
    }
    p->schema->types_n += 1 + members_n;
    struct node *n = calloc(1, sizeof *n);
    if (n && members_n && !(n->members = calloc(members_n, sizeof *n->members))) {
        free(n);
        n = NULL;
    }
    if (!n) {
        (void)!fail(p->why, RETRY, "out of memory");
        return NULL;
    }
    n->type = type;
    n->members_n = members_n;
    n->next = p->schema->nodes;
    p->schema->nodes = n;
    return n;
}

/* What avro-c 1.11 and 1.12 allot for a value, rounded up: the generic value itself, and what is made with it. */
static size_t bytes_of(const struct node *n, size_t sum, size_t most) {
    switch (n->type) {
    case AVRO_STRING:
    case AVRO_BYTES: return 96;
    case AVRO_FIXED: return 32 + n->size;
    case AVRO_RECORD: return 48 + sum;
    case AVRO_UNION: return 32 + most; /* there is room for the largest branch */
    case AVRO_ARRAY: return 96;
    case AVRO_MAP: return 320;
    default: return 32;
    }
}

/* jansson's, with an object's table, which is copied as it grows. */
static size_t json_bytes_of(const struct node *n) {
    size_t bytes = n->type == AVRO_RECORD || n->type == AVRO_MAP || n->type == AVRO_ARRAY ? 256 : 96;
    for (size_t i = 0; n->type == AVRO_RECORD && i < n->members_n; i++) bytes += 128 + strlen(n->members[i].name);
    if (n->type == AVRO_NULL || n->type == AVRO_BOOLEAN || n->type == AVRO_UNION) return 0;
    if (n->type == AVRO_FIXED) bytes += 6 * n->size;
    return n->type == AVRO_INT32 || n->type == AVRO_INT64 || n->type == AVRO_FLOAT || n->type == AVRO_DOUBLE ? 32
                                                                                                             : bytes;
}

/* Works out what follows from the members, when they are all there. */
static verdict node_close(struct parser *p, struct node *n) {
    size_t least = EVENT_BYTES_MAX, sum = 0, most_bytes = 0, sum_bytes = 0;
    for (size_t i = 0; i < n->members_n; i++) {
        const struct node *m = n->members[i].type;
        if (m->depth >= n->depth) n->depth = m->depth + 1;
        if (m->least < least) least = m->least;
        if (m->bytes > most_bytes) most_bytes = m->bytes;
        sum += m->least;
        sum_bytes += m->bytes;
    }
    if (n->type == AVRO_RECORD)
        n->least = sum;
    else if (n->type == AVRO_UNION)
        n->least = 1 + least;
    else
        n->least = n->type == AVRO_FIXED ? n->size : 1;
    n->bytes = bytes_of(n, sum_bytes, most_bytes);
    n->json_bytes = json_bytes_of(n);
    if (n->least > EVENT_BYTES_MAX) n->least = EVENT_BYTES_MAX;
    n->open = false;
    if (n->depth > DEPTH_MAX)
        return fail(p->why, REJECT, "\"%s\" is nested deeper than %d types", node_name(n), DEPTH_MAX);
    if (n->bytes > DECODED_BYTES_MAX)
        return fail(
            p->why, REJECT, "one \"%s\" would take more than the %d bytes of memory that a record may cost",
            node_name(n), DECODED_BYTES_MAX);
    return OK;
}

/* --- Logical types: one that does not fit its type, as Avro's rules say, counts for nothing. */

/* How many decimal digits fit in so many bytes for certain. */
static json_int_t fixed_digits(size_t size) {
    return size > 1000 ? 2408 : (json_int_t)(((double)size * 8 - 1) * 0.30102999566398120);
}

static bool decimal_fits(struct node *n, const json_t *json) {
    const json_t *precision = json_object_get(json, "precision"), *scale = json_object_get(json, "scale");
    if (!json_is_integer(precision) || (scale && !json_is_integer(scale))) return false;
    json_int_t p = json_integer_value(precision), s = json_integer_value(scale);
    if (p < 1 || s < 0 || s > p || s > SCALE_MAX || p > INT32_MAX) return false;
    if (n->type == AVRO_FIXED && p > fixed_digits(n->size)) return false;
    n->precision = (int)p;
    n->scale = (int)s;
    return true;
}

static const struct {
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
        if (strcmp(name, logicals[i].name) != 0 || n->type != logicals[i].type) continue;
        if (logicals[i].size && logicals[i].size != n->size) continue;
        if (logicals[i].logical == LOGICAL_DECIMAL && !decimal_fits(n, json)) continue;
        n->logical = logicals[i].logical;
        n->logical_name = logicals[i].name;
    }
}

static verdict record_parse(struct parser *p, const json_t *json, const struct node *scope, const struct node **out) {
    const json_t *fields = json_object_get(json, "fields");
    if (!json_is_array(fields)) return fail(p->why, REJECT, "a record has no list of \"fields\"");
    struct node *n = node_new(p, AVRO_RECORD, json_array_size(fields));
    if (!n) return p->why->kind;
    n->open = true;
    verdict v = name_define(p, n, json, scope);
    for (size_t i = 0; v == OK && i < n->members_n; i++) {
        const json_t *field = json_array_get(fields, i);
        const char *name = json_string_value(json_object_get(field, "name"));
        if (!name || !name_part_valid(name, strlen(name)))
            return fail(
                p->why, REJECT, "field %zu of \"%s\" has no name that Avro allows: \"%s\"", i + 1, n->full_name,
                name ? name : "");
        for (size_t j = 0; j < i; j++)
            if (!strcmp(n->members[j].name, name))
                return fail(p->why, REJECT, "\"%s\" has two fields \"%s\"", n->full_name, name);
        n->members[i].name = name;
        n->members[i].fallback = json_object_get(field, "default");
        v = type_parse(p, json_object_get(field, "type"), n, &n->members[i].type);
    }
    *out = n;
    return v == OK ? node_close(p, n) : v;
}

static verdict enum_parse(struct parser *p, const json_t *json, const struct node *scope, const struct node **out) {
    const json_t *symbols = json_object_get(json, "symbols");
    size_t symbols_n = json_array_size(symbols);
    struct node *n = node_new(p, AVRO_ENUM, 0);
    if (!n) return p->why->kind;
    if (symbols_n >= TYPES_MAX - p->schema->types_n)
        return fail(p->why, REJECT, "it has more than %d types, fields and symbols", TYPES_MAX);
    p->schema->types_n += symbols_n;
    verdict v = name_define(p, n, json, scope);
    if (v != OK) return v;
    if (!symbols_n) return fail(p->why, REJECT, "the enum \"%s\" has no \"symbols\"", n->full_name);
    json_t *seen = json_object();
    for (size_t i = 0; v == OK && i < symbols_n; i++) {
        const char *symbol = json_string_value(json_array_get(symbols, i));
        if (!symbol || !name_part_valid(symbol, strlen(symbol)) || json_object_get(seen, symbol))
            v = fail(
                p->why, REJECT, "symbol %zu of the enum \"%s\" is no valid name or there twice: \"%s\"", i + 1,
                n->full_name, symbol ? symbol : "");
        else if (json_object_set_new(seen, symbol, json_true()))
            v = fail(p->why, RETRY, "out of memory");
    }
    json_decref(seen);
    n->symbols = symbols;
    *out = n;
    return v == OK ? node_close(p, n) : v;
}

static verdict fixed_parse(struct parser *p, const json_t *json, const struct node *scope, const struct node **out) {
    json_int_t size = json_integer_value(json_object_get(json, "size"));
    struct node *n = node_new(p, AVRO_FIXED, 0);
    if (!n) return p->why->kind;
    verdict v = name_define(p, n, json, scope);
    if (v != OK) return v;
    if (size < 1 || size > EVENT_BYTES_MAX)
        return fail(
            p->why, REJECT, "the fixed \"%s\" has the \"size\" %lld; it must be 1 to %d", n->full_name, (long long)size,
            (int)EVENT_BYTES_MAX);
    n->size = (size_t)size;
    node_set_logical(n, json);
    *out = n;
    return node_close(p, n);
}

/* items: what its member is called in the schema's text. */
static verdict list_parse(
    struct parser *p, const json_t *json, avro_type_t type, const char *items, const struct node *scope,
    const struct node **out) {
    struct node *n = node_new(p, type, 1);
    if (!n) return p->why->kind;
    verdict v = type_parse(p, json_object_get(json, items), scope, &n->members[0].type);
    if (v != OK) return v;
    if (!n->members[0].type->least)
        return fail(
            p->why, REJECT, "the \"%s\" of an %s of \"%s\" take no bytes; a short record could claim billions of them",
            items, node_name(n), node_name(n->members[0].type));
    *out = n;
    return node_close(p, n);
}

static verdict union_parse(struct parser *p, const json_t *json, const struct node *scope, const struct node **out) {
    struct node *n = node_new(p, AVRO_UNION, json_array_size(json));
    if (!n) return p->why->kind;
    if (!n->members_n) return fail(p->why, REJECT, "a union has no branches");
    for (size_t i = 0; i < n->members_n; i++) {
        const struct node *branch;
        verdict v = type_parse(p, json_array_get(json, i), scope, &branch);
        if (v != OK) return v;
        if (branch->type == AVRO_UNION) return fail(p->why, REJECT, "a union stands directly within a union");
        for (size_t j = 0; j < i; j++)
            if (!strcmp(node_name(n->members[j].type), node_name(branch)))
                return fail(p->why, REJECT, "a union has two branches of the type \"%s\"", node_name(branch));
        n->members[i].type = branch;
    }
    *out = n;
    return node_close(p, n);
}

/* A type that is only named: a primitive, or one defined before. attributes: the object around the name, or NULL. */
static verdict name_parse(
    struct parser *p, const char *name, const json_t *attributes, const struct node *scope, const struct node **out) {
    const struct primitive *primitive = primitive_find(name);
    if (primitive) {
        struct node *n = node_new(p, primitive->type, 0);
        if (!n) return p->why->kind;
        n->least = primitive->least;
        n->bytes = bytes_of(n, 0, 0);
        n->json_bytes = json_bytes_of(n);
        node_set_logical(n, attributes);
        *out = n;
        return OK;
    }
    size_t space_n;
    const char *space = scope_space(scope, &space_n);
    char *full = name_qualify(name, space, space_n);
    if (!full) return fail(p->why, RETRY, "out of memory");
    const struct node *n = node_find(p->schema, full);
    verdict v = OK;
    if (!n)
        v = fail(p->why, REJECT, "the type \"%s\" is not defined before its use", full);
    else if (n->open)
        v = fail(p->why, REJECT, "the type \"%s\" contains itself; recursive schemas are not read", full);
    free(full);
    *out = n;
    return v;
}

static verdict type_parse(struct parser *p, const json_t *json, const struct node *scope, const struct node **out) {
    if (json_is_array(json)) return union_parse(p, json, scope, out);
    const char *type = json_string_value(json_is_object(json) ? json_object_get(json, "type") : json);
    if (!type) return fail(p->why, REJECT, "a \"type\" is missing, or is neither a name, an object nor a union");
    if (json_is_string(json)) return name_parse(p, type, NULL, scope, out);
    if (!strcmp(type, "record")) return record_parse(p, json, scope, out);
    if (!strcmp(type, "enum")) return enum_parse(p, json, scope, out);
    if (!strcmp(type, "fixed")) return fixed_parse(p, json, scope, out);
    if (!strcmp(type, "array")) return list_parse(p, json, AVRO_ARRAY, "items", scope, out);
    if (!strcmp(type, "map")) return list_parse(p, json, AVRO_MAP, "values", scope, out);
    return name_parse(p, type, json, scope, out);
}

/* --- For avro-c: the tree as a schema of its own, without logical types and defaults, which it ignores (a default such
 * as "\u0000" is a syntax error to it), in one text, and with names that stand for nothing: avro-c's rules of
 * namespaces are not Avro's. Each function returns NULL for want of memory. */

static json_t *node_json(struct node *n, int *named);

static json_t *fields_json(struct node *n, int *named) {
    json_t *all = json_array();
    for (size_t i = 0; all && i < n->members_n; i++) {
        json_t *type = node_json((struct node *)n->members[i].type, named);
        json_t *field = type ? json_pack("{s:s, s:o}", "name", n->members[i].name, "type", type) : NULL;
        if (field && !json_array_append_new(all, field)) continue;
        json_decref(all);
        return NULL;
    }
    return all;
}

static json_t *union_json(struct node *n, int *named) {
    json_t *all = json_array();
    for (size_t i = 0; all && i < n->members_n; i++) {
        json_t *type = node_json((struct node *)n->members[i].type, named);
        if (type && !json_array_append_new(all, type)) continue;
        json_decref(all);
        return NULL;
    }
    return all;
}

static json_t *members_json(const char *type, const char *items, json_t *members) {
    return members ? json_pack("{s:s, s:o}", "type", type, items, members) : NULL;
}

static json_t *named_json(struct node *n, int *named) {
    char name[24];
    bool known = n->avro_name;
    if (!known) n->avro_name = ++*named;
    snprintf(name, sizeof name, "t%d", n->avro_name);
    if (known) return json_string(name);
    if (n->type == AVRO_FIXED)
        return json_pack("{s:s, s:s, s:I}", "type", "fixed", "name", name, "size", (json_int_t)n->size);
    if (n->type == AVRO_ENUM)
        return json_pack("{s:s, s:s, s:O}", "type", "enum", "name", name, "symbols", (json_t *)n->symbols);
    json_t *fields = fields_json(n, named);
    return fields ? json_pack("{s:s, s:s, s:o}", "type", "record", "name", name, "fields", fields) : NULL;
}

static json_t *node_json(struct node *n, int *named) {
    if (n->full_name) return named_json(n, named);
    if (n->type == AVRO_UNION) return union_json(n, named);
    if (n->type == AVRO_ARRAY)
        return members_json("array", "items", node_json((struct node *)n->members[0].type, named));
    if (n->type == AVRO_MAP) return members_json("map", "values", node_json((struct node *)n->members[0].type, named));
    return json_string(node_name(n));
}

/* avro-c has one error text for the whole process, and leaks when it refuses (not mended as of 1.12.2): so it gets only
 * what has passed above. */
static verdict avro_open(struct schema *s, struct failure *why) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int named = 0;
    json_t *bare = node_json((struct node *)s->root, &named);
    char *text = json_dumps(bare, JSON_COMPACT);
    json_decref(bare);
    if (!text) return fail(why, RETRY, "out of memory");
    verdict v = OK;
    pthread_mutex_lock(&lock);
    if (avro_schema_from_json_length(text, strlen(text), &s->avro)) {
        s->avro = NULL;
        v = fail(why, REJECT, "avro-c does not read it: %s", avro_strerror());
    } else if (!(s->values = avro_generic_class_from_schema(s->avro))) {
        v = fail(why, RETRY, "out of memory");
    }
    pthread_mutex_unlock(&lock);
    free(text);
    return v;
}

/* --- What it costs: as measured with jansson 2.14 and avro-c 1.11, which keep far more than the text. */

static size_t json_cost(json_t *json) {
    size_t bytes = 32, i;
    const char *name;
    json_t *one;
    if (json_is_string(json)) return bytes + 64 + json_string_length(json);
    if (json_is_array(json)) bytes += 112 + 16 * json_array_size(json);
    if (json_is_object(json)) bytes += 208;
    json_array_foreach(json, i, one) bytes += json_cost(one);
    json_object_foreach(json, name, one) bytes += 112 + strlen(name) + json_cost(one);
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

static verdict text_parse(struct parser *p, const struct schema_text *text, struct failure *why) {
    json_error_t error;
    json_t *json = json_loadb(text->text, text->n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!json && (json_error_code(&error) == json_error_out_of_memory || !*error.text))
        return fail(why, RETRY, "out of memory");
    if (!json) return fail(why, REJECT, "it is not JSON: line %d: %s", error.line, error.text);
    if (json_array_append_new(p->schema->texts, json)) return fail(why, RETRY, "out of memory");
    return type_parse(p, json, NULL, &p->schema->root);
}

verdict schema_parse_all(const struct schema_text *texts, size_t texts_n, struct schema **out, struct failure *why) {
    struct failure reason = {0};
    size_t n = 0;
    *out = NULL;
    for (size_t i = 0; i < texts_n; i++) n += texts[i].n;
    if (n > SCHEMA_BYTES_MAX)
        return fail(why, REJECT, "the schema has %zu bytes; at most %d are read", n, (int)SCHEMA_BYTES_MAX);
    struct schema *s = calloc(1, sizeof *s);
    if (!s || !(s->texts = json_array())) {
        free(s);
        return fail(why, RETRY, "could not read the schema: out of memory");
    }
    s->owners = 1;
    struct parser p = {s, &reason};
    verdict v = OK;
    for (size_t i = 0; v == OK && i < texts_n; i++) v = text_parse(&p, &texts[i], &reason);
    if (v == OK && s->root->type != AVRO_RECORD)
        v = fail(&reason, REJECT, "it is a \"%s\", and an event is a record", node_name(s->root));
    if (v == OK) v = avro_open(s, &reason);
    if (v == OK) {
        s->bytes = schema_cost(s);
        *out = s;
        return OK;
    }
    schema_free(&s);
    return fail(why, v, "could not read the schema: %s", reason.text);
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
    if (s->avro) avro_schema_decref(s->avro);
    for (struct node *n = s->nodes, *next; n; n = next) {
        next = n->next;
        free(n->full_name);
        free(n->members);
        free(n);
    }
    json_decref(s->texts);
    free(s);
}

const char *schema_name(const struct schema *s) {
    return s->root->full_name;
}

static const struct node *field_find(const struct schema *s, const char *name) {
    for (size_t i = 0; i < s->root->members_n; i++)
        if (!strcmp(s->root->members[i].name, name)) return s->root->members[i].type;
    return NULL;
}

const json_t *schema_symbols(const struct schema *s, const char *field) {
    const struct node *type = field_find(s, field);
    return type ? type->symbols : NULL;
}

void schema_prune(const struct schema *s, json_t *value) {
    const char *name;
    json_t *one;
    void *next;
    json_object_foreach_safe(value, next, name, one) if (!field_find(s, name)) json_object_del(value, name);
}
