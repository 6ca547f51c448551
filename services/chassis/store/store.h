/* store: the service's own database (SQLite in WAL mode, synchronous=FULL).
 *
 * One writer at a time: store_begin() waits for the writer's lock, store_commit() or store_rollback() gives it back.
 * Errors are sticky: after the first one every further statement of that transaction does nothing, and store_commit()
 * reports it, so that a handler need not look at each statement and cannot forget one. Readers have connections of
 * their own, one a thread, which never wait for the writer.
 *
 * SQL outside of the chassis' own schema is the common subset of SQLite and PostgreSQL: TEXT, BIGINT, BYTEA, `?`
 * placeholders, ON CONFLICT, RETURNING, but no AUTOINCREMENT and no function that only one of them has. Statements are
 * prepared once a connection and found again by their text. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/ids.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct connection; /* the writer inside a transaction, or a thread's reader */

struct value {
    enum { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_BLOB } kind;
    int64_t number;
    const void *bytes; /* the caller's, alive until the call returns */
    size_t length;
};
struct value value_int(int64_t n);
struct value value_text(const char *text); /* NULL gives SQL's NULL */
struct value value_blob(const void *bytes, size_t n);

/* Schema versions. Each migration is a transaction of its own, and brings the database to its version. The
 * chassis and the team are versioned apart. A database that is newer than the program is refused, and one that other
 * statements made: a migration that ran is not edited, but followed by another one. */
struct migration {
    const char *owner; /* "chassis" or "team" */
    int version;       /* 1, 2, … in order for each owner */
    const char *sql;   /* any number of statements */
};

/* Opens, or creates with its folder, the database at path and migrates it. RETRY: held by another process, or no room.
 * FATAL: unreadable, of a newer version, or made by other statements. The store is the caller's to close. */
MUST_CHECK verdict
store_open(struct store **out, const char *path, const struct migration *migrations, size_t n, struct failure *why);
/* The same, but what was in it is removed first, and nothing waits for the disk: for what is read again at each start.
 */
MUST_CHECK verdict store_open_empty(
    struct store **out, const char *path, const struct migration *migrations, size_t n, struct failure *why);
/* For looking at it only: no lock is taken, nothing is written, also when a service has it open. RETRY: it cannot be
 * opened, or is no database. Only store_reader() and store_close() may be used. */
MUST_CHECK verdict store_open_readonly(struct store **out, const char *path, struct failure *why);
/* Anew and in memory, with these tables, for working something out: on the writer alone, in one transaction. */
MUST_CHECK verdict store_open_memory(struct store **out, const char *sql, struct failure *why);
void store_close(struct store **s); /* after the last thread that uses it. Accepts NULL */

/* A database has one owner: whoever holds this lock. Makes the database's folder where it is missing. RETRY: another
 * process has it. Given back by store_unlock(). */
MUST_CHECK verdict store_lock(const char *database, int *lock, struct failure *why);
void store_unlock(int *lock);

/* --- A second database beside it (rebuild.h). */
/* Copies a database as it is at one moment, also while a service writes to it. RETRY: it could not be copied. */
MUST_CHECK verdict store_snapshot(const char *path, const char *to, struct failure *why);
/* That file's tables are base.NAME in the writer's statements. Between transactions. */
MUST_CHECK verdict store_attach(struct store *s, const char *path, struct failure *why);
MUST_CHECK verdict store_detach(struct store *s, struct failure *why);
/* For one that counts only when it is whole: nothing waits for the disk, and a crash may spoil it. */
MUST_CHECK verdict store_hurry(struct store *s, struct failure *why);

/* --- Writing: any thread. */
MUST_CHECK struct connection *store_begin(struct store *s); /* never NULL. A failure to begin is sticky */
/* The same, but its commit does not wait for the disk. It outlives a kill of the process, and a power cut once a commit
 * that does wait has followed. For what Kafka can tell again. */
MUST_CHECK struct connection *store_begin_relaxed(struct store *s);
MUST_CHECK verdict store_commit(struct connection *c, struct failure *why); /* durable when OK, else rolled back */
void store_rollback(struct connection *c);

/* What a caller keeps of the open transaction in memory, to store it once at its end and not at each step: n bytes,
 * zero when it is asked for first. `keep` stores it before the commit, before a savepoint, and when store_keep() is
 * called. Then it is forgotten, as it is when the transaction is taken back. One a connection. NULL: no memory. */
MUST_CHECK void *store_memory(struct connection *c, size_t n, void (*keep)(struct connection *c, void *memory));
void store_keep(struct connection *c);

void store_savepoint(struct connection *c); /* one level */
void store_release(struct connection *c);   /* keeps what was done since the savepoint */
void store_undo(struct connection *c);      /* takes it back, and clears a REJECT that came since */
/* OK, or the sticky error's kind: RETRY (busy, full, I/O), REJECT (a constraint), FATAL. */
verdict store_state(const struct connection *c);
const char *store_error(const struct connection *c);                             /* its text, "" when OK */
MUST_CHECK verdict store_check(const struct connection *c, struct failure *why); /* both */
/* Makes the transaction fail, as an error of the database would. */
void store_spoil(struct connection *c, verdict kind, const char *text);

/* --- Reading: the calling thread's own read-only connection, which is not passed on. Never NULL. */
MUST_CHECK struct connection *store_reader(struct store *s);

/* The values for a statement's ?, and how many they are. */
#define VALUES(...)                                                                                                    \
    (struct value[]){{0}, __VA_ARGS__}, sizeof((struct value[]){{0}, __VA_ARGS__}) / sizeof(struct value) - 1

/* --- Statements: store_run(c, "UPDATE stock SET on_hand = ? WHERE model = ?", value_int(n), value_text(model))
 * Returns the rows changed, and 0 as well when an error is or becomes sticky. */
#define store_run(c, sql, ...) store_run_values(c, sql, VALUES(__VA_ARGS__))
int64_t store_run_values(struct connection *c, const char *sql, const struct value *values_from_1, size_t n);

/* for (struct rows r = store_rows(c, "SELECT …"); rows_next(&r);) { rows_int(&r, 0) … }
 * Leave the loop early only after rows_close(). Text and blobs live until the next rows_next(). */
struct rows {
    struct connection *connection;
    struct statement *statement; /* NULL: ended or failed */
};
#define store_rows(c, sql, ...) store_rows_values(c, sql, VALUES(__VA_ARGS__))
MUST_CHECK struct rows
store_rows_values(struct connection *c, const char *sql, const struct value *values_from_1, size_t n);
MUST_CHECK bool rows_next(struct rows *r); /* false at the end, and on an error */
void rows_close(struct rows *r);
int64_t rows_int(const struct rows *r, int column);                 /* 0 for NULL */
const char *rows_text(const struct rows *r, int column);            /* "" for NULL */
const void *rows_blob(const struct rows *r, int column, size_t *n); /* NULL and 0 for NULL */
bool rows_uuid(const struct rows *r, int column, struct uuid *out); /* false: it is none, and *out is all zero */
bool rows_null(const struct rows *r, int column);
int rows_kind(const struct rows *r, int column); /* how it is stored: VALUE_…, or −1 for a real number */
int rows_columns(const struct rows *r);
/* As JSON, the caller's, and null for NULL: text, and a moment in milliseconds as RFC 3339. */
json_t *rows_text_json(const struct rows *r, int column);
json_t *rows_time_json(const struct rows *r, int column);
const char *rows_name(const struct rows *r, int column);

/* The first column of the first row. `otherwise` when there is none. */
#define store_int(c, otherwise, sql, ...) store_int_values(c, otherwise, sql, VALUES(__VA_ARGS__))
int64_t
store_int_values(struct connection *c, int64_t otherwise, const char *sql, const struct value *values_from_1, size_t n);

/* A whole result as a JSON array of objects keyed by column name (blobs as hex). The array is the caller's. */
#define store_json(c, sql, ...) store_json_values(c, sql, VALUES(__VA_ARGS__))
MUST_CHECK json_t *
store_json_values(struct connection *c, const char *sql, const struct value *values_from_1, size_t n);

/* --- The catalogue, for those that treat tables alike (state_text.h, rebuild.h) */

MUST_CHECK struct rows store_tables(struct connection *c); /* the name of each */
/* Of each column its name, its place in the primary key (0: none), and its place among the names. The key's come first,
 * the others by name. */
MUST_CHECK struct rows store_columns(struct connection *c, const char *table);
