#include "chassis/store/migrations.h"

#include "chassis/base/assets.h"
#include "chassis/base/crash.h"
#include "chassis/base/hash.h"
#include "chassis/store/store_private.h"

#include <stdio.h>
#include <string.h>

size_t assets_migrations(const char *owner, const char *stem, struct migration all[MIGRATIONS_MAX], size_t n) {
    for (int version = 1; n < MIGRATIONS_MAX; version++) {
        char name[64];
        snprintf(name, sizeof name, version > 1 ? "%s.%d.sql" : "%s.sql", stem, version);
        const struct asset *file = asset_find(name);
        if (!file) break;
        all[n++] = (struct migration){owner, version, file->bytes};
    }
    return n;
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

/* A row of schema_version. Databases of programs before there were fingerprints have two columns, and were made by
 * other statements. */
static verdict
refuse_strange(const struct rows *r, const char *path, const struct migration *m, size_t n, struct failure *why) {
    const char *owner = rows_text(r, 0);
    int64_t version = rows_int(r, 1), made_by = rows_columns(r) > 2 ? rows_int(r, 2) : 0, known = 0;
    int64_t wanted = fingerprint(m, n, owner, version);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(m[i].owner, owner) && m[i].version > known) known = m[i].version;
    if (version > known)
        return fail(
            why, FATAL,
            "the database \"%s\" has version %lld of the %s's tables, this program knows %lld; run the newer program",
            path, (long long)version, owner, (long long)known);
    if (made_by == wanted) return OK;
    return fail(
        why, FATAL,
        "version %lld of the %s's tables in \"%s\" was made by other statements (%016llx) than this program has (%016llx). "
        "A file whose tables exist is not changed: put it back, and add what is new as the next version (schema.2.sql). "
        "Or begin anew: ./returns reset; or move the database away, and ./returns rebuild makes it from the topics",
        (long long)version, owner, path, (unsigned long long)made_by, (unsigned long long)wanted);
}

static verdict migrate_one(struct store *s, const struct migration *m, int64_t made_by, struct failure *why) {
    struct connection *c = store_begin(s);
    if (store_int(c, 0, "SELECT version FROM schema_version WHERE owner = ?", value_text(m->owner)) < m->version) {
        connection_exec(c, m->sql, "migrate the schema");
        crash_point("during migration");
        (void)store_run(
            c,
            "INSERT INTO schema_version (owner, version, made_by) VALUES (?, ?, ?) "
            "ON CONFLICT (owner) DO UPDATE SET version = excluded.version, made_by = excluded.made_by",
            value_text(m->owner), value_int(m->version), value_int(made_by));
    }
    verdict v = store_commit(c, why);
    return v == OK ? OK : fail(why, v, "version %d of the %s's tables: %s", m->version, m->owner, why->text);
}

verdict migrate(struct store *s, const struct migration *migrations, size_t n, struct failure *why) {
    struct connection *c = &s->writer;
    verdict v = OK;
    connection_exec(
        c,
        "CREATE TABLE IF NOT EXISTS schema_version (owner TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL, "
        "made_by BIGINT NOT NULL)",
        "write");
    for (struct rows r = store_rows(c, "SELECT * FROM schema_version"); rows_next(&r);)
        if (v == OK) v = refuse_strange(&r, s->path, migrations, n, why);
    if (c->state != OK) return fail(why, c->state, "\"%s\": %s", s->path, c->error);
    for (const struct migration *m = migrations; v == OK && m < migrations + n; m++)
        v = migrate_one(s, m, fingerprint(migrations, n, m->owner, m->version), why);
    return v;
}
