#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/store/store_private.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATEMENTS_N = 48, BUSY_MS = 5000 };

struct statement {
    sqlite3_stmt *prepared;
    const char *sql; /* where its text was then: most are literals, which are found again by their place */
    bool busy;
};

struct database {
    sqlite3 *sqlite;
    struct statement statements[STATEMENTS_N];
    int next_victim;
};

/* --- Errors */

static verdict kind_of(int code) {
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH: return REJECT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_CANTOPEN: return RETRY;
    default: return FATAL;
    }
}

/* At most once a second. */
static void log_failure(struct store *s, const char *said) {
    int64_t now = steady_ms(), last = atomic_load(&s->failure_logged);
    if ((last && now - last < 1000) || !atomic_compare_exchange_strong(&s->failure_logged, &last, now)) return;
    log_line(LOG_ERROR, "the database failed", "file", s->path, "reason", said, NULL);
}

/* Clients are told the text, so it names no file and quotes no SQL. Whoever runs the service finds both in its log. */
static void connection_fail(struct connection *c, int code, const char *doing) {
    char text[sizeof c->error];
    verdict kind = kind_of(code);
    const char *reason = sqlite3_errstr(code), *said = c->db ? sqlite3_errmsg(c->db->sqlite) : reason;
    if (c->state != OK) return;
    snprintf(text, sizeof text, "could not %s in the database: %s", doing, kind == REJECT ? said : reason);
    store_spoil(c, kind, text);
    if (kind != REJECT) log_failure(c->store, said);
}

/* --- Connections */

void connection_exec(struct connection *c, const char *sql, const char *doing) {
    int code = c->state == OK ? sqlite3_exec(c->db->sqlite, sql, NULL, NULL, NULL) : SQLITE_OK;
    if (code != SQLITE_OK) connection_fail(c, code, doing);
}

/* SQLite does not say that it has no write-ahead log: it keeps another journal, with which a reader holds up the
 * writer. */
static void journal_set(struct connection *c) {
    char text[sizeof c->error];
    bool wal = false;
    /* 16 MiB of log before its pages are copied into the database: a page that many batches change is copied once. */
    connection_exec(
        c,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; "
        "PRAGMA wal_autocheckpoint = 4000",
        "set the journal");
    for (struct rows r = store_rows(c, "PRAGMA journal_mode"); rows_next(&r);) wal = !strcmp(rows_text(&r, 0), "wal");
    snprintf(
        text, sizeof text,
        "the file system of \"%s\" has no shared memory, which a write-ahead log needs (a network share has none); set another data-dir",
        c->store->path);
    if (!wal) store_spoil(c, FATAL, text);
}

void connection_open(struct connection *c, bool writes) {
    const struct store *s = c->store;
    /* Counts of its memory, which nobody reads, cost each allocation a lock of all threads. Does nothing after the
     * first connection, which is opened before there are threads. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (s->uri ? SQLITE_OPEN_URI : 0) |
                (writes ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    c->state = OK;
    c->error[0] = '\0';
    c->db = calloc(1, sizeof *c->db);
    int code = c->db ? sqlite3_open_v2(s->uri ? s->uri : s->path, &c->db->sqlite, flags, NULL) : SQLITE_NOMEM;
    if (code != SQLITE_OK) {
        connection_fail(c, code, "open the database");
        connection_close(c);
        return;
    }
    sqlite3_busy_timeout(c->db->sqlite, BUSY_MS);
    connection_exec(c, "PRAGMA cache_size = -1024", "set the cache"); /* KiB */
    if (writes && strcmp(s->path, IN_MEMORY) != 0) journal_set(c);
}

void connection_relax(struct connection *c, bool relaxed) {
    connection_exec(c, relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", "set the journal");
    if (c->state == OK) c->relaxed = relaxed;
}

void connection_close(struct connection *c) {
    if (!c->db) return;
    for (int i = 0; i < STATEMENTS_N; i++) sqlite3_finalize(c->db->statements[i].prepared);
    sqlite3_close(c->db->sqlite);
    free(c->db);
    c->db = NULL;
}

void connection_abandon(struct connection *c) {
    if (c->db && !sqlite3_get_autocommit(c->db->sqlite)) sqlite3_exec(c->db->sqlite, "ROLLBACK", NULL, NULL, NULL);
}

void connection_clear(struct connection *c) {
    if (!c->db || c->state == OK) return;
    connection_abandon(c);
    c->state = OK;
    c->error[0] = '\0';
}

verdict store_snapshot(const char *path, const char *to, struct failure *why) {
    sqlite3 *db = NULL;
    char *sql = sqlite3_mprintf("PRAGMA synchronous = OFF; VACUUM INTO %Q", to); /* a copy may fall to a power cut */
    int code = sql ? sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) : SQLITE_NOMEM;
    if (code == SQLITE_OK) sqlite3_busy_timeout(db, BUSY_MS);
    if (code == SQLITE_OK) code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    verdict v = OK;
    if (code != SQLITE_OK)
        v = fail(
            why, RETRY, "could not copy the database \"%s\" to \"%s\": %s", path, to,
            db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    /* Whatever became of it: what is left of the log is written with the usual care when it closes. */
    if (db) (void)sqlite3_exec(db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
    sqlite3_close(db);
    sqlite3_free(sql);
    return v;
}

/* --- Statements */

static struct statement *statement_find(struct database *db, const char *sql, bool here) {
    for (struct statement *s = db->statements; s < db->statements + STATEMENTS_N; s++)
        if (s->prepared && !s->busy && (!here || s->sql == sql) && !strcmp(sqlite3_sql(s->prepared), sql)) return s;
    return NULL;
}

/* One that was prepared of this text, or a slot for it: an empty one, or the next in turn. NULL: all are busy. */
static struct statement *statement_slot(struct database *db, const char *sql) {
    struct statement *found = statement_find(db, sql, true);
    if (found || (found = statement_find(db, sql, false))) return found;
    for (int tried = 0; tried < STATEMENTS_N; tried++) {
        struct statement *s = &db->statements[db->next_victim];
        db->next_victim = (db->next_victim + 1) % STATEMENTS_N;
        if (s->busy) continue;
        sqlite3_finalize(s->prepared);
        s->prepared = NULL;
        s->sql = sql;
        return s;
    }
    return NULL;
}

static int bind_one(sqlite3_stmt *stmt, int at, const struct value *v, sqlite3_destructor_type copies) {
    switch (v->kind) {
    case VALUE_INT: return sqlite3_bind_int64(stmt, at, v->number);
    case VALUE_TEXT: return sqlite3_bind_text64(stmt, at, v->bytes, v->length, copies, SQLITE_UTF8);
    case VALUE_BLOB: return sqlite3_bind_blob64(stmt, at, v->bytes, v->length, copies);
    default: return sqlite3_bind_null(stmt, at);
    }
}

/* values[0] is a filler (see store_run), so that a statement without values is possible. copies: SQLITE_STATIC where
 * the values live until it has ended. */
static struct statement *statement_start(
    struct connection *c, const char *sql, const struct value *values, size_t n, sqlite3_destructor_type copies) {
    if (c->state != OK) return NULL;
    struct statement *s = statement_slot(c->db, sql);
    if (!s) return connection_fail(c, SQLITE_MISUSE, "run more statements at once"), NULL;
    int code = SQLITE_OK;
    if (!s->prepared) code = sqlite3_prepare_v3(c->db->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->prepared, NULL);
    if (code != SQLITE_OK) return connection_fail(c, code, "prepare a statement"), NULL;
    if ((size_t)sqlite3_bind_parameter_count(s->prepared) != n)
        return connection_fail(c, SQLITE_MISUSE, "bind as many values as it has places"), NULL;
    for (size_t i = 1; code == SQLITE_OK && i <= n; i++) code = bind_one(s->prepared, (int)i, &values[i], copies);
    if (code != SQLITE_OK) return connection_fail(c, code, "bind a value"), NULL;
    s->busy = true;
    return s;
}

int64_t store_run_values(struct connection *c, const char *sql, const struct value *values, size_t n) {
    struct rows r = {c, statement_start(c, sql, values, n, SQLITE_STATIC)};
    if (!r.statement) return 0;
    int code;
    while ((code = sqlite3_step(r.statement->prepared)) == SQLITE_ROW) continue;
    if (code != SQLITE_DONE) connection_fail(c, code, "write");
    rows_close(&r);
    return code == SQLITE_DONE ? sqlite3_changes64(c->db->sqlite) : 0;
}

struct rows store_rows_values(struct connection *c, const char *sql, const struct value *values, size_t n) {
    return (struct rows){c, statement_start(c, sql, values, n, SQLITE_TRANSIENT)};
}

bool rows_next(struct rows *r) {
    if (!r->statement) return false;
    int code = sqlite3_step(r->statement->prepared);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) connection_fail(r->connection, code, "read");
    rows_close(r);
    return false;
}

void rows_close(struct rows *r) {
    if (!r->statement) return;
    sqlite3_reset(r->statement->prepared); /* its values stay: each is bound anew before it runs again */
    r->statement->busy = false;
    r->statement = NULL;
}

/* --- Values */

int64_t rows_int(const struct rows *r, int column) {
    return sqlite3_column_int64(r->statement->prepared, column);
}

const char *rows_text(const struct rows *r, int column) {
    const char *text = (const char *)sqlite3_column_text(r->statement->prepared, column);
    return text ? text : "";
}

const void *rows_blob(const struct rows *r, int column, size_t *n) {
    const void *bytes = sqlite3_column_blob(r->statement->prepared, column);
    *n = (size_t)sqlite3_column_bytes(r->statement->prepared, column);
    return bytes;
}

int rows_kind(const struct rows *r, int column) {
    static const int kinds[] = {
        [SQLITE_INTEGER] = VALUE_INT,
        [SQLITE_FLOAT] = -1,
        [SQLITE_TEXT] = VALUE_TEXT,
        [SQLITE_BLOB] = VALUE_BLOB,
        [SQLITE_NULL] = VALUE_NULL};
    return kinds[sqlite3_column_type(r->statement->prepared, column)];
}

int rows_columns(const struct rows *r) {
    return r->statement ? sqlite3_column_count(r->statement->prepared) : 0;
}

const char *rows_name(const struct rows *r, int column) {
    return sqlite3_column_name(r->statement->prepared, column);
}

json_t *rows_json(const struct rows *r, int column) {
    size_t n;
    const void *bytes;
    switch (rows_kind(r, column)) {
    case VALUE_NULL: return json_null();
    case VALUE_INT: return json_integer(rows_int(r, column));
    case VALUE_TEXT: return json_string(rows_text(r, column));
    case VALUE_BLOB: bytes = rows_blob(r, column, &n); return hex_json(bytes ? bytes : "", n);
    default: return json_real(sqlite3_column_double(r->statement->prepared, column));
    }
}

/* --- The catalogue */

struct rows store_tables(struct connection *c) {
    return store_rows(
        c, "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name");
}

struct rows store_columns(struct connection *c, const char *table) {
    return store_rows(
        c, "SELECT name, pk, row_number() OVER (ORDER BY name) - 1 FROM pragma_table_info(?) ORDER BY pk = 0, pk, name",
        value_text(table));
}
