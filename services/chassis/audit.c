#include "chassis/audit.h"

#include "chassis/buffer.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

enum { CHAIN_TEXT = 300, CANONICAL_MAX = 1 << 22 };

static void chain_name(const char *topic, int64_t partition, char out[CHAIN_TEXT]) {
    if (topic)
        snprintf(out, CHAIN_TEXT, "%s/%lld", topic, (long long)partition);
    else
        snprintf(out, CHAIN_TEXT, "by-hand");
}

/* --- Canonical bytes (audit.h) */

static void canonical_text(struct buffer *b, const char *text) {
    if (text)
        buffer_format(b, "%zu:%s,", strlen(text), text);
    else
        buffer_text(b, "~,");
}

static void canonical_int(struct buffer *b, int64_t n) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)n);
    canonical_text(b, text);
}

static void canonical_row(struct buffer *b, int64_t id, int64_t at, const struct audit_row *row) {
    char event_id[UUID_TEXT];
    canonical_int(b, id);
    canonical_int(b, at);
    canonical_text(b, row->action);
    canonical_text(b, row->outcome);
    canonical_text(b, row->actor);
    canonical_text(b, row->return_id);
    canonical_text(b, row->event_id ? uuid_text(*row->event_id, event_id) : NULL);
    canonical_text(b, row->event_type);
    canonical_text(b, row->topic);
    if (row->topic) {
        canonical_int(b, row->partition);
        canonical_int(b, row->offset);
    } else {
        buffer_text(b, "~,~,");
    }
    canonical_text(b, row->summary);
    canonical_text(b, row->trace_id);
}

static bool
row_hash(const unsigned char before[32], int64_t id, int64_t at, const struct audit_row *row, unsigned char out[32]) {
    struct buffer b = BUFFER(CANONICAL_MAX);
    buffer_bytes(&b, before, 32);
    canonical_row(&b, id, at, row);
    bool whole = !b.failed;
    if (whole) SHA256((const unsigned char *)b.data, b.length, out);
    buffer_free(&b);
    return whole;
}

/* --- Appending */

static void head_read(struct connection *c, const char *chain, unsigned char head[32]) {
    memset(head, 0, 32);
    for (struct rows r = store_rows(c, "SELECT head FROM audit_chain WHERE chain = ?", value_text(chain));
         rows_next(&r);) {
        size_t n;
        const void *bytes = rows_blob(&r, 0, &n);
        if (n == 32) memcpy(head, bytes, 32);
    }
}

void audit_append(struct connection *c, const struct audit_row *row) {
    char chain[CHAIN_TEXT];
    unsigned char head[32], hash[32];
    chain_name(row->topic, row->partition, chain);
    head_read(c, chain, head);
    int64_t id = store_int(c, 0, "SELECT COALESCE(MAX(id), 0) + 1 FROM audit"), at = clock_ms();
    if (!row_hash(head, id, at, row, hash)) {
        store_spoil(c, RETRY, "could not hash an audit row: out of memory");
        return;
    }
    struct value nothing = {.kind = VALUE_NULL};
    (void)store_run(
        c,
        "INSERT INTO audit (id, at, action, outcome, actor, return_id, event_id, event_type, topic, partition, record_offset, summary, "
        "trace_id, hash, log) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "COALESCE((SELECT log FROM consumer_offset WHERE topic = ? AND partition = ?), 0))",
        value_int(id), value_int(at), value_text(row->action), value_text(row->outcome), value_text(row->actor),
        value_text(row->return_id), row->event_id ? value_blob(row->event_id->bytes, 16) : nothing,
        value_text(row->event_type), value_text(row->topic), row->topic ? value_int(row->partition) : nothing,
        row->topic ? value_int(row->offset) : nothing, value_text(row->summary), value_text(row->trace_id),
        value_blob(hash, 32), value_text(row->topic), value_int(row->partition));
    (void)store_run(
        c,
        "INSERT INTO audit_chain (chain, rows, head) VALUES (?, 1, ?) ON CONFLICT (chain) DO UPDATE SET rows = audit_chain.rows + 1, head = excluded.head",
        value_text(chain), value_blob(hash, 32));
    (void)store_run(
        c, "INSERT INTO tally (outcome, n) VALUES (?, 1) ON CONFLICT (outcome) DO UPDATE SET n = tally.n + 1",
        value_text(row->outcome));
}

/* --- Reading */

#define AUDIT_COLUMNS                                                                                                  \
    "id, at, action, outcome, actor, return_id, event_id, event_type, topic, partition, record_offset, summary, trace_id, hash"

static json_t *text_json(const struct rows *r, int column) {
    if (rows_null(r, column)) return json_null();
    const char *text = rows_text(r, column);
    size_t n = strlen(text);
    json_t *json = json_stringn(text, n);
    /* A message that quotes foreign bytes may have been cut inside a character. */
    for (int cut = 0; !json && n && cut < 3; cut++) json = json_stringn(text, --n);
    return json ? json : json_string("(not UTF-8)");
}

static json_t *row_json(const struct rows *r) {
    char at[TIME_TEXT], uuid[UUID_TEXT], hash[65] = "";
    struct uuid event_id;
    size_t n;
    const void *id_bytes = rows_blob(r, 6, &n);
    bool has_event = n == sizeof event_id.bytes;
    if (has_event) memcpy(event_id.bytes, id_bytes, n);
    const unsigned char *hash_bytes = rows_blob(r, 13, &n);
    for (size_t i = 0; i < n && i < 32; i++) sprintf(hash + 2 * i, "%02x", hash_bytes[i]);
    return json_pack(
        "{s:I, s:s, s:o, s:o, s:o, s:o, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "id", (json_int_t)rows_int(r, 0),
        "at", time_text(rows_int(r, 1), at), "action", text_json(r, 2), "outcome", text_json(r, 3), "actor",
        text_json(r, 4), "return_id", text_json(r, 5), "event_id", has_event ? uuid_text(event_id, uuid) : NULL,
        "event_type", text_json(r, 7), "topic", text_json(r, 8), "partition",
        rows_null(r, 9) ? json_null() : json_integer(rows_int(r, 9)), "offset",
        rows_null(r, 10) ? json_null() : json_integer(rows_int(r, 10)), "summary", text_json(r, 11), "trace_id",
        text_json(r, 12), "hash", hash);
}

json_t *audit_page(struct connection *reader, const struct audit_filter *f) {
    struct buffer sql = BUFFER(2000);
    struct value values[8] = {{0}};
    size_t n = 0;
    buffer_text(&sql, "SELECT " AUDIT_COLUMNS " FROM audit WHERE 1 = 1");
    const struct {
        bool wanted;
        const char *condition;
        struct value value;
    } conditions[] = {
        {f->return_id, " AND return_id = ?", value_text(f->return_id)},
        {f->action, " AND action = ?", value_text(f->action)},
        {f->outcome, " AND outcome = ?", value_text(f->outcome)},
        {f->since, " AND at >= ?", value_int(f->since)},
        {f->until, " AND at < ?", value_int(f->until)},
        {f->before, " AND id < ?", value_int(f->before)},
    };
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++)
        if (conditions[i].wanted) {
            buffer_text(&sql, conditions[i].condition);
            values[++n] = conditions[i].value;
        }
    buffer_text(&sql, " ORDER BY id DESC LIMIT ?");
    values[++n] = value_int(f->limit + 1); /* one more tells whether there is an older page */
    json_t *rows = json_array();
    json_int_t last = 0;
    bool more = false;
    for (struct rows r = store_rows_values(reader, sql.data, values, n); rows_next(&r);) {
        more = json_array_size(rows) == (size_t)f->limit;
        if (more) continue;
        last = rows_int(&r, 0);
        json_array_append_new(rows, row_json(&r));
    }
    buffer_free(&sql);
    return json_pack("{s:o, s:o}", "rows", rows, "next", more ? json_integer(last) : json_null());
}

/* --- Verifying */

/* The hash that the row should have, given its chain's state so far, which is kept in `heads` (chain → [rows, head]).
 */
static bool row_fits(const struct rows *r, json_t *heads, char chain[CHAIN_TEXT]) {
    size_t n;
    struct uuid event_id;
    const void *id_bytes = rows_blob(r, 6, &n);
    bool has_event = n == sizeof event_id.bytes;
    if (has_event) memcpy(event_id.bytes, id_bytes, n);
    struct audit_row row = {
        .action = rows_text(r, 2),
        .outcome = rows_text(r, 3),
        .actor = rows_text(r, 4),
        .return_id = rows_null(r, 5) ? NULL : rows_text(r, 5),
        .event_id = has_event ? &event_id : NULL,
        .event_type = rows_null(r, 7) ? NULL : rows_text(r, 7),
        .topic = rows_null(r, 8) ? NULL : rows_text(r, 8),
        .partition = (int32_t)rows_int(r, 9),
        .offset = rows_int(r, 10),
        .summary = rows_text(r, 11),
        .trace_id = rows_null(r, 12) ? NULL : rows_text(r, 12)};
    chain_name(row.topic, row.partition, chain);
    json_t *state = json_object_get(heads, chain);
    unsigned char before[32] = {0}, expected[32] = {0};
    char hex[65] = "";
    for (int i = 0; state && i < 32; i++)
        sscanf(json_string_value(json_array_get(state, 1)) + 2 * i, "%2hhx", &before[i]);
    row_hash(before, rows_int(r, 0), rows_int(r, 1), &row, expected);
    for (int i = 0; i < 32; i++) sprintf(hex + 2 * i, "%02x", expected[i]);
    json_int_t count = json_integer_value(json_array_get(state, 0));
    json_object_set_new(heads, chain, json_pack("[I, s]", count + 1, hex));
    const void *stored = rows_blob(r, 13, &n);
    return n == 32 && !memcmp(stored, expected, 32);
}

/* Whether every chain ends where its head says; names the first that does not in `chain`. */
static bool heads_fit(struct connection *reader, json_t *heads, char chain[CHAIN_TEXT]) {
    bool fits = true;
    size_t stored = 0;
    for (struct rows r = store_rows(reader, "SELECT chain, rows, lower(hex(head)) FROM audit_chain"); rows_next(&r);
         stored++) {
        json_t *state = json_object_get(heads, rows_text(&r, 0));
        if (!fits || (state && json_integer_value(json_array_get(state, 0)) == rows_int(&r, 1) &&
                      !strcmp(json_string_value(json_array_get(state, 1)), rows_text(&r, 2))))
            continue;
        fits = false;
        snprintf(chain, CHAIN_TEXT, "%s", rows_text(&r, 0));
    }
    return fits && stored == json_object_size(heads);
}

static json_t *broken(const char *chain, json_int_t id, const char *reason) {
    return json_pack(
        "{s:b, s:{s:s, s:o, s:s}}", "intact", 0, "broken", "chain", chain, "id", id ? json_integer(id) : json_null(),
        "reason", reason);
}

json_t *audit_verify(struct connection *reader) {
    json_t *heads = json_object(), *answer = NULL;
    char chain[CHAIN_TEXT] = "";
    json_int_t total = 0;
    (void)store_run(reader, "BEGIN"); /* rows and heads from one moment */
    for (struct rows r = store_rows(reader, "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY id"); rows_next(&r); total++)
        if (!answer && !row_fits(&r, heads, chain))
            answer = broken(chain, rows_int(&r, 0), "the row's hash does not fit its content and the row before it");
    if (!answer && !heads_fit(reader, heads, chain))
        answer = broken(chain, 0, "the chain does not end where its head says: rows are missing or were added");
    (void)store_run(reader, "COMMIT");
    if (!answer) {
        json_t *chains = json_array(), *state;
        const char *name;
        json_object_foreach(heads, name, state) json_array_append_new(
            chains,
            json_pack(
                "{s:s, s:O, s:O}", "chain", name, "rows", json_array_get(state, 0), "head", json_array_get(state, 1)));
        answer = json_pack("{s:b, s:I, s:o}", "intact", 1, "rows", total, "chains", chains);
    }
    json_decref(heads);
    return answer;
}
