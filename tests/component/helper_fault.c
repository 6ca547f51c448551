#include "helper_fault.h"

#include "chassis/base/crash.h"

#include <jansson.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

_Thread_local bool fault_exempt;
const char *_Atomic fault_thread;
static atomic_int armed, left, code_given, calls, failures;
static atomic_bool stays;

void fault_arm(enum fault kind, int nth, int code, bool lasting) {
    armed = FAULT_NONE;
    left = nth;
    code_given = code;
    stays = lasting;
    calls = failures = 0;
    armed = kind;
}

void fault_mend(void) {
    armed = FAULT_NONE;
}

int fault_count(void) {
    return failures;
}

int fault_calls(void) {
    return calls;
}

static bool is_of(const char *name) {
    char own[16] = "";
    return !name || (!pthread_getname_np(pthread_self(), own, sizeof own) && !strcmp(own, name));
}

static bool fails(enum fault kind) {
    if (fault_exempt || (armed != (int)kind && (armed != FAULT_MEMORY || (kind != FAULT_OWN && kind != FAULT_JSON))))
        return false;
    if (!is_of(fault_thread)) return false;
    calls++;
    int nth = left--;
    if (nth > 1 || (nth < 1 && !stays)) return false;
    failures++;
    return true;
}

/* --- Memory and SQLite's API: the linker sends the calls of our own objects here (--wrap) */

#define WRAP(result, name, kind, failed, parameters, arguments)                                                        \
    result __real_##name parameters;                                                                                   \
    result __wrap_##name parameters;                                                                                   \
    result __wrap_##name parameters {                                                                                  \
        return fails(kind) ? (failed) : __real_##name arguments;                                                       \
    }
#define WRAP_MEMORY(result, name, parameters, arguments) WRAP(result, name, FAULT_OWN, NULL, parameters, arguments)
#define WRAP_DATABASE(name, parameters, arguments) WRAP(int, name, FAULT_DATABASE, code_given, parameters, arguments)

WRAP_MEMORY(void *, malloc, (size_t n), (n))
WRAP_MEMORY(void *, calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(void *, realloc, (void *p, size_t n), (p, n))
WRAP_MEMORY(char *, strdup, (const char *text), (text))
WRAP_MEMORY(char *, strndup, (const char *text, size_t n), (text, n))

WRAP_DATABASE(
    sqlite3_prepare_v3, (sqlite3 * db, const char *sql, int n, unsigned flags, sqlite3_stmt **out, const char **rest),
    (db, sql, n, flags, out, rest))
WRAP_DATABASE(sqlite3_step, (sqlite3_stmt * s), (s))
WRAP_DATABASE(
    sqlite3_bind_text64,
    (sqlite3_stmt * s, int at, const char *text, sqlite3_uint64 n, void (*end)(void *), unsigned char encoding),
    (s, at, text, n, end, encoding))
WRAP_DATABASE(
    sqlite3_bind_blob64, (sqlite3_stmt * s, int at, const void *bytes, sqlite3_uint64 n, void (*end)(void *)),
    (s, at, bytes, n, end))
WRAP_DATABASE(sqlite3_open_v2, (const char *path, sqlite3 **out, int flags, const char *vfs), (path, out, flags, vfs))
WRAP_DATABASE(
    sqlite3_exec,
    (sqlite3 * db, const char *sql, int (*each)(void *, int, char **, char **), void *context, char **error),
    (db, sql, each, context, error))

static void *json_take(size_t n) {
    return fails(FAULT_JSON) ? NULL : __real_malloc(n);
}

void fault_json(void) {
    json_set_alloc_funcs(json_take, free);
}

/* --- SQLite's files */

struct file {
    sqlite3_file base;
    bool is_database; /* the main file, which in WAL mode only a checkpoint writes */
    sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;

static sqlite3_file *real_of(sqlite3_file *f) {
    return ((struct file *)f)->real;
}

#define PASS(name, parameters, arguments)                                                                              \
    static int name parameters {                                                                                       \
        return real_of(f)->pMethods->name arguments;                                                                   \
    }
#define PASS_OR_FAIL(name, code, parameters, arguments)                                                                \
    static int name parameters {                                                                                       \
        return fails(FAULT_FILE) ? (code) : real_of(f)->pMethods->name arguments;                                      \
    }

/* The code that was asked for is one of writing; the other operations can only fail as I/O does. */
PASS_OR_FAIL(xRead, SQLITE_IOERR_READ, (sqlite3_file * f, void *to, int n, sqlite3_int64 at), (real_of(f), to, n, at))
PASS_OR_FAIL(xTruncate, SQLITE_IOERR_TRUNCATE, (sqlite3_file * f, sqlite3_int64 n), (real_of(f), n))
PASS_OR_FAIL(xSync, SQLITE_IOERR_FSYNC, (sqlite3_file * f, int flags), (real_of(f), flags))
PASS_OR_FAIL(xFileSize, SQLITE_IOERR_FSTAT, (sqlite3_file * f, sqlite3_int64 *n), (real_of(f), n))
PASS_OR_FAIL(
    xShmMap, SQLITE_IOERR_SHMMAP, (sqlite3_file * f, int page, int size, int extend, void volatile **out),
    (real_of(f), page, size, extend, out))
PASS(xLock, (sqlite3_file * f, int level), (real_of(f), level))
PASS(xUnlock, (sqlite3_file * f, int level), (real_of(f), level))
PASS(xCheckReservedLock, (sqlite3_file * f, int *out), (real_of(f), out))
PASS(xFileControl, (sqlite3_file * f, int op, void *argument), (real_of(f), op, argument))
PASS(xSectorSize, (sqlite3_file * f), (real_of(f)))
PASS(xDeviceCharacteristics, (sqlite3_file * f), (real_of(f)))
PASS(xShmLock, (sqlite3_file * f, int at, int n, int flags), (real_of(f), at, n, flags))
PASS(xShmUnmap, (sqlite3_file * f, int and_delete), (real_of(f), and_delete))

static int xWrite(sqlite3_file *f, const void *from, int n, sqlite3_int64 at) {
    if (((struct file *)f)->is_database) crash_point("mid-checkpoint");
    if (fails(FAULT_FILE)) return code_given;
    return real_of(f)->pMethods->xWrite(real_of(f), from, n, at);
}

static void xShmBarrier(sqlite3_file *f) {
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int xClose(sqlite3_file *f) {
    return real_of(f)->pMethods->xClose(real_of(f));
}

static const sqlite3_io_methods methods = {
    2,
    xClose,
    xRead,
    xWrite,
    xTruncate,
    xSync,
    xFileSize,
    xLock,
    xUnlock,
    xCheckReservedLock,
    xFileControl,
    xSectorSize,
    xDeviceCharacteristics,
    xShmMap,
    xShmLock,
    xShmBarrier,
    xShmUnmap,
    NULL,
    NULL};

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *out, int flags, int *got) {
    (void)vfs;
    struct file *f = (struct file *)out;
    *f = (struct file){.is_database = flags & SQLITE_OPEN_MAIN_DB, .real = (sqlite3_file *)(f + 1)};
    if (fails(FAULT_FILE)) return SQLITE_CANTOPEN;
    int code = real_vfs->xOpen(real_vfs, name, f->real, flags, got);
    if (f->real->pMethods) f->base.pMethods = &methods;
    return code;
}

void fault_vfs(void) {
    static sqlite3_vfs vfs;
    real_vfs = sqlite3_vfs_find("unix");
    vfs = *real_vfs;
    vfs.zName = "faulty";
    vfs.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
    vfs.xOpen = open_file;
    sqlite3_vfs_register(&vfs, 1);
}
