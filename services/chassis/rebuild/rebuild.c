#include "chassis/rebuild/rebuild.h"

#include "chassis/audit/audit.h"
#include "chassis/base/crash.h"
#include "chassis/base/log.h"
#include "chassis/events/history.h"
#include "chassis/rebuild/rebuild_private.h"
#include "chassis/store/migrations.h"
#include "chassis/store/state_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STOP_MS = 180000, STOP_POLL_MS = 20, TOLD_MS = 200 };

/* --- Files */

static void file_remove(const char *path) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal", ".lock"};
    char name[DATABASE_PATH + 40];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static enum beginning beginning_of(const char *path) {
    struct store *s = NULL;
    struct failure why;
    bool open = !access(path, F_OK) && store_open_readonly(&s, path, &why) == OK;
    enum beginning b = open ? history_of(store_reader(s)) : BEGINNING_UNKNOWN;
    store_close(&s);
    return b;
}

static verdict service_await_stop(struct rebuild *b, struct failure *why) {
    int64_t until = steady_ms() + STOP_MS;
    if (b->options->caught_up) b->options->caught_up(b->options->context);
    while (store_lock(b->path, &b->lock, why) != OK) {
        if (steady_ms() > until)
            return fail(why, RETRY, "%s was not stopped within %d s", b->settings->service, STOP_MS / 1000);
        usleep(STOP_POLL_MS * 1000);
    }
    b->alone = true;
    return OK;
}

static verdict files_claim(struct rebuild *b, struct failure *why) {
    settings_database(b->settings, b->path);
    snprintf(b->base, sizeof b->base, "%s.rebuild-base", b->path);
    snprintf(b->new, sizeof b->new, "%s.rebuild-new", b->path);
    snprintf(b->before, sizeof b->before, "%s.before-rebuild", b->path);
    snprintf(b->own_name, sizeof b->own_name, "%s.rebuild", b->path);
    enum beginning beginning = beginning_of(b->path);
    b->older = beginning == BEHIND;
    b->held = b->older || beginning == NOT_BEGUN; /* history.h */
    b->lost = b->held || access(b->path, F_OK) != 0;
    verdict v = store_lock(b->own_name, &b->own_lock, why);
    if (v == RETRY) return fail(why, RETRY, "another rebuild of %s is under way", b->settings->service);
    if (v != OK) return v;
    file_remove(b->base); /* of one that was cut short */
    file_remove(b->new);
    if (b->lost && b->options->shadow) return fail(why, REJECT, "there is no database \"%s\" to compare with", b->path);
    b->alone = store_lock(b->path, &b->lock, why) == OK;
    if (b->held && !b->alone) return service_await_stop(b, why);
    if (b->lost && !b->alone)
        return fail(why, RETRY, "the database \"%s\" is gone, but its service still runs; stop it first", b->path);
    return OK;
}

static void files_release(struct rebuild *b) {
    if (b->own_lock >= 0) {
        file_remove(b->base);
        file_remove(b->new);
        file_remove(b->own_name);
    }
    store_unlock(&b->own_lock);
    store_unlock(&b->lock);
}

/* With the tables of this program's version. */
static verdict database_open(struct store **out, const char *path, struct failure *why) {
    struct migration migrations[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", migrations, 0);
    n = assets_migrations("team", "schema", migrations, n);
    return store_open(out, path, migrations, n, why);
}

/* The database as it is at one moment. */
static verdict base_take(struct rebuild *b, struct failure *why) {
    struct store *s = NULL;
    if (b->lost && !b->held) return OK;
    verdict v = OK;
    if (b->attached) v = store_detach(b->core.store, why);
    b->attached = false;
    file_remove(b->base);
    if (v == OK) v = store_snapshot(b->path, b->base, why);
    if (v == OK) v = database_open(&s, b->base, why);
    store_close(&s);
    if (v == OK) v = store_attach(b->core.store, b->base, why);
    b->attached = v == OK;
    return v;
}

/* --- Transactions of the new database: they are there to be cheap, since it counts only when it is whole. */

static void begin(struct rebuild *b) {
    b->c = b->replay.c = store_begin(b->core.store);
    b->pending = 0;
}

static verdict commit(struct rebuild *b, struct failure *why) {
    struct connection *c = b->c;
    b->c = NULL;
    return store_commit(c, why);
}

static void progress(struct rebuild *b, const char *doing, int64_t done, int64_t all, bool now) {
    if (!b->options->progress || (!now && steady_ms() < b->told_at)) return;
    b->told_at = steady_ms() + TOLD_MS;
    b->options->progress(b->options->context, doing, done, all);
}

static int64_t records_all(const struct rebuild *b) {
    int64_t all = 0;
    for (size_t i = 0; i < b->replay.places_n; i++) all += b->replay.places[i].end - b->replay.places[i].begin;
    return all;
}

verdict rebuild_step(struct rebuild *b, const char *doing, int64_t done, int64_t all, struct failure *why) {
    progress(b, doing, done, all, false);
    crash_point("during rebuild");
    if (++b->pending < REBUILD_BATCH) return OK;
    verdict v = commit(b, why);
    begin(b);
    return v;
}

static verdict replay_step(void *rebuild, struct failure *why) {
    struct rebuild *b = rebuild;
    return rebuild_step(b, "replayed", b->replay.records, records_all(b), why);
}

/* --- One round: from a copy of the database to the same moment in the new one */

/* Both were made by the same statements. */
static void table_copy(struct connection *c, const char *table) {
    char sql[400];
    snprintf(sql, sizeof sql, "DELETE FROM main.\"%.100s\"", table);
    (void)store_run(c, sql);
    snprintf(sql, sizeof sql, "INSERT INTO main.\"%.100s\" SELECT * FROM base.\"%.100s\"", table, table);
    (void)store_run(c, sql);
}

/* All that are named but those that a rebuild makes itself. */
static void tables_copy(struct connection *c, const char *names) {
    static const char *const made[] = {"consumer_offset", "event_seen", "schema_version"};
    char table[100];
    for (const char *p = names ? names : ""; *p; p += strspn(p, " ")) {
        snprintf(table, sizeof table, "%.*s", (int)strcspn(p, " "), p);
        bool anew = false;
        for (size_t k = 0; k < sizeof made / sizeof *made; k++) anew |= !strcmp(table, made[k]);
        if (!anew) table_copy(c, table);
        p += strcspn(p, " ");
    }
}

/* What no topic can give back. */
static void tables_keep(struct rebuild *b) {
    buffer_auto names = BUFFER(4000);
    if (b->lost) return;
    state_text_chassis_tables(&names);
    tables_copy(b->c, b->service->kept);
    tables_copy(b->c, names.data);
    if (names.failed) store_spoil(b->c, RETRY, "out of memory");
}

static void compare(struct rebuild *b) {
    json_decref(b->differences);
    b->differences = NULL;
    progress(b, "compares", 0, 0, true);
    b->rows = state_text_rows(b->c, "main", b->tables, NULL, b->hash);
    if (b->lost) return;
    (void)state_text_rows(b->c, "base", b->tables, NULL, b->hash_before);
    if (strcmp(b->hash, b->hash_before) != 0) b->differences = state_text_compare(b->c, b->tables, b->options->most);
}

static verdict round_first(struct rebuild *b, struct failure *why) {
    begin(b);
    rebuild_tables_make(b->c);
    if (b->attached) tables_copy(b->c, b->service->kept);
    if (b->held) {
        table_copy(b->c, "outbox_schema");
        table_copy(b->c, "idempotency");
    }
    b->tables = state_text_tables(b->c, b->service->kept);
    verdict v = rebuild_sources_open(b, why);
    if (v != OK) return v;
    b->replay = (struct replay){
        .core = &b->core,
        .c = b->c,
        .inputs = b->inputs,
        .patience = {.left_ms = b->settings->unknown_id_ms},
        .lost = b->lost,
        .most = b->options->most,
        .step = replay_step,
        .rejected = rebuild_rejected,
        .context = b};
    return replay_open(&b->replay, why);
}

static verdict round_run(struct rebuild *b, struct failure *why) {
    bool first = !b->tables;
    verdict v = base_take(b, why);
    if (v != OK) return v;
    if (first)
        v = round_first(b, why);
    else
        begin(b);
    if (!b->lost) {
        table_copy(b->c, "dead_letter");
        table_copy(b->c, "by_hand");
    }
    if (v == OK) v = rebuild_sources_read(b, why);
    if (v == OK) v = replay_run(&b->replay, why);
    if (v == OK) v = rebuild_offsets_store(b, why);
    if (v == OK) progress(b, "replayed", b->replay.records, records_all(b), true);
    if (v == OK) compare(b);
    b->not_met = published_not_met(b->c);
    if (v == OK) return commit(b, why);
    if (b->c) store_rollback(b->c);
    b->c = NULL;
    return v;
}

/* --- The switch */

static void audit_rebuild(struct rebuild *b) {
    char summary[400];
    snprintf(
        summary, sizeof summary, "%lld records replayed, %lld rejected, %lld rows; %s", (long long)b->replay.records,
        (long long)b->rejected_n, (long long)b->rows,
        b->older         ? "the database was older than its topics; the audit log before this is in that one alone"
        : b->lost        ? "there was no database before; the audit log before this is lost"
        : b->differences ? "it differs from what was before"
                         : "identical to what was before");
    audit_append(
        b->c, &(struct audit_row){
                  .action = "rebuild the state", .outcome = "accepted", .actor = "command", .summary = summary});
}

static verdict sync_path(const char *path, int flags, struct failure *why) {
    int fd = open(path, flags | O_CLOEXEC);
    bool synced = fd >= 0 && !fsync(fd);
    if (fd >= 0) close(fd);
    return synced ? OK : fail(why, RETRY, "could not write \"%s\" to the disk: %s", path, strerror(errno));
}

/* Its own write-ahead log would be taken for the new file's. That of a lost one is of no use to anybody. */
static verdict log_gone(const struct rebuild *b, struct failure *why) {
    char log[DATABASE_PATH + 8];
    struct stat found;
    snprintf(log, sizeof log, "%s-wal", b->path);
    if ((!b->lost || b->held) && !stat(log, &found) && found.st_size)
        return fail(why, RETRY, "another process reads \"%s\"; end it, and try again", b->path);
    unlink(log);
    snprintf(log, sizeof log, "%s-shm", b->path);
    unlink(log);
    return OK;
}

/* Of a new one that was held there is nothing to keep but what was decided with it. */
static bool keeps_old(const struct rebuild *b) {
    return !b->lost || b->older || b->left;
}

/* The old one gets a second name before the new one takes the first: at every moment there is a whole database. */
static verdict files_switch(struct rebuild *b, struct failure *why) {
    char folder[DATABASE_PATH];
    snprintf(folder, sizeof folder, "%s", b->path);
    *strrchr(folder, '/') = '\0';
    verdict v = sync_path(b->new, O_RDWR, why);
    if (v == OK) v = log_gone(b, why);
    if (v != OK) return v;
    if (keeps_old(b)) {
        unlink(b->before);
        if (link(b->path, b->before))
            return fail(why, RETRY, "could not keep the database as \"%s\": %s", b->before, strerror(errno));
    }
    crash_point("before the switch");
    if (rename(b->new, b->path)) return fail(why, RETRY, "could not rename \"%s\": %s", b->new, strerror(errno));
    b->switched = true;
    if (sync_path(*folder ? folder : "/", O_RDONLY | O_DIRECTORY, why) != OK)
        log_line(LOG_WARNING, "a power cut may undo the switch", "reason", why->text, NULL);
    return OK;
}

static verdict finish(struct rebuild *b, struct failure *why) {
    begin(b);
    tables_keep(b);
    if (b->lost) history_note(b->c);
    audit_rebuild(b);
    rebuild_letters_keep(b->c);
    rebuild_tables_drop(b->c);
    verdict v = commit(b, why);
    if (v == OK && b->attached) v = store_detach(b->core.store, why);
    b->attached = false;
    store_close(&b->core.store);
    return v == OK ? files_switch(b, why) : v;
}

/* --- All together */

/* Without a database there is nothing that it could differ from. */
static bool agrees(const struct rebuild *b) {
    return b->lost || (!b->differences && !b->rejected_n);
}

static json_t *report_json(const struct rebuild *b) {
    return json_pack(
        "{s:s, s:b, s:b, s:I, s:I, s:I, s:b, s:s, s:s?, s:O?, s:{s:I, s:O}, s:{s:I, s:O}, s:I, s:b, s:s?, s:b, s:I, s:f, s:I}",
        "service", b->settings->service, "shadow", b->options->shadow, "lost", b->lost, "records",
        (json_int_t)b->replay.records, "answered", (json_int_t)b->replay.reacted, "rows", (json_int_t)b->rows,
        "identical", !b->lost && agrees(b), "hash", b->hash, "hash_before", b->lost ? NULL : b->hash_before,
        "differences", b->differences, "events", "different", (json_int_t)b->replay.differences_n, "lines",
        b->replay.differences, "rejected", "n", (json_int_t)b->rejected_n, "lines", b->rejected, "unexplained",
        (json_int_t)b->not_met, "switched", b->switched, "before", b->switched && keeps_old(b) ? b->before : NULL,
        "older", b->older, "left", (json_int_t)b->left, "seconds", (double)(steady_ms() - b->began) / 1000,
        "stopped_ms", (json_int_t)(b->waited_at ? steady_ms() - b->waited_at : 0));
}

static verdict run(struct rebuild *b, struct failure *why) {
    const struct rebuild_options *o = b->options;
    verdict v = files_claim(b, why);
    if (v == OK) v = core_open(&b->core, b->service, b->settings, why);
    if (v == OK) v = core_start_codec(&b->core, core_news, &b->core, why);
    if (v == OK) v = database_open(&b->core.store, b->new, why);
    if (v == OK) v = store_hurry(b->core.store, why);
    if (v == OK) v = round_run(b, why);
    if (v != OK || o->shadow) return v;
    if (!b->alone && (agrees(b) || o->switch_anyway)) {
        v = service_await_stop(b, why);
        b->waited_at = steady_ms();
        if (v == OK) v = round_run(b, why);
    }
    if (v == OK && (agrees(b) || o->switch_anyway)) v = finish(b, why);
    return v;
}

verdict rebuild_run(
    const struct service *service, const struct settings *settings, const struct rebuild_options *options,
    json_t **report, struct failure *why) {
    struct rebuild b = {
        .service = service,
        .settings = settings,
        .options = options,
        .lock = -1,
        .own_lock = -1,
        .began = steady_ms(),
        .rejected = json_array()};
    verdict v = run(&b, why);
    *report = v == OK ? report_json(&b) : NULL;
    replay_close(&b.replay);
    reader_close(&b.own);
    reader_close(&b.inputs);
    if (b.core.service) core_close(&b.core);
    files_release(&b);
    json_decref(b.tables);
    json_decref(b.differences);
    json_decref(b.rejected);
    return v == OK && !*report ? fail(why, RETRY, "out of memory") : v;
}
