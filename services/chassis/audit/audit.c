#include "chassis/audit/audit.h"

#include "chassis/audit/audit_line.h"
#include "chassis/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- What a transaction has appended to a chain, stored once at its end */

enum { CHAINS_KEPT = 64, OUTCOMES_KEPT = 8, OUTCOME_SIZE = 16, UNKNOWN = -1 };

struct kept {
    char name[CHAIN_NAME];
    int64_t log, rows;
    unsigned char head[CHAIN_HASH];
    int64_t emitted, emitted_from; /* UNKNOWN: not read yet */
    struct tally {
        char outcome[OUTCOME_SIZE];
        int64_t n;
    } tallies[OUTCOMES_KEPT];
};

struct batch {
    int64_t next; /* the next row's id. 0: not read yet */
    int n;
    struct kept chains[CHAINS_KEPT];
};

static void kept_store(struct connection *c, const struct kept *k) {
    struct value chain = value_text(k->name);
    if (k->rows)
        (void)store_run(
            c,
            "INSERT INTO audit_chain (chain, rows, head) VALUES (?, ?, ?) "
            "ON CONFLICT (chain) DO UPDATE SET rows = audit_chain.rows + excluded.rows, head = excluded.head",
            chain, value_int(k->rows), value_blob(k->head, CHAIN_HASH));
    for (const struct tally *t = k->tallies; t < k->tallies + OUTCOMES_KEPT && t->n; t++)
        (void)store_run(
            c,
            "INSERT INTO chain_tally (chain, log, outcome, n) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (chain, log, outcome) DO UPDATE SET n = chain_tally.n + excluded.n",
            chain, value_int(k->log), value_text(t->outcome), value_int(t->n));
    if (k->emitted)
        (void)store_run(
            c,
            "INSERT INTO chain_emitted (chain, first_offset, n) VALUES (?, 0, ?) "
            "ON CONFLICT (chain) DO UPDATE SET n = chain_emitted.n + excluded.n",
            chain, value_int(k->emitted));
}

static void batch_store(struct connection *c, void *memory) {
    struct batch *b = memory;
    for (int i = 0; i < b->n; i++) kept_store(c, &b->chains[i]);
}

static struct batch *batch_of(struct connection *c) {
    struct batch *b = store_memory(c, sizeof *b, batch_store);
    if (!b) store_spoil(c, RETRY, "could not audit a record: out of memory");
    return b;
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

/* topic: NULL: by hand. NULL: there is no memory. */
static struct kept *kept_find(struct connection *c, const char *name, const char *topic, int32_t partition) {
    struct batch *b = batch_of(c);
    for (int i = b ? b->n : 0; i--;)
        if (!strcmp(b->chains[i].name, name)) return &b->chains[i];
    if (b && b->n == CHAINS_KEPT) {
        store_keep(c);
        b = batch_of(c);
    }
    if (!b) return NULL;
    struct kept *k = &b->chains[b->n++];
    snprintf(k->name, sizeof k->name, "%s", name);
    k->emitted_from = UNKNOWN;
    k->log = store_int(
        c, 0, "SELECT log FROM consumer_offset WHERE topic = ? AND partition = ?", value_text(topic),
        value_int(partition));
    head_read(c, name, k->head);
    return k;
}

static void outcome_count(struct connection *c, struct kept *k, const char *outcome) {
    struct tally *t = k->tallies, *end = t + OUTCOMES_KEPT;
    while (t < end && t->n && strcmp(t->outcome, outcome) != 0) t++;
    if (t == end || strlen(outcome) >= OUTCOME_SIZE) {
        store_spoil(c, FATAL, "a service has more outcomes, or longer ones, than can be counted");
        return;
    }
    if (!t->n++) strcpy(t->outcome, outcome);
}

/* --- A row */

static void number_set(struct chain_row *row, enum chain_field field, int64_t n) {
    row->field[field] = chain_number(n, row->number[field]);
}

/* Texts that quote foreign bytes may have been cut inside a character, and what is hashed must survive as JSON: such
 * ones are cleaned, and lie in `cleaned`. */
static void row_fill(struct chain_row *out, const struct audit_row *row, int64_t at, json_t **cleaned) {
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
            if (!*cleaned) *cleaned = json_array();
            text = json_array_append_new(*cleaned, clean) ? "(not UTF-8)" : json_string_value(clean);
        }
        out->field[i] = (struct chain_text){text, text ? strlen(text) : 0};
    }
    number_set(out, CHAIN_AT, at);
    if (!row->topic) return;
    number_set(out, CHAIN_PARTITION, row->partition);
    number_set(out, CHAIN_OFFSET, row->offset);
}

static struct value text_value(const struct chain_row *row, enum chain_field field) {
    const struct chain_text *f = &row->field[field];
    return f->text ? (struct value){.kind = VALUE_TEXT, .bytes = f->text, .length = f->n} : (struct value){0};
}

static void
row_store(struct connection *c, const struct chain_row *r, const struct audit_row *row, int64_t at, int64_t log) {
    static const struct value absent = {.kind = VALUE_NULL};
    (void)store_run(
        c, "INSERT INTO audit (" AUDIT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        value_int(r->id), value_int(at), text_value(r, CHAIN_ACTION), text_value(r, CHAIN_OUTCOME),
        text_value(r, CHAIN_ACTOR), text_value(r, CHAIN_RETURN_ID),
        row->event_id ? value_blob(row->event_id->bytes, 16) : absent, text_value(r, CHAIN_EVENT_TYPE),
        text_value(r, CHAIN_TOPIC), row->topic ? value_int(row->partition) : absent,
        row->topic ? value_int(row->offset) : absent, text_value(r, CHAIN_SUMMARY), text_value(r, CHAIN_TRACE_ID),
        value_int(log), value_blob(r->hash, CHAIN_HASH));
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
    char name[CHAIN_NAME] = "";
    json_auto_t *cleaned = NULL;
    struct chain_row r;
    int64_t at = clock_ms();
    row_fill(&r, row, at, &cleaned);
    if (!chain_name(&r, name)) store_spoil(c, REJECT, "could not audit a record: its topic's name is too long");
    struct kept *k = kept_find(c, name, row->topic, row->partition);
    struct batch *b = k ? batch_of(c) : NULL;
    if (store_state(c) != OK) return;
    if (!b->next) b->next = store_int(c, 0, "SELECT COALESCE(MAX(id), 0) + 1 FROM audit");
    r.id = b->next++;
    number_set(&r, CHAIN_ID, r.id);
    if (k->log) number_set(&r, CHAIN_LOG, k->log);
    if (!chain_hash(k->head, &r, r.hash)) store_spoil(c, RETRY, "could not hash an audit row: out of memory");
    row_store(c, &r, row, at, k->log);
    memcpy(k->head, r.hash, CHAIN_HASH);
    k->rows++;
    outcome_count(c, k, r.field[CHAIN_OUTCOME].text);
    if (r.id % AUDIT_BLOCK == 0) blocks_fill(c, r.id);
}

void audit_emitted(struct connection *c, const char *topic, int32_t partition, int64_t offset) {
    char name[CHAIN_NAME];
    snprintf(name, sizeof name, "%s/%d", topic, partition);
    struct kept *k = kept_find(c, name, topic, partition);
    if (!k) return;
    if (k->emitted_from == UNKNOWN)
        k->emitted_from = store_int(c, 0, "SELECT first_offset FROM chain_emitted WHERE chain = ?", value_text(name));
    k->emitted += k->emitted_from <= offset;
}
