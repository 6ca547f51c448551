/* outbox: events that were decided and not yet published. A row is added in the transaction that holds the decision;
 * the relay sends it later. The row keeps the Avro body; the schema id is put before it when it is sent, so that an
 * event can be decided while the registry is away. */
#pragma once

#include "chassis/assets.h"
#include "chassis/failure.h"
#include "chassis/ids.h"
#include "chassis/store.h"

struct outbox; /* the event types that this service publishes, with their schemas; shared by threads, read-only */
struct registry;

/* Parses every asset that ends in .avsc, but not in Snapshot.avsc; FATAL names the file that does not parse. */
MUST_CHECK verdict outbox_open(struct outbox **out, const struct asset *assets, size_t n, struct failure *why);
void outbox_close(struct outbox **o);

/* Calls each(context, full name, text, n) for every event type. */
void outbox_each(
    const struct outbox *o, void (*each)(void *context, const char *type, const char *text, size_t n), void *context);

/* The full name of one of them, "returns.legal.ClaimFiled" of "ClaimFiled"; NULL: there is none. Lives with it.
 */
const char *outbox_type(const struct outbox *o, const char *short_name);

/* schema_symbols() of one of them; lives with the outbox. */
const json_t *outbox_symbols(const struct outbox *o, const char *short_name, const char *field);

struct outgoing {
    const char *type;             /* short name, "OrderRefunded" */
    const char *return_id;        /* which it is about; NULL: it is about none, and its schema has no such field */
    const char *key;              /* the record's key; NULL: the return's id */
    int64_t version;              /* of what it is about, that this event made or reacted to */
    const struct uuid *caused_by; /* event id, or NULL */
    const char *trace_parent;     /* of what caused it, or NULL for a new trace */
    json_t *fields;      /* the type's own fields; this call takes the reference; NULL counts as out of memory */
    int64_t received_at; /* ms: when the record that it reacts to was taken up; 0: it reacts to none */
    int64_t at;          /* ms: when it was decided; 0: now */
};
/* Adds event_id, return_id (if any), version, occurred_at and caused_by to the fields, encodes, and stores. REJECT: a
 * programming error: an unknown type, or fields that do not fit its schema. RETRY: out of memory. *id (may be NULL)
 * gets its id. */
MUST_CHECK verdict outbox_add(
    const struct outbox *o, struct connection *c, const struct outgoing *e, struct uuid *id, struct failure *why);

/* What its readers would get, had it that id: the caller's. Nothing is stored. Takes e->fields; failures as above. */
MUST_CHECK verdict
outbox_preview(const struct outbox *o, const struct outgoing *e, struct uuid id, json_t **data, struct failure *why);
/* The body of a row; type: its full name. *data is the caller's. REJECT: it does not fit the schema of today. */
MUST_CHECK verdict
outbox_read(const struct outbox *o, const char *type, const void *body, size_t n, json_t **data, struct failure *why);
