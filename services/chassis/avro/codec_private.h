/* codec_private: a parsed schema, as decode.c and encode.c see it.
 *
 * avro-c keeps neither logical types nor defaults, and checks too little of what it reads. So a schema is parsed twice:
 * by avro-c, which reads and writes the values, and into the tree of nodes below, by which every byte is checked before
 * avro-c gets it. Two uses of a named type share one node; there are no cycles. */
#pragma once

#include "chassis/avro/codec.h"

#include <avro.h>
#include <stdatomic.h>
#include <stdbool.h>

/* DEPTH_MAX: of types within types. TYPES_MAX: how many a schema may have, fields and symbols counted alike, as some of
 * what is checked takes the square of that. */
enum { DEPTH_MAX = 32, TYPES_MAX = 10000, SCALE_MAX = 60, PLACE_TEXT = 200 };

/* What a type means beyond its bytes; what Avro does not know, or what does not fit its type, means nothing. */
enum logical {
    LOGICAL_NONE,
    LOGICAL_DECIMAL,
    LOGICAL_UUID,
    LOGICAL_MILLIS,
    LOGICAL_MICROS,
    LOGICAL_NANOS,
    LOGICAL_OTHER, /* date, time-*, local-timestamp-*, duration */
};

struct member {
    const char *name; /* of a field; NULL for branches, items and values */
    const struct node *type;
    const json_t *fallback; /* a field's default, or NULL */
};

struct node {
    avro_type_t type;
    char *full_name; /* of a record, enum or fixed; else NULL */
    struct member
        *members; /* a record's fields, a union's branches, the one type of an array's items or a map's values */
    size_t members_n;
    const json_t *symbols; /* of an enum */
    size_t size;           /* of a fixed */
    enum logical logical;
    const char *logical_name; /* as the schema has it; NULL: none */
    int precision, scale;     /* of a decimal */
    size_t least;             /* bytes that a value takes at the least, capped at EVENT_BYTES_MAX */
    size_t bytes; /* what avro-c allots for a value, at the most and without what it holds in text, bytes and items */
    size_t json_bytes; /* what its JSON takes besides that, likewise */
    int depth;
    int avro_name;     /* of what has a full name, once avro-c has it */
    bool open;         /* being parsed: another use within it is recursion */
    struct node *next; /* the schema's list of all nodes */
};

struct schema {
    atomic_int owners;
    size_t bytes;
    json_t *texts; /* own the names, symbols and defaults that nodes point to */
    size_t types_n;
    struct node *nodes;
    const struct node *root;
    avro_schema_t avro;
    avro_value_iface_t *values;
};

const char *node_name(const struct node *n); /* the full name, or "string", "union", … */

/* Where in a value a walk is: a chain of callers' frames. */
struct place {
    const struct place *up; /* NULL at the record itself */
    const char *name;       /* of a field; NULL where there is nothing to add */
};
const char *place_text(const struct place *at, char out[PLACE_TEXT]); /* "cost.amount"; returns out */
