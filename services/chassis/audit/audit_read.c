#include "chassis/audit/audit.h"
#include "chassis/audit/audit_line.h"
#include "chassis/base/hash.h"

#include <stdlib.h>

/* --- Finding rows: span by span, where a span is a block that holds what the filter asks for, or the rows after the
 * last full block. Where blocks would not help there is a single span of all rows. */

struct finder {
    struct connection *reader;
    const struct audit_filter *filter;
    bool newest_first;
    int64_t left;      /* how many rows are still wanted */
    int64_t low, high; /* the ids that are still to be looked through */
    int64_t full;      /* the last id of the full blocks. 0: blocks are not looked at */
    struct rows rows;  /* of the span at hand */
};

#define ASKED "(?3 IS NULL OR action = ?3) AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR event_type = ?5)"
#define VALUES_ASKED(a)                                                                                                \
    value_text((a)->action), value_text((a)->outcome), value_text((a)->event_type),                                    \
        value_int((a)->since ? (a)->since : INT64_MIN), value_int((a)->until ? (a)->until : INT64_MAX)

/* The next block of those between that may hold a row. −1: none does. */
static int64_t block_next(const struct finder *f, int64_t low, int64_t high) {
#define BLOCK                                                                                                          \
    "SELECT block FROM audit_block WHERE block BETWEEN ?1 AND ?2 AND " ASKED " AND last_at >= ?6 AND first_at < ?7 "
    return store_int(
        f->reader, -1, f->newest_first ? BLOCK "ORDER BY block DESC LIMIT 1" : BLOCK "ORDER BY block LIMIT 1",
        value_int(low), value_int(high), VALUES_ASKED(f->filter));
#undef BLOCK
}

static struct rows rows_open(const struct finder *f, int64_t low, int64_t high) {
#define ROWS "SELECT " AUDIT_COLUMNS " FROM audit WHERE id BETWEEN ?1 AND ?2 AND " ASKED " AND at >= ?6 AND at < ?7 "
    static const char *const sql[2][2] = {
        {ROWS "ORDER BY id LIMIT ?8", ROWS "ORDER BY id DESC LIMIT ?8"},
        {ROWS "AND return_id = ?9 ORDER BY id LIMIT ?8", ROWS "AND return_id = ?9 ORDER BY id DESC LIMIT ?8"}};
    const struct audit_filter *a = f->filter;
    struct value values[] = {
        {0}, value_int(low), value_int(high), VALUES_ASKED(a), value_int(f->left), value_text(a->return_id)};
    return store_rows_values(f->reader, sql[a->return_id != NULL][f->newest_first], values, a->return_id ? 9 : 8);
#undef ROWS
}

static struct finder finder_open(
    struct connection *reader, const struct audit_filter *filter, bool newest_first, int64_t after, int64_t limit) {
    bool blocks_help = filter->action || filter->outcome || filter->event_type || filter->since || filter->until;
    return (struct finder){
        .reader = reader,
        .filter = filter,
        .newest_first = newest_first,
        .left = limit,
        .low = after + 1,
        .high = filter->before ? filter->before - 1 : INT64_MAX - 1,
        /* Rows are only ever added, so what comes after this moment is in the last span or not looked for. */
        .full = blocks_help && !filter->return_id
                    ? AUDIT_BLOCK * store_int(reader, 0, "SELECT COALESCE(MAX(block) + 1, 0) FROM audit_block")
                    : 0};
}

static bool span_open(struct finder *f) {
    int64_t low = f->low, high = f->high;
    bool in_blocks = f->newest_first ? high <= f->full : low <= f->full;
    if (low > high) return false;
    int64_t block =
        in_blocks ? block_next(f, (low - 1) / AUDIT_BLOCK, ((high < f->full ? high : f->full) - 1) / AUDIT_BLOCK) : -1;
    if (block >= 0) {
        low = block * AUDIT_BLOCK + 1;
        high = (block + 1) * AUDIT_BLOCK;
    } else if (in_blocks && f->newest_first) {
        return false;
    } else {
        low = f->full + 1;
    }
    if (low < f->low) low = f->low;
    if (high > f->high) high = f->high;
    f->rows = rows_open(f, low, high);
    if (f->newest_first)
        f->high = low - 1;
    else
        f->low = high + 1;
    return f->rows.statement;
}

static bool finder_next(struct finder *f) {
    while (f->left > 0) {
        if (rows_next(&f->rows)) {
            f->left--;
            return true;
        }
        if (!span_open(f)) break;
    }
    rows_close(&f->rows);
    return false;
}

/* --- What is asked for */

json_t *audit_page(struct connection *reader, const struct audit_filter *filter) {
    json_t *rows = json_array();
    struct chain_row row;
    json_int_t last = 0;
    bool more = false;
    /* One more tells whether there is an older page. */
    for (struct finder f = finder_open(reader, filter, true, 0, filter->limit + 1); finder_next(&f);) {
        more = json_array_size(rows) == (size_t)filter->limit;
        if (more) continue;
        (void)!audit_line_stored(&f.rows, &row, NULL); /* one that was changed is shown as far as it can be read */
        last = row.id;
        json_array_append_new(rows, audit_line_row(&row));
    }
    return json_pack("{s:o, s:o}", "rows", rows, "next", more ? json_integer(last) : json_null());
}

int audit_newer(struct connection *reader, const struct audit_filter *filter, int64_t id, int most) {
    struct audit_filter newer = *filter;
    int n = 0;
    newer.before = 0;
    for (struct finder f = finder_open(reader, &newer, false, id, most); finder_next(&f);) n++;
    return n;
}

/* --- Moments. Of a block that lies wholly on the side that is asked for, its first and last moment say enough. The
 * rows of others are read, and those behind the last full block. */

#define BLOCKS_ACROSS                                                                                                  \
    "(SELECT DISTINCT block FROM audit_block WHERE outcome = ? AND first_at <= ? AND last_at >= ?) b JOIN audit a ON " \
    "a.id > b.block * " AUDIT_BLOCK_ROWS " AND a.id <= (b.block + 1) * " AUDIT_BLOCK_ROWS
#define BLOCKS_END "(SELECT COALESCE(MAX(block) + 1, 0) * " AUDIT_BLOCK_ROWS " FROM audit_block)"

int64_t audit_moment_before(struct connection *reader, const char *outcome, int64_t moment) {
    struct value of = value_text(outcome), at = value_int(moment), last = value_int(moment - 1);
    return store_int(
        reader, 0,
        "SELECT COALESCE(MAX(at), 0) FROM (SELECT MAX(last_at) AS at FROM audit_block WHERE outcome = ? AND last_at < ? "
        "UNION ALL SELECT MAX(a.at) FROM " BLOCKS_ACROSS " WHERE a.outcome = ? AND a.at < ? "
        "UNION ALL SELECT MAX(at) FROM audit WHERE id > " BLOCKS_END " AND outcome = ? AND at < ?) m",
        of, at, of, last, at, of, at, of, at);
}

int64_t audit_moment_after(struct connection *reader, const char *outcome, int64_t moment) {
    struct value of = value_text(outcome), at = value_int(moment), first = value_int(moment + 1);
    return store_int(
        reader, 0,
        "SELECT COALESCE(MIN(at), 0) FROM (SELECT MIN(first_at) AS at FROM audit_block WHERE outcome = ? AND first_at > ? "
        "UNION ALL SELECT MIN(a.at) FROM " BLOCKS_ACROSS " WHERE a.outcome = ? AND a.at > ? "
        "UNION ALL SELECT MIN(at) FROM audit WHERE id > " BLOCKS_END " AND outcome = ? AND at > ?) m",
        of, at, of, at, first, of, at, of, at);
}

int audit_export(
    struct connection *reader, const struct audit_filter *filter, int64_t *after, int limit, audit_line *line,
    struct buffer *out) {
    struct chain_row row;
    int n = 0;
    for (struct finder f = finder_open(reader, filter, false, *after, limit); finder_next(&f); n++) {
        *after = rows_int(&f.rows, 0);
        if (audit_line_stored(&f.rows, &row, NULL) == OK)
            line(out, &row);
        else
            store_spoil(reader, FATAL, "a row of the audit log is damaged; /audit/verify says which");
    }
    return n;
}

/* --- One row, and those beside it in its chain */

static json_t *beside_json(struct rows r) {
    char hash[2 * CHAIN_HASH + 1] = "";
    json_t *beside = json_null();
    size_t n;
    if (!rows_next(&r)) return beside;
    const void *bytes = rows_blob(&r, 1, &n);
    hex_text(bytes, n < CHAIN_HASH ? n : CHAIN_HASH, hash);
    beside = json_pack("{s:I, s:s}", "id", (json_int_t)rows_int(&r, 0), "hash", hash);
    rows_close(&r);
    return beside;
}

/* Within one log, rows of a partition are in the order of their offsets. Only where a log begins or ends the others of
 * the partition are looked through, in the index alone. */
static json_t *beside(struct connection *reader, const struct rows *r, bool next) {
    static const char *const by_hand[] = {
        "SELECT id, hash FROM audit WHERE topic IS NULL AND partition IS NULL AND record_offset IS NULL AND log = 0 AND id < ? ORDER BY id DESC LIMIT 1",
        "SELECT id, hash FROM audit WHERE topic IS NULL AND partition IS NULL AND record_offset IS NULL AND log = 0 AND id > ? ORDER BY id LIMIT 1"};
    static const char *const within[] = {
        "SELECT id, hash FROM audit WHERE topic = ? AND partition = ? AND record_offset < ? AND log = ? ORDER BY record_offset DESC LIMIT 1",
        "SELECT id, hash FROM audit WHERE topic = ? AND partition = ? AND record_offset > ? AND log = ? ORDER BY record_offset LIMIT 1"};
    static const char *const across[] = {
        "SELECT id, hash FROM audit WHERE id = (SELECT MAX(id) FROM audit WHERE topic = ? AND partition = ? AND id < ? AND log < ?)",
        "SELECT id, hash FROM audit WHERE id = (SELECT MIN(id) FROM audit WHERE topic = ? AND partition = ? AND id > ? AND log > ?)"};
    struct value id = value_int(rows_int(r, CHAIN_ID)), topic = value_text(rows_text(r, CHAIN_TOPIC));
    struct value partition = value_int(rows_int(r, CHAIN_PARTITION)), log = value_int(rows_int(r, CHAIN_LOG));
    struct value offset = value_int(rows_int(r, CHAIN_OFFSET));
    if (rows_null(r, CHAIN_TOPIC)) return beside_json(store_rows(reader, by_hand[next], id));
    json_t *one = beside_json(store_rows(reader, within[next], topic, partition, offset, log));
    return !json_is_null(one) ? one : beside_json(store_rows(reader, across[next], topic, partition, id, log));
}

static json_t *canonical_json(const struct chain_row *row) {
    size_t n;
    char *bytes = chain_canonical(row, &n);
    json_t *text = bytes ? json_stringn(bytes, n) : NULL;
    free(bytes);
    return text ? text : json_null();
}

json_t *audit_one(struct connection *reader, int64_t id) {
    struct chain_row row;
    char chain[CHAIN_NAME] = "";
    json_t *one = NULL;
    struct rows r = store_rows(reader, "SELECT " AUDIT_COLUMNS " FROM audit WHERE id = ?", value_int(id));
    if (rows_next(&r)) {
        bool sound = audit_line_stored(&r, &row, NULL) == OK && chain_name(&row, chain);
        one = json_pack(
            "{s:o, s:s, s:o, s:o, s:o}", "row", audit_line_row(&row), "chain", chain, "previous",
            beside(reader, &r, false), "next", beside(reader, &r, true), "canonical",
            sound ? canonical_json(&row) : json_null());
    }
    rows_close(&r);
    return one;
}
