#include "chassis/store/store.h"

#include "chassis/base/buffer.h"
#include "chassis/base/crash.h"
#include "chassis/base/hash.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATEMENTS_N = 48, BUSY_MS = 5000, CACHE_KIB = 1024 };

struct statement {
    sqlite3_stmt *prepared;
    uint64_t hash;
    bool busy;
};

struct connection {
    struct store *store;
    sqlite3 *db;
    struct connection *next; /* the store's readers */
    verdict state;
    char error[400];
    struct statement statements[STATEMENTS_N];
    int next_victim;
};

struct store {
    char *path;
    char *uri; /* NULL: the path */
    int lock_file;
    pthread_mutex_t writing, listing;
    struct connection writer;
    struct connection *readers;
    pthread_key_t reader_key;
    bool reader_key_made;
    _Atomic int64_t failure_logged;
    struct connection no_reader; /* what a thread gets that has no memory for one of its own */
};

/* --- Connections */

static verdict kind_of(int code) {
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return OK;
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

/* The first error stays. */
static void connection_fail(struct connection *c, int code, const char *doing) {
    if (c->state != OK) return;
    c->state = kind_of(code);
    if (c->state == OK) c->state = FATAL;
    /* Clients are told this, so it names no file and quotes no SQL; whoever runs the service finds them in its log. */
    bool rejects = c->state == REJECT;
    const char *said = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(code);
    snprintf(
        c->error, sizeof c->error, "could not %s in the database: %s", doing, rejects ? said : sqlite3_errstr(code));
    if (!rejects) log_failure(c->store, said);
}

static bool connection_exec(struct connection *c, const char *sql, const char *doing) {
    if (c->state != OK) return false;
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK) connection_fail(c, code, doing);
    return code == SQLITE_OK;
}

static void connection_open(struct connection *c, struct store *s, int flags) {
    *c = (struct connection){.store = s};
    if (s->uri) flags |= SQLITE_OPEN_URI;
    int code =
        sqlite3_open_v2(s->uri ? s->uri : s->path, &c->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code != SQLITE_OK) {
        connection_fail(c, code, "open the database");
        sqlite3_close(c->db);
        c->db = NULL;
        return;
    }
    sqlite3_busy_timeout(c->db, BUSY_MS);
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA cache_size = -%d", CACHE_KIB);
    connection_exec(c, sql, "set the cache");
}

static void connection_close(struct connection *c) {
    for (int i = 0; i < STATEMENTS_N; i++) sqlite3_finalize(c->statements[i].prepared);
    sqlite3_close(c->db);
}

static void reader_end(void *reader) {
    struct connection *c = reader;
    struct store *s = c->store;
    pthread_mutex_lock(&s->listing);
    struct connection **at = &s->readers;
    while (*at && *at != c) at = &(*at)->next;
    if (*at) *at = c->next;
    pthread_mutex_unlock(&s->listing);
    connection_close(c);
    free(c);
}

/* One that could not be opened, as when no descriptor was left, is tried again. */
static void reader_reopen(struct connection *c, struct store *s) {
    pthread_mutex_lock(&s->listing);
    struct connection *next = c->next;
    connection_open(c, s, SQLITE_OPEN_READONLY);
    c->next = next;
    pthread_mutex_unlock(&s->listing);
}

struct connection *store_reader(struct store *s) {
    struct connection *c = pthread_getspecific(s->reader_key);
    if (!c) {
        c = calloc(1, sizeof *c);
        if (!c) return &s->no_reader;
        connection_open(c, s, SQLITE_OPEN_READONLY);
        pthread_setspecific(s->reader_key, c);
        pthread_mutex_lock(&s->listing);
        c->next = s->readers;
        s->readers = c;
        pthread_mutex_unlock(&s->listing);
    } else if (!c->db) {
        reader_reopen(c, s);
    }
    if (c->db && c->state != OK) { /* a transaction that an error left open */
        if (!sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
        c->state = OK;
        c->error[0] = '\0';
    }
    return c;
}

/* --- Opening and migrating */

static verdict make_folders(const char *path, struct failure *why) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *p = folder + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        if (mkdir(folder, 0777) < 0 && errno != EEXIST)
            return fail(why, FATAL, "could not make the folder \"%s\": %s", folder, strerror(errno));
    }
    return OK;
}

/* SQLite itself would let two processes take turns; but a service's database has one owner. */
verdict store_lock(const char *database, int *lock, struct failure *why) {
    char path[4200];
    snprintf(path, sizeof path, "%s.lock", database);
    verdict v = make_folders(database, why);
    if (v != OK) return v;
    *lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (*lock < 0) return fail(why, FATAL, "could not open \"%s\": %s", path, strerror(errno));
    if (!flock(*lock, LOCK_EX | LOCK_NB)) return OK;
    store_unlock(lock);
    return fail(
        why, RETRY,
        "the database \"%s\" belongs to another running process; stop that one first, or set another data-dir",
        database);
}

void store_unlock(int *lock) {
    if (*lock >= 0) close(*lock);
    *lock = -1;
}

/* Of all statements that made an owner's tables, up to that version. Comments and spaces may change. */
static int64_t fingerprint(const struct migration *m, size_t n, const char *owner, int64_t version) {
    uint64_t hash = HASH_START;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(m[i].owner, owner) != 0 || m[i].version > version) continue;
        for (const char *sql = m[i].sql; *sql;) {
            sql += strspn(sql, " \n");
            size_t comment = strncmp(sql, "--", 2) ? 0 : strcspn(sql, "\n");
            if (!comment && *sql) hash = hash_bytes(hash, sql++, 1);
            sql += comment;
        }
    }
    return (int64_t)hash;
}

static verdict migrate_one(struct connection *c, const struct migration *m, int64_t made_by, struct failure *why) {
    int64_t have = store_int(c, 0, "SELECT version FROM schema_version WHERE owner = ?", value_text(m->owner));
    if (c->state != OK) return fail(why, c->state, "%s", c->error);
    if (have >= m->version) return OK;
    connection_exec(c, "BEGIN IMMEDIATE", "begin a migration");
    connection_exec(c, m->sql, "migrate the schema");
    crash_point("during migration");
    store_run(
        c,
        "INSERT INTO schema_version (owner, version, made_by) VALUES (?, ?, ?) "
        "ON CONFLICT (owner) DO UPDATE SET version = excluded.version, made_by = excluded.made_by",
        value_text(m->owner), value_int(m->version), value_int(made_by));
    connection_exec(c, "COMMIT", "commit a migration");
    if (c->state != OK) {
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
        return fail(why, c->state, "version %d of the %s's tables: %s", m->version, m->owner, c->error);
    }
    return OK;
}

static verdict
refuse_newer(const struct connection *c, const char *owner, int64_t version, int64_t known, struct failure *why) {
    return fail(
        why, FATAL,
        "the database \"%s\" has version %lld of the %s's tables, this program knows %lld; run the newer program",
        c->store->path, (long long)version, owner, (long long)known);
}

static verdict refuse_other(
    const struct connection *c, const char *owner, int64_t version, int64_t made_by, int64_t wanted,
    struct failure *why) {
    return fail(
        why, FATAL,
        "version %lld of the %s's tables in \"%s\" was made by other statements (%016llx) than this program has (%016llx). "
        "A file whose tables exist is not changed: put it back, and add what is new as the next version (schema.2.sql). "
        "Or begin anew: ./returns reset; or move the database away, and ./returns rebuild makes it from the topics",
        (long long)version, owner, c->store->path, (unsigned long long)made_by, (unsigned long long)wanted);
}

/* Databases of programs before there were fingerprints have two columns, and were made by other statements. */
static verdict refuse_strange(struct connection *c, const struct migration *m, size_t n, struct failure *why) {
    verdict v = OK;
    for (struct rows r = store_rows(c, "SELECT * FROM schema_version"); rows_next(&r);) {
        const char *owner = rows_text(&r, 0);
        int64_t version = rows_int(&r, 1), made_by = rows_columns(&r) > 2 ? rows_int(&r, 2) : 0, known = 0;
        for (size_t i = 0; i < n; i++)
            if (!strcmp(m[i].owner, owner) && m[i].version > known) known = m[i].version;
        int64_t wanted = fingerprint(m, n, owner, version);
        if (version > known)
            v = refuse_newer(c, owner, version, known, why);
        else if (made_by != wanted)
            v = refuse_other(c, owner, version, made_by, wanted, why);
    }
    return v;
}

static verdict files_remove(const char *path, struct failure *why) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char file[4200];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(file, sizeof file, "%s%s", path, ends[i]);
        if (unlink(file) < 0 && errno != ENOENT)
            return fail(why, RETRY, "could not remove \"%s\": %s", file, strerror(errno));
    }
    return OK;
}

/* SQLite does not say that it cannot: it keeps another journal, with which a reader holds up the writer. */
static void check_journal(struct connection *c) {
    bool wal = false;
    for (struct rows r = store_rows(c, "PRAGMA journal_mode"); rows_next(&r);) wal = !strcmp(rows_text(&r, 0), "wal");
    if (c->state != OK || wal) return;
    c->state = FATAL;
    snprintf(
        c->error, sizeof c->error,
        "the file system of \"%s\" has no shared memory, which a write-ahead log needs (a network share has none); set another data-dir",
        c->store->path);
}

static verdict open_migrated(
    struct store **out, const char *path, bool empty, const struct migration *migrations, size_t n,
    struct failure *why) {
    struct store *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, FATAL, "out of memory");
    s->lock_file = -1;
    s->path = strdup(path);
    s->no_reader =
        (struct connection){.store = s, .state = RETRY, .error = "could not read the database: out of memory"};
    pthread_mutex_init(&s->writing, NULL);
    pthread_mutex_init(&s->listing, NULL);
    s->reader_key_made = !pthread_key_create(&s->reader_key, reader_end);
    verdict v = s->path ? store_lock(path, &s->lock_file, why)
                        : fail(why, RETRY, "out of memory"); /* no path is a database in memory */
    if (v == OK && empty) v = files_remove(s->path, why);
    if (v != OK) goto failed;
    struct connection *c = &s->writer;
    connection_open(c, s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    connection_exec(
        c, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", "set the journal");
    check_journal(c);
    if (empty) connection_exec(c, "PRAGMA synchronous = OFF", "set the journal");
    connection_exec(
        c,
        "CREATE TABLE IF NOT EXISTS schema_version (owner TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL, "
        "made_by BIGINT NOT NULL)",
        "write");
    v = c->state == OK ? refuse_strange(c, migrations, n, why) : fail(why, c->state, "\"%s\": %s", path, c->error);
    for (size_t i = 0; v == OK && i < n; i++) {
        const struct migration *m = &migrations[i];
        v = migrate_one(c, m, fingerprint(migrations, n, m->owner, m->version), why);
    }
    if (v == OK) return OK;
failed:
    store_close(out);
    return v;
}

verdict
store_open(struct store **out, const char *path, const struct migration *migrations, size_t n, struct failure *why) {
    return open_migrated(out, path, false, migrations, n, why);
}

verdict store_open_empty(
    struct store **out, const char *path, const struct migration *migrations, size_t n, struct failure *why) {
    return open_migrated(out, path, true, migrations, n, why);
}

/* Without a write-ahead log nobody has it open, and SQLite is told that the file will not change: it then leaves no
 * file beside it, and needs no right to write there. */
static char *readonly_uri(const char *path) {
    char log[4200];
    struct buffer uri = BUFFER(3 * sizeof log);
    snprintf(log, sizeof log, "%s-wal", path);
    buffer_text(&uri, "file:");
    buffer_percent(&uri, path);
    buffer_text(&uri, access(log, F_OK) ? "?mode=ro&immutable=1" : "?mode=ro");
    return uri.data; /* NULL: no memory */
}

verdict store_open_readonly(struct store **out, const char *path, struct failure *why) {
    struct store *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, RETRY, "out of memory");
    s->lock_file = -1;
    s->path = strdup(path);
    s->uri = readonly_uri(path);
    pthread_mutex_init(&s->writing, NULL);
    pthread_mutex_init(&s->listing, NULL);
    s->reader_key_made = !pthread_key_create(&s->reader_key, reader_end);
    verdict v = s->path && s->uri && s->reader_key_made ? OK : fail(why, RETRY, "out of memory");
    struct connection *c = v == OK ? store_reader(s) : NULL;
    if (c) (void)store_int(c, 0, "SELECT COUNT(*) FROM sqlite_master");
    if (c && c->state != OK) v = fail(why, RETRY, "\"%s\": %s", path, c->error);
    if (v != OK) store_close(out);
    return v;
}

void store_close(struct store **out) {
    struct store *s = *out;
    if (!s) return;
    if (s->reader_key_made) pthread_key_delete(s->reader_key);
    while (s->readers) {
        struct connection *c = s->readers;
        s->readers = c->next;
        connection_close(c);
        free(c);
    }
    connection_close(&s->writer);
    store_unlock(&s->lock_file);
    pthread_mutex_destroy(&s->writing);
    pthread_mutex_destroy(&s->listing);
    free(s->path);
    free(s->uri);
    free(s);
    *out = NULL;
}

/* --- A second database beside it */

verdict store_snapshot(const char *path, const char *to, struct failure *why) {
    sqlite3 *db = NULL;
    /* The copy need not outlive a power cut; what is left of the log is written with the usual care when it closes. */
    char *sql = sqlite3_mprintf("PRAGMA synchronous = OFF; VACUUM INTO %Q; PRAGMA synchronous = FULL", to);
    int code = sql ? sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) : SQLITE_NOMEM;
    if (code == SQLITE_OK) sqlite3_busy_timeout(db, BUSY_MS);
    if (code == SQLITE_OK) code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    verdict v = OK;
    if (code != SQLITE_OK)
        v = fail(
            why, RETRY, "could not copy the database \"%s\" to \"%s\": %s", path, to,
            db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    sqlite3_close(db);
    sqlite3_free(sql);
    return v;
}

/* On the writer, outside of a transaction. */
static verdict writer_exec(struct store *s, const char *sql, const char *doing, struct failure *why) {
    struct connection *c = &s->writer;
    pthread_mutex_lock(&s->writing);
    c->state = OK;
    connection_exec(c, sql, doing);
    verdict v = c->state == OK ? OK : fail(why, c->state, "%s", c->error);
    pthread_mutex_unlock(&s->writing);
    return v;
}

verdict store_attach(struct store *s, const char *path, struct failure *why) {
    char *sql = sqlite3_mprintf("ATTACH DATABASE %Q AS base", path);
    if (!sql) return fail(why, RETRY, "out of memory");
    verdict v = writer_exec(s, sql, "attach another database", why);
    sqlite3_free(sql);
    return v;
}

verdict store_detach(struct store *s, struct failure *why) {
    for (int i = 0; i < STATEMENTS_N; i++) { /* a statement that reads it would keep it */
        sqlite3_finalize(s->writer.statements[i].prepared);
        s->writer.statements[i] = (struct statement){0};
    }
    return writer_exec(s, "DETACH DATABASE base", "let go of the other database", why);
}

verdict store_hurry(struct store *s, struct failure *why) {
    return writer_exec(
        s, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536", "set the journal",
        why);
}

/* --- Transactions */

struct connection *store_begin(struct store *s) {
    pthread_mutex_lock(&s->writing);
    struct connection *c = &s->writer;
    if (c->db) c->state = OK, c->error[0] = '\0';
    connection_exec(c, "BEGIN IMMEDIATE", "begin a transaction");
    return c;
}

verdict store_commit(struct connection *c, struct failure *why) {
    connection_exec(c, "COMMIT", "commit");
    verdict v = c->state == OK ? OK : fail(why, c->state, "%s", c->error);
    if (v != OK && c->db && !sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&c->store->writing);
    return v;
}

void store_rollback(struct connection *c) {
    if (c->db && !sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&c->store->writing);
}

void store_savepoint(struct connection *c) {
    (void)store_run(c, "SAVEPOINT one");
}

void store_release(struct connection *c) {
    (void)store_run(c, "RELEASE one");
}

void store_undo(struct connection *c) {
    if (c->state == REJECT) c->state = OK, c->error[0] = '\0';
    (void)store_run(c, "ROLLBACK TO one");
    (void)store_run(c, "RELEASE one");
}

verdict store_state(const struct connection *c) {
    return c->state;
}

const char *store_error(const struct connection *c) {
    return c->error;
}

void store_spoil(struct connection *c, verdict kind, const char *text) {
    if (c->state != OK) return;
    c->state = kind;
    snprintf(c->error, sizeof c->error, "%s", text);
}

/* --- Statements */

struct value value_int(int64_t n) {
    return (struct value){.kind = VALUE_INT, .number = n};
}

struct value value_text(const char *text) {
    if (!text) return (struct value){.kind = VALUE_NULL};
    return (struct value){.kind = VALUE_TEXT, .bytes = text, .length = strlen(text)};
}

struct value value_blob(const void *bytes, size_t n) {
    if (!bytes) return (struct value){.kind = VALUE_NULL};
    return (struct value){.kind = VALUE_BLOB, .bytes = bytes, .length = n};
}

/* A slot for a new statement: an empty one, or the next in turn that is not busy. NULL when all are. */
static struct statement *cache_slot(struct connection *c) {
    for (int tried = 0; tried < STATEMENTS_N; tried++) {
        struct statement *s = &c->statements[c->next_victim];
        c->next_victim = (c->next_victim + 1) % STATEMENTS_N;
        if (s->busy) continue;
        sqlite3_finalize(s->prepared);
        *s = (struct statement){0};
        return s;
    }
    return NULL;
}

static struct statement *statement_find(struct connection *c, const char *sql) {
    uint64_t hash = hash_text(HASH_START, sql);
    for (int i = 0; i < STATEMENTS_N; i++) {
        struct statement *s = &c->statements[i];
        if (s->prepared && !s->busy && s->hash == hash && !strcmp(sqlite3_sql(s->prepared), sql)) return s;
    }
    struct statement *s = cache_slot(c);
    if (!s) return connection_fail(c, SQLITE_MISUSE, "run more statements at once"), NULL;
    int code = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->prepared, NULL);
    if (code != SQLITE_OK) return connection_fail(c, code, "prepare a statement"), NULL;
    s->hash = hash;
    return s;
}

static int bind_one(sqlite3_stmt *stmt, int at, const struct value *v) {
    switch (v->kind) {
    case VALUE_INT: return sqlite3_bind_int64(stmt, at, v->number);
    case VALUE_TEXT: return sqlite3_bind_text64(stmt, at, v->bytes, v->length, SQLITE_TRANSIENT, SQLITE_UTF8);
    case VALUE_BLOB: return sqlite3_bind_blob64(stmt, at, v->bytes, v->length, SQLITE_TRANSIENT);
    default: return sqlite3_bind_null(stmt, at);
    }
}

/* values[0] is a filler (see store_run), so that a statement without values is possible. */
static struct statement *statement_start(struct connection *c, const char *sql, const struct value *values, size_t n) {
    if (c->state != OK) return NULL;
    struct statement *s = statement_find(c, sql);
    if (!s) return NULL;
    if ((size_t)sqlite3_bind_parameter_count(s->prepared) != n)
        return connection_fail(c, SQLITE_MISUSE, "bind as many values as it has places"), NULL;
    for (size_t i = 1; i <= n; i++) {
        int code = bind_one(s->prepared, (int)i, &values[i]);
        if (code != SQLITE_OK) return connection_fail(c, code, "bind a value"), NULL;
    }
    s->busy = true;
    return s;
}

static void statement_end(struct statement *s) {
    sqlite3_reset(s->prepared);
    sqlite3_clear_bindings(s->prepared);
    s->busy = false;
}

int64_t store_run_values(struct connection *c, const char *sql, const struct value *values, size_t n) {
    struct statement *s = statement_start(c, sql, values, n);
    if (!s) return 0;
    int code;
    while ((code = sqlite3_step(s->prepared)) == SQLITE_ROW) continue;
    if (code != SQLITE_DONE) connection_fail(c, code, "write");
    int64_t changed = code == SQLITE_DONE ? sqlite3_changes64(c->db) : 0;
    statement_end(s);
    return changed;
}

struct rows store_rows_values(struct connection *c, const char *sql, const struct value *values, size_t n) {
    return (struct rows){c, statement_start(c, sql, values, n)};
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
    if (r->statement) statement_end(r->statement);
    r->statement = NULL;
}

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

bool rows_null(const struct rows *r, int column) {
    return sqlite3_column_type(r->statement->prepared, column) == SQLITE_NULL;
}

json_t *rows_text_json(const struct rows *r, int column) {
    return rows_null(r, column) ? json_null() : json_string(rows_text(r, column));
}

json_t *rows_time_json(const struct rows *r, int column) {
    return rows_null(r, column) ? json_null() : time_json(rows_int(r, column));
}

int rows_kind(const struct rows *r, int column) {
    switch (sqlite3_column_type(r->statement->prepared, column)) {
    case SQLITE_NULL: return VALUE_NULL;
    case SQLITE_INTEGER: return VALUE_INT;
    case SQLITE_TEXT: return VALUE_TEXT;
    case SQLITE_BLOB: return VALUE_BLOB;
    default: return -1;
    }
}

int rows_columns(const struct rows *r) {
    return r->statement ? sqlite3_column_count(r->statement->prepared) : 0;
}

const char *rows_name(const struct rows *r, int column) {
    return sqlite3_column_name(r->statement->prepared, column);
}

int64_t
store_int_values(struct connection *c, int64_t otherwise, const char *sql, const struct value *values, size_t n) {
    struct rows r = store_rows_values(c, sql, values, n);
    if (!rows_next(&r)) return otherwise;
    int64_t number = rows_int(&r, 0);
    rows_close(&r);
    return number;
}

static json_t *column_json(const struct rows *r, int column) {
    switch (sqlite3_column_type(r->statement->prepared, column)) {
    case SQLITE_NULL: return json_null();
    case SQLITE_INTEGER: return json_integer(rows_int(r, column));
    case SQLITE_FLOAT: return json_real(sqlite3_column_double(r->statement->prepared, column));
    case SQLITE_BLOB: {
        size_t n;
        const void *bytes = rows_blob(r, column, &n);
        struct buffer hex = BUFFER(2 * n + 1);
        buffer_hex(&hex, bytes, n);
        json_t *text = json_string(hex.data ? hex.data : "");
        buffer_free(&hex);
        return text;
    }
    default: return json_string(rows_text(r, column));
    }
}

json_t *store_json_values(struct connection *c, const char *sql, const struct value *values, size_t n) {
    json_t *all = json_array();
    for (struct rows r = store_rows_values(c, sql, values, n); rows_next(&r);) {
        json_t *row = json_object();
        for (int i = 0; i < rows_columns(&r); i++) json_object_set_new(row, rows_name(&r, i), column_json(&r, i));
        json_array_append_new(all, row);
    }
    return all;
}
