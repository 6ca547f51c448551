/* outbox: events that were decided and not yet published. A row is added in the transaction that holds the decision.
 * The relay sends it later. The row keeps the Avro body. The schema id is put before it when it is sent, so that an
 * event can be decided while the registry is away. */
#pragma once

#include "chassis/base/assets.h"
#include "chassis/base/failure.h"
#include "chassis/base/ids.h"

struct connection;
struct store;

struct outbox; /* the event types that this service publishes, with their schemas. Shared by threads */
struct registry;

/* Parses every asset that ends in .avsc, but not in Snapshot.avsc. FATAL names the file that does not parse. folder: of
 * the setting `schemas`. REJECT: it is not there, or what it holds for one of the types is not a schema of it. */
MUST_CHECK verdict
outbox_open(struct outbox **out, const struct asset *assets, size_t n, const char *folder, struct failure *why);
/* Notes in the database what the schemas are, before the first event. RETRY: it cannot be written. */
MUST_CHECK verdict outbox_note(struct outbox *o, struct store *store, struct failure *why);
void outbox_close(struct outbox **o);

/* Calls each(context, full name, text, n) for every event type, with the program's own schema. */
void outbox_each(
    const struct outbox *o, void (*each)(void *context, const char *type, const char *text, size_t n), void *context);

/* A schema that was given for the type, full name: its text, which lives with the outbox. NULL: none was. It is used
 * from outbox_adopt() on, which whoever saw the registry take it calls. The events before that go by the program's own.
 */
const char *outbox_given(const struct outbox *o, const char *type);
void outbox_adopt(struct outbox *o, const char *type);
/* How the database knows the schema. 0: not at all. */
int64_t outbox_schema_row(const struct outbox *o, const char *type, bool given);

/* The full name of one of them, "returns.legal.ClaimFiled" of "ClaimFiled". NULL: there is none. Lives with it.
 */
const char *outbox_type(const struct outbox *o, const char *short_name);

/* schema_symbols() of one of them. Lives with the outbox. */
const json_t *outbox_symbols(const struct outbox *o, const char *short_name, const char *field);

struct outgoing {
    const char *type;             /* short name, "OrderRefunded" */
    const char *return_id;        /* which it is about. NULL: it is about none, and its schema has no such field */
    const char *key;              /* the record's key. NULL: the return's id */
    int64_t version;              /* of what it is about, that this event made or reacted to */
    const struct uuid *caused_by; /* event id, or NULL */
    const char *trace_parent;     /* of what caused it, or NULL for a new trace */
    json_t *fields;      /* the type's own fields. This call takes the reference. NULL counts as out of memory */
    int64_t received_at; /* ms: when the record that it reacts to was taken up. 0: it reacts to none */
    int64_t at;          /* ms: when it was decided. 0: now */
};
/* Adds event_id, return_id (if any), version, occurred_at and caused_by to the fields, encodes, and stores. REJECT: a
 * programming error: an unknown type, or fields that do not fit its schema. What a given schema has no field for is
 * left out. RETRY: out of memory. *id (may be NULL) gets its id. */
MUST_CHECK verdict outbox_add(
    const struct outbox *o, struct connection *c, const struct outgoing *e, struct uuid *id, struct failure *why);

/* What its readers would get, had it that id: the caller's. Nothing is stored. Takes e->fields. Failures as above. */
MUST_CHECK verdict
outbox_preview(const struct outbox *o, const struct outgoing *e, struct uuid id, json_t **data, struct failure *why);
/* The body of a row. type: its full name. text: of the schema that it names, NULL: the program's own. *data is the
 * caller's. REJECT: it does not fit. */
MUST_CHECK verdict outbox_read(
    const struct outbox *o, const char *type, const char *text, const void *body, size_t n, json_t **data,
    struct failure *why);
