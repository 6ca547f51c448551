#include "chassis/base/buffer.h"
#include "chassis/base/ids.h"
#include "chassis/store/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Who owns a database */

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

/* SQLite itself would let two processes take turns, but a service's database has one owner. */
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

/* --- Readers */

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

struct connection *store_reader(struct store *s) {
    struct connection *c = pthread_getspecific(s->reader_key);
    if (!c) {
        c = calloc(1, sizeof *c);
        if (!c) return &s->no_reader;
        c->store = s;
        pthread_setspecific(s->reader_key, c);
        pthread_mutex_lock(&s->listing);
        c->next = s->readers;
        s->readers = c;
        pthread_mutex_unlock(&s->listing);
    }
    if (!c->db) connection_open(c, false); /* also once more, when no descriptor was left before */
    connection_clear(c);
    return c;
}

/* --- Opening */

/* *out is there also after a failure, unless there was no memory for it. */
static verdict store_new(struct store **out, const char *path, struct failure *why) {
    struct store *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, RETRY, "out of memory");
    s->lock_file = -1;
    s->path = strdup(path);
    s->writer.store = s;
    s->no_reader =
        (struct connection){.store = s, .state = RETRY, .error = "could not read the database: out of memory"};
    pthread_mutex_init(&s->writing, NULL);
    pthread_mutex_init(&s->listing, NULL);
    s->reader_key_made = !pthread_key_create(&s->reader_key, reader_end);
    return s->path && s->reader_key_made ? OK : fail(why, RETRY, "out of memory");
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

static verdict open_migrated(
    struct store **out, const char *path, bool empty, const struct migration *migrations, size_t n,
    struct failure *why) {
    verdict v = store_new(out, path, why);
    if (v == OK) v = store_lock(path, &(*out)->lock_file, why);
    if (v == OK && empty) v = files_remove(path, why);
    if (v == OK) {
        connection_open(&(*out)->writer, true);
        if (empty) connection_exec(&(*out)->writer, "PRAGMA synchronous = OFF", "set the journal");
        v = migrate(*out, migrations, n, why);
    }
    if (v != OK) store_close(out);
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
    verdict v = store_new(out, path, why);
    if (v == OK && !((*out)->uri = readonly_uri(path))) v = fail(why, RETRY, "out of memory");
    if (v == OK) {
        struct connection *c = store_reader(*out);
        struct rows r = store_tables(c);
        if (rows_next(&r)) rows_close(&r);
        if (c->state != OK) v = fail(why, RETRY, "\"%s\": %s", path, c->error);
    }
    if (v != OK) store_close(out);
    return v;
}

verdict store_open_memory(struct store **out, const char *sql, struct failure *why) {
    verdict v = store_new(out, IN_MEMORY, why);
    if (v == OK) {
        struct connection *c = &(*out)->writer;
        connection_open(c, true);
        connection_exec(c, sql, "make the tables");
        v = store_check(c, why);
    }
    if (v != OK) store_close(out);
    return v;
}

void store_close(struct store **out) {
    struct store *s = *out;
    if (!s) return;
    if (s->reader_key_made) pthread_key_delete(s->reader_key);
    while (s->readers) reader_end(s->readers);
    connection_close(&s->writer);
    free(s->writer.memory);
    store_unlock(&s->lock_file);
    pthread_mutex_destroy(&s->writing);
    pthread_mutex_destroy(&s->listing);
    free(s->path);
    free(s->uri);
    free(s);
    *out = NULL;
}

/* --- The writer */

static struct connection *writer_take(struct store *s) {
    pthread_mutex_lock(&s->writing);
    connection_clear(&s->writer);
    return &s->writer;
}

static verdict writer_give(struct connection *c, struct failure *why) {
    verdict v = store_check(c, why);
    pthread_mutex_unlock(&c->store->writing);
    return v;
}

/* How much a commit waits for can be set between transactions alone. */
static struct connection *begin(struct store *s, bool relaxed) {
    struct connection *c = writer_take(s);
    c->keep = NULL;
    if (c->relaxed != relaxed) connection_relax(c, relaxed);
    connection_exec(c, "BEGIN IMMEDIATE", "begin a transaction");
    return c;
}

struct connection *store_begin(struct store *s) {
    return begin(s, false);
}

struct connection *store_begin_relaxed(struct store *s) {
    return begin(s, true);
}

void *store_memory(struct connection *c, size_t n, void (*keep)(struct connection *c, void *memory)) {
    if (!c->memory) c->memory = malloc(n);
    if (c->memory && !c->keep) memset(c->memory, 0, n);
    c->keep = keep;
    return c->memory;
}

void store_keep(struct connection *c) {
    if (c->keep) c->keep(c, c->memory);
    c->keep = NULL;
}

verdict store_commit(struct connection *c, struct failure *why) {
    store_keep(c);
    connection_exec(c, "COMMIT", "commit");
    connection_abandon(c); /* it is over already if that went well */
    return writer_give(c, why);
}

void store_rollback(struct connection *c) {
    connection_abandon(c);
    pthread_mutex_unlock(&c->store->writing);
}

void store_savepoint(struct connection *c) {
    store_keep(c);
    (void)store_run(c, "SAVEPOINT one");
}

void store_release(struct connection *c) {
    (void)store_run(c, "RELEASE one");
}

void store_undo(struct connection *c) {
    if (c->state == REJECT) c->state = OK, c->error[0] = '\0';
    c->keep = NULL;
    (void)store_run(c, "ROLLBACK TO one");
    store_release(c);
}

verdict store_attach(struct store *s, const char *path, struct failure *why) {
    struct connection *c = writer_take(s);
    (void)store_run(c, "ATTACH DATABASE ? AS base", value_text(path));
    return writer_give(c, why);
}

verdict store_detach(struct store *s, struct failure *why) {
    struct connection *c = writer_take(s);
    connection_exec(c, "DETACH DATABASE base", "let go of the other database");
    return writer_give(c, why);
}

verdict store_hurry(struct store *s, struct failure *why) {
    struct connection *c = writer_take(s);
    connection_exec(
        c, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536", "set the journal");
    return writer_give(c, why);
}

/* --- Errors that stick */

verdict store_state(const struct connection *c) {
    return c->state;
}

const char *store_error(const struct connection *c) {
    return c->error;
}

verdict store_check(const struct connection *c, struct failure *why) {
    return c->state == OK ? OK : fail(why, c->state, "%s", c->error);
}

void store_spoil(struct connection *c, verdict kind, const char *text) {
    if (c->state != OK) return;
    c->state = kind;
    snprintf(c->error, sizeof c->error, "%s", text);
}

/* --- Values */

struct value value_int(int64_t n) {
    return (struct value){.kind = VALUE_INT, .number = n};
}

struct value value_text(const char *text) {
    return text ? (struct value){.kind = VALUE_TEXT, .bytes = text, .length = strlen(text)} : (struct value){0};
}

struct value value_blob(const void *bytes, size_t n) {
    return bytes ? (struct value){.kind = VALUE_BLOB, .bytes = bytes, .length = n} : (struct value){0};
}

bool rows_uuid(const struct rows *r, int column, struct uuid *out) {
    size_t n;
    const void *bytes = rows_blob(r, column, &n);
    *out = (struct uuid){{0}};
    if (n == sizeof *out) memcpy(out, bytes, n);
    return n == sizeof *out;
}

bool rows_null(const struct rows *r, int column) {
    return rows_kind(r, column) == VALUE_NULL;
}

json_t *rows_text_json(const struct rows *r, int column) {
    return rows_null(r, column) ? json_null() : json_string(rows_text(r, column));
}

json_t *rows_time_json(const struct rows *r, int column) {
    return rows_null(r, column) ? json_null() : time_json(rows_int(r, column));
}

int64_t
store_int_values(struct connection *c, int64_t otherwise, const char *sql, const struct value *values, size_t n) {
    struct rows r = store_rows_values(c, sql, values, n);
    int64_t number = rows_next(&r) ? rows_int(&r, 0) : otherwise;
    rows_close(&r);
    return number;
}

json_t *store_json_values(struct connection *c, const char *sql, const struct value *values, size_t n) {
    json_t *all = json_array();
    for (struct rows r = store_rows_values(c, sql, values, n); rows_next(&r);) {
        json_t *row = json_object();
        for (int i = 0; i < rows_columns(&r); i++) json_object_set_new(row, rows_name(&r, i), rows_json(&r, i));
        json_array_append_new(all, row);
    }
    return all;
}
