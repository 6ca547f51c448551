#include "chassis/audit/audit.h"
#include "chassis/audit/audit_line.h"

#include <stdlib.h>
#include <string.h>

/* --- Rows as JSON */

static json_t *text_json(const struct rows *r, int column) {
    if (rows_null(r, column)) return json_null();
    const char *text = rows_text(r, column);
    size_t n = strlen(text);
    json_t *json = json_stringn(text, n);
    /* A message that quotes foreign bytes may have been cut inside a character. */
    for (int cut = 0; !json && n && cut < 3; cut++) json = json_stringn(text, --n);
    return json ? json : json_string("(not UTF-8)");
}

static json_t *hash_json(const struct rows *r, int column) {
    size_t n;
    const void *bytes = rows_blob(r, column, &n);
    struct buffer hex = BUFFER(2 * CHAIN_HASH + 1);
    buffer_hex(&hex, bytes, n < CHAIN_HASH ? n : CHAIN_HASH);
    json_t *text = json_string(hex.data ? hex.data : "");
    buffer_free(&hex);
    return text;
}

static json_t *number_json(const struct rows *r, int column) {
    return rows_null(r, column) ? json_null() : json_integer(rows_int(r, column));
}

static json_t *row_json(const struct rows *r) {
    char at[TIME_TEXT], uuid[UUID_TEXT];
    struct uuid event_id;
    size_t n;
    const void *id_bytes = rows_blob(r, 6, &n);
    bool has_event = n == sizeof event_id.bytes;
    if (has_event) memcpy(event_id.bytes, id_bytes, n);
    return json_pack(
        "{s:I, s:s, s:o, s:o, s:o, s:o, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:o*, s:o}", "id",
        (json_int_t)rows_int(r, 0), "at", time_text(rows_int(r, 1), at), "action", text_json(r, 2), "outcome",
        text_json(r, 3), "actor", text_json(r, 4), "return_id", text_json(r, 5), "event_id",
        has_event ? uuid_text(event_id, uuid) : NULL, "event_type", text_json(r, 7), "topic", text_json(r, 8),
        "partition", number_json(r, 9), "offset", number_json(r, 10), "summary", text_json(r, 11), "trace_id",
        text_json(r, 12), "log", rows_int(r, CHAIN_LOG) ? json_integer(rows_int(r, CHAIN_LOG)) : NULL, "hash",
        hash_json(r, CHAIN_FIELDS));
}

/* --- Finding rows: span by span, where a span is a block that holds what the filter asks for, or the rows after the
 * last full block; a single one of all rows, where blocks would not help. */

struct finder {
    struct connection *reader;
    const struct audit_filter *filter;
    bool newest_first;
    int64_t left;      /* how many rows are still wanted */
    int64_t low, high; /* ids */
    int64_t full;      /* the last id of the full blocks; 0: blocks are not looked at */
    int64_t block;     /* where the last span was; −1: none yet */
    int stage;         /* 0, 1: blocks and what comes after them, newest first the other way round; 2: the end */
    bool tail_opened;
    struct rows blocks, rows; /* what is open */
};

enum { CONDITIONS_MAX = 8, SQL_MAX = 2000 };

struct query {
    struct buffer sql;
    struct value values[CONDITIONS_MAX + 4]; /* from 1, as store_rows_values() wants them */
    size_t n;
};

static void query_add(struct query *q, bool wanted, const char *condition, struct value value) {
    if (!wanted) return;
    buffer_text(&q->sql, condition);
    q->values[++q->n] = value;
}

static struct rows query_rows(struct query *q, struct connection *reader) {
    struct rows rows = store_rows_values(reader, q->sql.data ? q->sql.data : "", q->values, q->n);
    buffer_free(&q->sql);
    return rows;
}

static struct rows blocks_open(const struct finder *f) {
    const struct audit_filter *a = f->filter;
    struct query q = {.sql = BUFFER(SQL_MAX)};
    buffer_text(&q.sql, "SELECT block FROM audit_block WHERE block >= ?");
    q.values[++q.n] = value_int((f->low - 1) / AUDIT_BLOCK);
    query_add(&q, true, " AND block <= ?", value_int((f->high < f->full ? f->high - 1 : f->full - 1) / AUDIT_BLOCK));
    query_add(&q, a->action, " AND action = ?", value_text(a->action));
    query_add(&q, a->outcome, " AND outcome = ?", value_text(a->outcome));
    query_add(&q, a->event_type, " AND event_type = ?", value_text(a->event_type));
    query_add(&q, a->since, " AND last_at >= ?", value_int(a->since));
    query_add(&q, a->until, " AND first_at < ?", value_int(a->until));
    buffer_text(&q.sql, f->newest_first ? " ORDER BY block DESC" : " ORDER BY block");
    return query_rows(&q, f->reader);
}

static struct rows rows_open(const struct finder *f, int64_t low, int64_t high) {
    const struct audit_filter *a = f->filter;
    struct query q = {.sql = BUFFER(SQL_MAX)};
    buffer_text(&q.sql, "SELECT " AUDIT_COLUMNS " FROM audit WHERE id >= ?");
    q.values[++q.n] = value_int(low > f->low ? low : f->low);
    query_add(&q, true, " AND id <= ?", value_int(high < f->high ? high : f->high));
    query_add(&q, a->return_id, " AND return_id = ?", value_text(a->return_id));
    query_add(&q, a->action, " AND action = ?", value_text(a->action));
    query_add(&q, a->outcome, " AND outcome = ?", value_text(a->outcome));
    query_add(&q, a->event_type, " AND event_type = ?", value_text(a->event_type));
    query_add(&q, a->since, " AND at >= ?", value_int(a->since));
    query_add(&q, a->until, " AND at < ?", value_int(a->until));
    query_add(&q, true, f->newest_first ? " ORDER BY id DESC LIMIT ?" : " ORDER BY id LIMIT ?", value_int(f->left));
    return query_rows(&q, f->reader);
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
        .high = filter->before ? filter->before - 1 : INT64_MAX,
        .block = -1,
        /* Rows are only ever added, so what comes after this moment is in the last span or not looked for. */
        .full = blocks_help && !filter->return_id
                    ? AUDIT_BLOCK * store_int(reader, 0, "SELECT COALESCE(MAX(block) + 1, 0) FROM audit_block")
                    : 0};
}

static bool tail_open(struct finder *f) {
    if (f->tail_opened) return false;
    f->tail_opened = true;
    f->rows = rows_open(f, f->full + 1, INT64_MAX);
    return f->rows.statement;
}

static bool block_open(struct finder *f) {
    if (!f->full) return false;
    if (f->block < 0) f->blocks = blocks_open(f);
    int64_t last = f->block;
    while (f->block == last) { /* a line for each action, outcome and type in it */
        if (!rows_next(&f->blocks)) return false;
        f->block = rows_int(&f->blocks, 0);
    }
    f->rows = rows_open(f, f->block * AUDIT_BLOCK + 1, (f->block + 1) * AUDIT_BLOCK);
    return f->rows.statement;
}

static bool span_open(struct finder *f) {
    for (; f->stage < 2; f->stage++) {
        bool tail = f->newest_first == (f->stage == 0);
        if (tail ? tail_open(f) : block_open(f)) return true;
    }
    return false;
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
    rows_close(&f->blocks);
    return false;
}

/* --- What is asked for */

json_t *audit_page(struct connection *reader, const struct audit_filter *filter) {
    json_t *rows = json_array();
    json_int_t last = 0;
    bool more = false;
    /* One more tells whether there is an older page. */
    for (struct finder f = finder_open(reader, filter, true, 0, filter->limit + 1); finder_next(&f);) {
        more = json_array_size(rows) == (size_t)filter->limit;
        if (more) continue;
        last = rows_int(&f.rows, 0);
        json_array_append_new(rows, row_json(&f.rows));
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

/* --- Moments. Of a block that lies wholly on the side that is asked for, its first and last moment say enough; the
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
    struct failure why;
    int64_t last = *after;
    int n = 0;
    for (struct finder f = finder_open(reader, filter, false, *after, limit); finder_next(&f); n++) {
        last = rows_int(&f.rows, 0);
        if (audit_line_stored(&f.rows, &row, &why) == OK)
            line(out, &row);
        else
            store_spoil(reader, FATAL, "a row of the audit log is damaged; /audit/verify says which");
    }
    *after = last;
    return n;
}

/* --- One row, and those beside it in its chain */

static json_t *beside_json(struct rows r) {
    json_t *beside = json_null();
    if (rows_next(&r)) beside = json_pack("{s:I, s:o}", "id", (json_int_t)rows_int(&r, 0), "hash", hash_json(&r, 1));
    rows_close(&r);
    return beside;
}

static json_t *beside_by_hand(struct connection *reader, int64_t id, bool next) {
    static const char *const sql[] = {
        "SELECT id, hash FROM audit WHERE topic IS NULL AND partition IS NULL AND record_offset IS NULL AND log = 0 AND id < ? ORDER BY id DESC LIMIT 1",
        "SELECT id, hash FROM audit WHERE topic IS NULL AND partition IS NULL AND record_offset IS NULL AND log = 0 AND id > ? ORDER BY id LIMIT 1"};
    return beside_json(store_rows(reader, sql[next], value_int(id)));
}

/* Within one log, rows of a partition are in the order of their offsets; only where a log begins or ends the others of
 * the partition are looked through, in the index alone. */
static json_t *beside_in_topic(struct connection *reader, const struct rows *r, bool next) {
    static const char *const within[] = {
        "SELECT id, hash FROM audit WHERE topic = ? AND partition = ? AND record_offset < ? AND log = ? ORDER BY record_offset DESC LIMIT 1",
        "SELECT id, hash FROM audit WHERE topic = ? AND partition = ? AND record_offset > ? AND log = ? ORDER BY record_offset LIMIT 1"};
    static const char *const across[] = {
        "SELECT id, hash FROM audit WHERE id = (SELECT MAX(id) FROM audit WHERE topic = ? AND partition = ? AND id < ? AND log < ?)",
        "SELECT id, hash FROM audit WHERE id = (SELECT MIN(id) FROM audit WHERE topic = ? AND partition = ? AND id > ? AND log > ?)"};
    struct value topic = value_text(rows_text(r, 8)), partition = value_int(rows_int(r, 9));
    struct value log = value_int(rows_int(r, CHAIN_LOG));
    json_t *beside = beside_json(store_rows(reader, within[next], topic, partition, value_int(rows_int(r, 10)), log));
    if (!json_is_null(beside)) return beside;
    return beside_json(store_rows(reader, across[next], topic, partition, value_int(rows_int(r, 0)), log));
}

static json_t *beside(struct connection *reader, const struct rows *r, bool next) {
    return rows_null(r, 8) ? beside_by_hand(reader, rows_int(r, 0), next) : beside_in_topic(reader, r, next);
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
    struct failure why;
    char chain[CHAIN_NAME] = "";
    json_t *one = NULL;
    struct rows r = store_rows(reader, "SELECT " AUDIT_COLUMNS " FROM audit WHERE id = ?", value_int(id));
    if (rows_next(&r)) {
        bool sound = audit_line_stored(&r, &row, &why) == OK && chain_name(&row, chain);
        one = json_pack(
            "{s:o, s:s, s:o, s:o, s:o}", "row", row_json(&r), "chain", chain, "previous", beside(reader, &r, false),
            "next", beside(reader, &r, true), "canonical", sound ? canonical_json(&row) : json_null());
    }
    rows_close(&r);
    return one;
}
