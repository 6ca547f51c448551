/* codec_private: a parsed schema, as decode.c and encode.c see it.
 *
 * avro-c keeps neither logical types nor defaults, and checks too little of what it reads. So a schema is parsed into
 * the tree of nodes below, by which bytes are read. avro-c's own schema, by which it writes values, is made from the
 * tree. Two uses of a named type share one node. There are no cycles. */
#pragma once

#include "chassis/avro/codec.h"

#include <avro.h>
#include <stdatomic.h>
#include <stdbool.h>

/* DEPTH_MAX: of types within types. TYPES_MAX: how many a schema may have, fields and symbols counted alike, as some of
 * what is checked takes the square of that. NAME_BYTES: of a full name, which each use of it keeps. */
enum { DEPTH_MAX = 32, TYPES_MAX = 10000, NAME_BYTES = 1000, SCALE_MAX = 60, PLACE_TEXT = 200, DECIMAL_TEXT = 84 };

/* What a type means beyond its bytes. What Avro does not know, or what does not fit its type, means nothing. */
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
    const char *name;        /* of a field or a symbol. NULL for branches, items and values */
    const struct node *type; /* NULL for a symbol */
    const json_t *fallback;  /* a field's default, or NULL */
};

struct node {
    avro_type_t type;
    const char *full_name; /* of a record, enum or fixed. Else NULL */
    const json_t *symbols; /* of an enum */
    size_t size;           /* of a fixed */
    enum logical logical;
    const char *logical_name; /* as the schema has it. NULL: none */
    int precision, scale;     /* of a decimal */
    size_t least;             /* bytes that a value takes at the least, capped at EVENT_BYTES_MAX */
    size_t bytes;      /* what avro-c allots for a value that it writes, at the most and without what it holds in text,
                        * bytes and items. Counted for each value that is read as well */
    size_t json_bytes; /* what its JSON takes besides that, likewise */
    int depth;
    bool open;          /* being parsed: another use within it is recursion */
    size_t number;      /* names it to avro-c */
    avro_schema_t avro; /* the same type, as avro-c has it */
    struct node *next;  /* the schema's list of all nodes */
    size_t members_n;
    struct member members[]; /* a record's fields, an enum's symbols, a union's branches, the one type of an array's
                              * items or a map's values */
};

struct schema {
    atomic_int owners;
    size_t bytes;
    json_t *texts; /* own the names, symbols and defaults that nodes point to: what was parsed, and full names */
    size_t types_n;
    struct node *nodes;
    const struct node *root;
    avro_value_iface_t *values;
};

const char *node_name(const struct node *n); /* the full name, or "string", "union", … */

/* The member of that name, of a record or an enum. NULL: it has none. */
const struct member *member_find(const struct node *n, const char *name, size_t name_n);

/* Whether the JSON has a shape that the type is written from. An integer may become a double. */
bool kind_fits(const struct node *n, const json_t *json);
/* Whether an object has all of a record's fields, but for those with a default where `defaults`, and no others. */
bool record_fits(const struct node *n, const json_t *json, bool defaults);
/* Appends the bytes that a text of the code points 0 to 255 stands for. False: it has another one. */
bool blob_read(const json_t *json, struct buffer *out);

/* Big-endian two's complement of any length. False: it has no bytes, or does not fit in 64 bits. */
bool decimal_read(const unsigned char *bytes, size_t n, int64_t *out);
const char *decimal_text(int64_t value, int scale, char out[DECIMAL_TEXT]);

/* --- Of bytes that codec_read() has checked, at a value's first one */

int64_t long_read(const unsigned char **at);                              /* and moves behind it */
const unsigned char *past(const struct node *n, const unsigned char *at); /* the value's end */

/* Where in a value a walk is: a chain of callers' frames. */
struct place {
    const struct place *up; /* NULL at the record itself */
    const char *name;       /* of a field. NULL where there is nothing to add */
};
/* Unless `why` says already what is wrong: REJECT, with `field "cost.amount"`, the joint and the text, or where it is
 * no field with `whole` and the text. Returns 0. */
int place_fail(
    struct failure *why, const struct place *at, const char *joint, const char *whole, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
