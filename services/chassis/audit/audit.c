#include "chassis/audit/audit.h"

#include "chassis/audit/audit_line.h"
#include "chassis/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void number_set(struct chain_row *row, enum chain_field field, int64_t n) {
    row->field[field] = chain_number(n, row->number[field]);
}

/* Texts that quote foreign bytes may have been cut inside a character, and what is hashed must survive as JSON: such
 * ones are cleaned, and lie in `cleaned`. */
static void row_fill(struct chain_row *out, const struct audit_row *row, int64_t log, json_t *cleaned) {
    const char *const texts[CHAIN_FIELDS] = {
        [CHAIN_ACTION] = row->action,
        [CHAIN_OUTCOME] = row->outcome,
        [CHAIN_ACTOR] = row->actor,
        [CHAIN_RETURN_ID] = row->return_id,
        [CHAIN_EVENT_ID] = row->event_id ? uuid_text(*row->event_id, out->uuid) : NULL,
        [CHAIN_EVENT_TYPE] = row->event_type,
        [CHAIN_TOPIC] = row->topic,
        [CHAIN_SUMMARY] = row->summary,
        [CHAIN_TRACE_ID] = row->trace_id};
    for (int i = 0; i < CHAIN_FIELDS; i++) {
        const char *text = texts[i];
        if (text && !utf8_valid(text, strlen(text))) {
            json_t *clean = utf8_json(text);
            text = json_array_append_new(cleaned, clean) ? "(not UTF-8)" : json_string_value(clean);
        }
        out->field[i] = (struct chain_text){text, text ? strlen(text) : 0};
    }
    number_set(out, CHAIN_ID, out->id);
    number_set(out, CHAIN_AT, clock_ms());
    if (log) number_set(out, CHAIN_LOG, log);
    if (!row->topic) return;
    number_set(out, CHAIN_PARTITION, row->partition);
    number_set(out, CHAIN_OFFSET, row->offset);
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

/* Once for all rows of a block costs less than keeping an index of each row. Blocks that were left out before, since
 * rows came from elsewhere, are made up for. */
static void blocks_fill(struct connection *c, int64_t last) {
    int64_t block = store_int(c, 0, "SELECT COALESCE(MAX(block) + 1, 0) FROM audit_block");
    (void)store_run(
        c,
        "INSERT INTO audit_block (block, action, outcome, event_type, first_at, last_at) "
        "SELECT (id - 1) / " AUDIT_BLOCK_ROWS
        ", action, outcome, COALESCE(event_type, ''), MIN(at), MAX(at) FROM audit "
        "WHERE id > ? * " AUDIT_BLOCK_ROWS " AND id <= ? GROUP BY 1, 2, 3, 4",
        value_int(block), value_int(last));
}

void audit_append(struct connection *c, const struct audit_row *row) {
    char chain[CHAIN_NAME] = "";
    unsigned char head[CHAIN_HASH];
    json_auto_t *cleaned = json_array();
    struct chain_row r = {.id = store_int(c, 0, "SELECT COALESCE(MAX(id), 0) + 1 FROM audit")};
    int64_t log = store_int(
        c, 0, "SELECT log FROM consumer_offset WHERE topic = ? AND partition = ?", value_text(row->topic),
        value_int(row->partition));
    row_fill(&r, row, log, cleaned);
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
        c,
        "INSERT INTO chain_tally (chain, log, outcome, n) VALUES (?, ?, ?, 1) ON CONFLICT (chain, log, outcome) DO UPDATE SET n = chain_tally.n + 1",
        value_text(chain), value_int(log), text_value(&r, CHAIN_OUTCOME));
    if (r.id % AUDIT_BLOCK == 0) blocks_fill(c, r.id);
}

void audit_emitted(struct connection *c, const char *topic, int32_t partition, int64_t offset) {
    char chain[CHAIN_NAME];
    snprintf(chain, sizeof chain, "%s/%d", topic, partition);
    (void)store_run(
        c,
        "INSERT INTO chain_emitted (chain, first_offset, n) VALUES (?, 0, 1) ON CONFLICT (chain) DO UPDATE SET n "
        "= chain_emitted.n + 1 WHERE chain_emitted.first_offset <= ?",
        value_text(chain), value_int(offset));
}
