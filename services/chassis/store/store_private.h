/* store_private: what the files of this room share. A database is asked for by its path. sqlite.c alone knows SQLite:
 * the seven functions below, and the statements and rows of store.h. Another database is another such file. */
#pragma once

#include "chassis/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct connection {
    struct store *store;
    struct database *db;     /* sqlite.c: a handle with its prepared statements. NULL: it could not be opened */
    struct connection *next; /* the store's readers */
    verdict state;           /* OK, or the first error's kind, which sticks */
    char error[400];
    bool relaxed;                                     /* a commit does not wait for the disk */
    void *memory;                                     /* store_memory() */
    void (*keep)(struct connection *c, void *memory); /* NULL: nothing is in it */
};

struct store {
    char *path, *uri; /* uri: where it is opened in place of path, or NULL */
    int lock_file;
    pthread_mutex_t writing, listing; /* listing: guards readers */
    struct connection writer;
    struct connection *readers;
    struct connection no_reader; /* what a thread gets that has no memory for one of its own */
    pthread_key_t reader_key;
    bool reader_key_made;
    _Atomic int64_t failure_logged;
};

#define IN_MEMORY ":memory:" /* the path of a database that has no file, and so no journal */

/* --- sqlite.c: errors are sticky */

/* Of c, only store is looked at. */
void connection_open(struct connection *c, bool writes);
void connection_close(struct connection *c); /* accepts one that is not open */
/* Statements without values. doing: "begin a transaction", for the error's text. */
void connection_exec(struct connection *c, const char *sql, const char *doing);
/* After an error: an open transaction is rolled back, and c may be used again. */
void connection_clear(struct connection *c);
/* From its next transaction on. A failure sticks, and leaves it as it was. */
void connection_relax(struct connection *c, bool relaxed);
void connection_abandon(struct connection *c); /* rolls back, if a transaction is open */
json_t *rows_json(const struct rows *r, int column);

/* --- migrations.c */

/* Brings the writer's tables to the newest version, or refuses them. */
MUST_CHECK verdict migrate(struct store *s, const struct migration *migrations, size_t n, struct failure *why);
