#include "chassis/audit/audit.h"
#include "chassis/audit/audit_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What was read in place of the next row. False: the walk is over. */
static bool walk_next(struct walk *w, verdict read, const struct chain_row *row, const struct failure *why) {
    if (read != OK) walk_malformed(w, why->text);
    return read == OK && walk_row(w, row);
}

/* --- In a database */

/* Returns how many rows there were. */
static int64_t walk_stored(struct walk *w, struct connection *reader, int64_t *after, int64_t most) {
    struct chain_row row;
    struct failure why;
    int64_t n = 0;
    struct rows r = store_rows(
        reader, "SELECT " AUDIT_COLUMNS " FROM audit WHERE id > ? ORDER BY id LIMIT ?", value_int(*after),
        value_int(most));
    for (bool fits = true; fits && rows_next(&r); n++) {
        fits = walk_next(w, audit_line_stored(&r, &row, &why), &row, &why);
        if (fits) *after = row.id;
    }
    rows_close(&r);
    return n;
}

static void walk_kept_heads(struct walk *w, struct connection *reader) {
    size_t n;
    for (struct rows r = store_rows(reader, "SELECT chain, rows, head FROM audit_chain ORDER BY chain");
         rows_next(&r);) {
        const void *head = rows_kind(&r, 2) == VALUE_BLOB ? rows_blob(&r, 2, &n) : NULL;
        walk_head(w, rows_text(&r, 0), rows_int(&r, 1), head, head ? n : 0);
    }
    if (store_state(reader) == OK) walk_heads_end(w);
}

/* Published heads that cannot be read were changed. */
static void expect_published(struct walk *w, struct connection *reader) {
    struct failure why;
    char reason[700];
    for (struct rows r = store_rows(reader, "SELECT id, heads FROM audit_published ORDER BY id"); rows_next(&r);) {
        json_auto_t *heads = json_loads(rows_text(&r, 1), JSON_REJECT_DUPLICATES, NULL);
        if (walk_expect(w, heads, &why) == OK) continue;
        snprintf(
            reason, sizeof reason, "number %lld of the heads that were published was changed: %s",
            (long long)rows_int(&r, 0), why.text);
        walk_malformed(w, reason);
    }
}

bool audit_walk_on(struct connection *reader, struct walk *w, int64_t *after, int64_t most) {
    (void)store_run(reader, "BEGIN"); /* rows and heads from one moment */
    bool all = walk_stored(w, reader, after, most) < most && store_state(reader) == OK;
    if (all && !walk_broken(w)) walk_kept_heads(w, reader);
    (void)store_run(reader, "COMMIT");
    return all;
}

/* What is published until then is in the rows that are read afterwards. */
static void walk_database(struct walk *w, struct connection *reader) {
    int64_t after = INT64_MIN;
    expect_published(w, reader);
    (void)audit_walk_on(reader, w, &after, INT64_MAX);
}

json_t *audit_verify(struct connection *reader) {
    struct walk *w = walk_new();
    if (w) walk_database(w, reader);
    json_t *answer = w ? walk_end(w) : NULL;
    if (!answer) store_spoil(reader, RETRY, "out of memory");
    walk_free(&w);
    return answer;
}

/* --- In a file */

/* What SQLite itself cannot read is as good as changed. */
static verdict verify_database(struct walk *w, const char *path, struct failure *why) {
    struct store *store;
    verdict v = store_open_readonly(&store, path, why);
    if (v != OK) return v;
    struct connection *reader = store_reader(store);
    walk_database(w, reader);
    if (store_state(reader) == RETRY)
        v = fail(why, RETRY, "%s", store_error(reader));
    else if (store_state(reader) != OK)
        walk_malformed(w, store_error(reader));
    store_close(&store);
    return v;
}

static verdict verify_lines(struct walk *w, FILE *file, const char *path, struct failure *why) {
    struct chain_row row;
    struct failure reason;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    for (bool fits = true; fits && (n = getline(&line, &size, file)) > 0;) {
        bool whole = line[n - 1] == '\n';
        if (whole) line[--n] = '\0';
        verdict read = whole ? audit_line_read(line, (size_t)n, &row, &reason)
                             : fail(&reason, REJECT, "the file ends in the middle of a row");
        fits = walk_next(w, read, &row, &reason);
    }
    free(line);
    return ferror(file) ? fail(why, RETRY, "could not read \"%s\": %s", path, strerror(errno)) : OK;
}

static verdict expect_lines(struct walk *w, FILE *heads, struct failure *why) {
    struct failure reason;
    char *line = NULL;
    size_t size = 0;
    verdict v = OK;
    for (int number = 1; v == OK && getline(&line, &size, heads) > 0; number++) {
        json_auto_t *one = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        if (walk_expect(w, one, &reason) != OK)
            v = fail(why, RETRY, "line %d of the heads cannot be used: %s", number, reason.text);
    }
    free(line);
    return v;
}

static bool is_database(FILE *file) {
    char magic[16];
    bool is = fread(magic, 1, sizeof magic, file) == sizeof magic && !memcmp(magic, "SQLite format 3", sizeof magic);
    rewind(file);
    return is;
}

verdict audit_verify_file(const char *path, FILE *heads, json_t **out, struct failure *why) {
    struct walk *w = walk_new();
    FILE *file = fopen(path, "re");
    verdict v = file ? OK : fail(why, RETRY, "could not open \"%s\": %s", path, strerror(errno));
    if (v == OK && !w) v = fail(why, RETRY, "out of memory");
    if (v == OK && heads) v = expect_lines(w, heads, why);
    if (v == OK) v = is_database(file) ? verify_database(w, path, why) : verify_lines(w, file, path, why);
    if (v == OK && !(*out = walk_end(w))) v = fail(why, RETRY, "out of memory");
    if (file) fclose(file);
    walk_free(&w);
    return v;
}
