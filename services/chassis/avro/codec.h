/* codec: Avro events on the wire. frame: Confluent's wire format (0x00, schema id as 4 big-endian bytes, body).
 * schema and decode: a body is checked by its WRITER's schema, and becomes JSON where people look. project: its bytes
 * become a struct with only the fields that the reader names. encode: from JSON to bytes.
 *
 * JSON shapes:
 *
 *     record                        object
 *     string, uuid                  string
 *     int, long, timestamp-millis   integer
 *     float, double                 real
 *     enum                          its symbol
 *     bytes with decimal            string such as "149.90"
 *     other bytes, fixed            string of code points 0 to 255 (as Avro's own JSON encoding)
 *     union                         the value of its branch, bare
 *     null                          null
 *
 * Such a shape does not say what was written, so a projection reads the bytes by the writer's schema.
 *
 * What one record may cost is bounded: DECODED_BYTES_MAX, counted before anything is allotted for it.
 *
 * avro-c writes what is encoded. It trusts what it reads (lengths, recursion, enum ordinals, all of it also in 1.12.2),
 * so what others wrote is read here, in one walk against the schema. A schema may be shared between threads, and has
 * several owners then: it is freed with the last. */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"
#include "chassis/base/money.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_SIZE = 5, EVENT_BYTES_MAX = 1 << 20, SCHEMA_BYTES_MAX = 1 << 18, DECODED_BYTES_MAX = 1 << 24 };

/* *body points into bytes. REJECT: empty, tombstone (bytes NULL), wrong magic, magic 1 (a schema GUID), too short, too
 * long. */
MUST_CHECK verdict
frame_read(const void *bytes, size_t n, int32_t *schema_id, const void **body, size_t *body_n, struct failure *why);
/* The same, of its schema id alone. False: REJECT. */
bool frame_schema(const void *bytes, size_t n, int32_t *schema_id);
/* The number where the schema id is, whatever else is wrong with the record. -1: it has no such frame. */
int64_t frame_number(const void *bytes, size_t n);
void frame_write(struct buffer *out, int32_t schema_id);

struct schema;

/* text: an .avsc, not necessarily NUL-terminated. REJECT: not Avro, not a record, recursive, with array items or map
 * values that take no bytes (a short record could then claim billions of them), with more types than are read, or with
 * values that take more than DECODED_BYTES_MAX however short the record is. */
MUST_CHECK verdict schema_parse(const char *text, size_t n, struct schema **out, struct failure *why);

/* The same for a schema in several texts: each may name the types of those before it, and the last is the schema. */
struct schema_text {
    const char *text;
    size_t n;
};
MUST_CHECK verdict
schema_parse_all(const struct schema_text *texts, size_t texts_n, struct schema **out, struct failure *why);
struct schema *schema_share(struct schema *s); /* one more owner, who frees it as well. Returns s */
void schema_free(struct schema **s);
size_t schema_bytes(const struct schema *s);     /* of memory that it takes, about */
const char *schema_name(const struct schema *s); /* full name, "returns.support.RefundRequest". Lives with the schema */

/* The symbols of a field that is an enum: an array of strings. NULL: it has no such field. Lives with the schema. */
const json_t *schema_symbols(const struct schema *s, const char *field);

/* Takes out of an object what the record has no field for. */
void schema_prune(const struct schema *s, json_t *value);

/* Whether its record has that field. */
bool schema_has(const struct schema *s, const char *field);

/* A value that was checked, where it was written: in bytes, or in JSON whose type nobody says. */
struct written {
    const struct node *type;   /* the writer's. NULL: it is in JSON */
    const unsigned char *body; /* the caller's, and so is the schema: both live as long */
    json_t *json;              /* written_json() says it */
    struct text_block *texts;  /* what projections took out of it */
    struct written *whole;     /* of which it is a part. NULL: itself */
    size_t bytes;              /* what decoding it, and its JSON, take at the most */
};
/* REJECT when the bytes are not exactly one value of that schema, or text in them is not UTF-8. *out is empty then, but
 * for `bytes`. */
MUST_CHECK verdict
codec_read(const struct schema *s, const void *body, size_t n, struct written *out, struct failure *why);
void written_free(struct written *w);
/* All of it. Made when it is asked for first, and lives as long as w. NULL: no memory. */
const json_t *written_json(struct written *w);
bool written_has(const struct written *w, const char *field); /* something that is not null */

/* The items of a field's list, one after another: none where it is absent or null. REJECT: it is no list.
 *
 *     for (struct written one; items_next(&items, &one);) … lives as long as w, and is not freed */
struct items {
    struct written *of;
    const struct node *type; /* NULL: in JSON */
    const unsigned char *at;
    int64_t left; /* of the block at hand */
    const json_t *list;
    size_t i;
};
MUST_CHECK verdict written_items(struct written *w, const char *field, struct items *out, struct failure *why);
bool items_next(struct items *items, struct written *item);

/* The same as JSON at once. *out is the caller's (json_decref). */
MUST_CHECK verdict codec_decode(const struct schema *s, const void *body, size_t n, json_t **out, struct failure *why);

/* Appends the Avro body. REJECT names the field that is missing, unknown or of the wrong type. A field that the schema
 * gives a default may be left out. Decimals are strings ("149.90"), and must fit the schema's scale and precision. */
MUST_CHECK verdict codec_encode(const struct schema *s, const json_t *value, struct buffer *body, struct failure *why);

/* --- Projection: of a struct's members, each by its name or path, such as FIELD_TEXT(struct order, order_id). */
struct field {
    const char *path; /* "order_id", or "address.city" into nested records */
    /* const char *, the same as input_id() has it, int64_t, bool, struct money, int64_t: ms, of the years 1970 to 9999
     */
    enum { TYPE_TEXT, TYPE_ID, TYPE_INT, TYPE_BOOL, TYPE_MONEY, TYPE_MOMENT } type;
    size_t offset;
    const char *fallback; /* read for a field that the writer does not have, or has as null. NULL: it is required */
};
/* clang-format off */
#define FIELD_TEXT(type, member) {#member, TYPE_TEXT, offsetof(type, member), NULL}
#define FIELD_ID(type, member) {#member, TYPE_ID, offsetof(type, member), NULL}
#define FIELD_INT(type, member) {#member, TYPE_INT, offsetof(type, member), NULL}
#define FIELD_BOOL(type, member) {#member, TYPE_BOOL, offsetof(type, member), NULL}
#define FIELD_MONEY(type, member) {#member, TYPE_MONEY, offsetof(type, member), NULL}
#define FIELD_MOMENT(type, member) {#member, TYPE_MOMENT, offsetof(type, member), NULL}
/* clang-format on */

/* Fills *out. Text in it lives as long as the event, or is the fallback itself. What the writer's type says is
 * converted where nothing is lost by it. REJECT names the field, the writer's type and the one that is wanted:
 *
 *     text     string, enum, bytes if they are UTF-8, fixed of 16 that is a uuid
 *     integer  int, long, and float and double that hold a whole number. Not what counts days, or time
 *     boolean  boolean
 *     money    a record with `amount` (decimal, or a string such as "149.90") and `currency`, never rounded
 *     moment   timestamp-millis, -micros, -nanos, by the millisecond. A plain long, which Avro reads as the reader
 *              does: milliseconds. Not local-timestamp-*, date and time-*, which name no moment
 *
 * Any of them may be a branch of a union. JSON says no types: there a text is text, and an integer an integer or a
 * moment. */
MUST_CHECK verdict project(struct written *event, const struct field *fields, size_t n, void *out, struct failure *why);
