#include "chassis/audit.h"

#include "chassis/audit_line.h"
#include "chassis/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Appending */

/* Texts that quote foreign bytes may have been cut inside a character, and what is hashed must survive as JSON. */
struct cleaned {
    json_t *texts[CHAIN_FIELDS];
    int n;
};

static void set_text(struct chain_row *row, enum chain_field field, const char *text, struct cleaned *cleaned) {
    if (text && !utf8_valid(text, strlen(text))) {
        json_t *clean = cleaned->texts[cleaned->n++] = utf8_json(text);
        text = clean ? json_string_value(clean) : "(not UTF-8)";
    }
    row->field[field] = (struct chain_text){text, text ? strlen(text) : 0};
}

static void row_fill(struct chain_row *out, const struct audit_row *row, int64_t log, struct cleaned *cleaned) {
    const char *uuid = row->event_id ? uuid_text(*row->event_id, out->uuid) : NULL;
    set_text(out, CHAIN_ACTION, row->action, cleaned);
    set_text(out, CHAIN_OUTCOME, row->outcome, cleaned);
    set_text(out, CHAIN_ACTOR, row->actor, cleaned);
    set_text(out, CHAIN_RETURN_ID, row->return_id, cleaned);
    set_text(out, CHAIN_EVENT_ID, uuid, cleaned);
    set_text(out, CHAIN_EVENT_TYPE, row->event_type, cleaned);
    set_text(out, CHAIN_TOPIC, row->topic, cleaned);
    set_text(out, CHAIN_SUMMARY, row->summary, cleaned);
    set_text(out, CHAIN_TRACE_ID, row->trace_id, cleaned);
    out->field[CHAIN_ID] = chain_number(out->id, out->number[0]);
    out->field[CHAIN_AT] = chain_number(clock_ms(), out->number[1]);
    if (log) out->field[CHAIN_LOG] = chain_number(log, out->number[4]);
    if (!row->topic) return;
    out->field[CHAIN_PARTITION] = chain_number(row->partition, out->number[2]);
    out->field[CHAIN_OFFSET] = chain_number(row->offset, out->number[3]);
}

static void head_read(struct connection *c, const char *chain, unsigned char head[32]) {
    memset(head, 0, 32);
    for (struct rows r = store_rows(c, "SELECT head FROM audit_chain WHERE chain = ?", value_text(chain));
         rows_next(&r);) {
        size_t n;
        const void *bytes = rows_blob(&r, 0, &n);
        if (n == 32) memcpy(head, bytes, 32);
    }
}

static struct value text_value(const struct chain_row *row, enum chain_field field) {
    return value_text(row->field[field].text);
}

static struct value number_value(const struct chain_row *row, enum chain_field field) {
    const char *text = row->field[field].text;
    return text ? value_int(strtoll(text, NULL, 10)) : (struct value){.kind = VALUE_NULL};
}

static void row_store(struct connection *c, const struct chain_row *row, const struct uuid *event_id, int64_t log) {
    (void)store_run(
        c, "INSERT INTO audit (" AUDIT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        value_int(row->id), number_value(row, CHAIN_AT), text_value(row, CHAIN_ACTION), text_value(row, CHAIN_OUTCOME),
        text_value(row, CHAIN_ACTOR), text_value(row, CHAIN_RETURN_ID),
        event_id ? value_blob(event_id->bytes, 16) : (struct value){.kind = VALUE_NULL},
        text_value(row, CHAIN_EVENT_TYPE), text_value(row, CHAIN_TOPIC), number_value(row, CHAIN_PARTITION),
        number_value(row, CHAIN_OFFSET), text_value(row, CHAIN_SUMMARY), text_value(row, CHAIN_TRACE_ID),
        value_int(log), value_blob(row->hash, CHAIN_HASH));
}

void audit_append(struct connection *c, const struct audit_row *row) {
    char chain[CHAIN_NAME] = "";
    unsigned char head[CHAIN_HASH];
    struct cleaned cleaned = {.n = 0};
    struct chain_row r = {.id = store_int(c, 0, "SELECT COALESCE(MAX(id), 0) + 1 FROM audit")};
    int64_t log = store_int(
        c, 0, "SELECT log FROM consumer_offset WHERE topic = ? AND partition = ?", value_text(row->topic),
        value_int(row->partition));
    row_fill(&r, row, log, &cleaned);
    if (chain_name(&r, chain)) {
        head_read(c, chain, head);
        if (!chain_hash(head, &r, r.hash)) store_spoil(c, RETRY, "could not hash an audit row: out of memory");
    } else {
        store_spoil(c, REJECT, "could not audit a record: its topic's name is too long");
    }
    row_store(c, &r, row->event_id, log);
    (void)store_run(
        c,
        "INSERT INTO audit_chain (chain, rows, head) VALUES (?, 1, ?) ON CONFLICT (chain) DO UPDATE SET rows = audit_chain.rows + 1, head = excluded.head",
        value_text(chain), value_blob(r.hash, CHAIN_HASH));
    (void)store_run(
        c, "INSERT INTO tally (outcome, n) VALUES (?, 1) ON CONFLICT (outcome) DO UPDATE SET n = tally.n + 1",
        text_value(&r, CHAIN_OUTCOME));
    for (int i = 0; i < cleaned.n; i++) json_decref(cleaned.texts[i]);
}

/* --- Reading */

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
    const unsigned char *hash_bytes = rows_blob(r, CHAIN_FIELDS, &n);
    for (size_t i = 0; i < n && i < 32; i++) sprintf(hash + 2 * i, "%02x", hash_bytes[i]);
    return json_pack(
        "{s:I, s:s, s:o, s:o, s:o, s:o, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:o*, s:s}", "id",
        (json_int_t)rows_int(r, 0), "at", time_text(rows_int(r, 1), at), "action", text_json(r, 2), "outcome",
        text_json(r, 3), "actor", text_json(r, 4), "return_id", text_json(r, 5), "event_id",
        has_event ? uuid_text(event_id, uuid) : NULL, "event_type", text_json(r, 7), "topic", text_json(r, 8),
        "partition", rows_null(r, 9) ? json_null() : json_integer(rows_int(r, 9)), "offset",
        rows_null(r, 10) ? json_null() : json_integer(rows_int(r, 10)), "summary", text_json(r, 11), "trace_id",
        text_json(r, 12), "log", rows_int(r, CHAIN_LOG) ? json_integer(rows_int(r, CHAIN_LOG)) : NULL, "hash", hash);
}

/* Newest first, or, after a row that is given, oldest first. */
static struct rows
select_rows(struct connection *reader, const struct audit_filter *f, const int64_t *after, int limit) {
    struct buffer sql = BUFFER(2000);
    struct value values[9] = {{0}};
    size_t n = 0;
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
        {after, " AND id > ?", value_int(after ? *after : 0)},
    };
    buffer_text(&sql, "SELECT " AUDIT_COLUMNS " FROM audit WHERE 1 = 1");
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++)
        if (conditions[i].wanted) {
            buffer_text(&sql, conditions[i].condition);
            values[++n] = conditions[i].value;
        }
    buffer_text(&sql, after ? " ORDER BY id LIMIT ?" : " ORDER BY id DESC LIMIT ?");
    values[++n] = value_int(limit);
    struct rows rows = store_rows_values(reader, sql.data ? sql.data : "", values, n);
    buffer_free(&sql);
    return rows;
}

json_t *audit_page(struct connection *reader, const struct audit_filter *f) {
    json_t *rows = json_array();
    json_int_t last = 0;
    bool more = false;
    /* One more tells whether there is an older page. */
    for (struct rows r = select_rows(reader, f, NULL, f->limit + 1); rows_next(&r);) {
        more = json_array_size(rows) == (size_t)f->limit;
        if (more) continue;
        last = rows_int(&r, 0);
        json_array_append_new(rows, row_json(&r));
    }
    return json_pack("{s:o, s:o}", "rows", rows, "next", more ? json_integer(last) : json_null());
}

int audit_export(
    struct connection *reader, const struct audit_filter *f, int64_t *after, int limit, audit_line *line,
    struct buffer *out) {
    struct chain_row row;
    struct failure why;
    int64_t last = *after;
    int n = 0;
    for (struct rows r = select_rows(reader, f, after, limit); rows_next(&r); n++) {
        last = rows_int(&r, 0);
        if (audit_line_stored(&r, &row, &why) == OK)
            line(out, &row);
        else
            store_spoil(reader, FATAL, "a row of the audit log is damaged; /audit/verify says which");
    }
    *after = last;
    return n;
}
