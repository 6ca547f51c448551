/* What a rebuild rejects is quarantined like any event. While it replays, each record that has no effect any more waits
 * in a table of the new database. With the last step before the switch it becomes an open dead letter, a row of the
 * outbox that publishes the letter, and a row of the audit log, which says of the same record that it was handled. */
#include "chassis/rebuild/rebuild_private.h"

#include "chassis/audit/audit.h"
#include "chassis/base/utf8.h"
#include "chassis/events/dead_letter.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *line_json(const struct record *record, int64_t answered_at, const char *reason) {
    return json_pack(
        "{s:s, s:i, s:I, s:s?, s:s?, s:b, s:o}", "topic", record->raw.topic, "partition", record->raw.partition,
        "offset", (json_int_t)record->raw.offset, "return_id", record->event.return_id, "type", record->event.type,
        "answered", answered_at != 0, "reason", utf8_json(reason));
}

void rebuild_rejected(
    void *rebuild, const struct record *record, int64_t letter, int64_t answered_at, const char *reason) {
    struct rebuild *b = rebuild;
    if (b->rejected_n++ < b->options->most) json_array_append_new(b->rejected, line_json(record, answered_at, reason));
    const struct raw *raw = &record->raw;
    char *headers = event_headers(&record->event);
    if (!headers) store_spoil(b->c, RETRY, "could not keep a dead letter: out of memory");
    (void)store_run(
        b->c,
        "INSERT INTO rebuild_rejected (letter, topic, partition, record_offset, record_key, headers, value, reason, "
        "answered_at, trace_parent, event_id, type, return_id) "
        "VALUES (NULLIF(?, 0), ?, ?, ?, ?, ?, ?, ?, NULLIF(?, 0), ?, ?, ?, ?)",
        value_int(letter), value_text(raw->topic), value_int(raw->partition), value_int(raw->offset),
        value_blob(raw->key, raw->key_n), value_text(headers), value_blob(raw->value, raw->value_n), value_text(reason),
        value_int(answered_at), value_text(record->trace),
        value_blob(record->has_id ? record->event.id.bytes : NULL, 16), value_text(record->event.type),
        value_text(record->event.return_id));
    free(headers);
}

/* The letter's id. One that was redriven is open again. */
static int64_t letter_make(struct connection *c, int64_t row, int64_t now) {
    return store_int(
        c, 0,
        "INSERT INTO dead_letter (id, at, topic, partition, record_offset, record_key, headers, value, reason, rebuilt, "
        "answered_at, event_id) SELECT letter, ?, topic, partition, record_offset, record_key, headers, value, reason, "
        "1, answered_at, event_id FROM rebuild_rejected WHERE id = ? ON CONFLICT (id) DO UPDATE SET state = 'open', "
        "rebuilt = 1, reason = excluded.reason, answered_at = excluded.answered_at, event_id = excluded.event_id "
        "RETURNING id",
        value_int(now), value_int(row));
}

static void letter_audit(struct connection *c, const struct rows *r) {
    char summary[1000], trace[TRACE_ID];
    struct uuid id;
    bool has_id = rows_uuid(r, 6, &id);
    snprintf(
        summary, sizeof summary, "a rebuild takes back the effect of %s[%lld]@%lld: %s", rows_text(r, 1),
        (long long)rows_int(r, 2), (long long)rows_int(r, 3), rows_text(r, 4));
    audit_append(
        c, &(struct audit_row){
               .action = "quarantine",
               .outcome = "quarantined",
               .actor = "command",
               .return_id = rows_null(r, 8) ? NULL : rows_text(r, 8),
               .event_id = has_id ? &id : NULL,
               .event_type = rows_null(r, 7) ? NULL : rows_text(r, 7),
               .summary = summary,
               .trace_id = trace_id(rows_text(r, 5), trace)});
}

void rebuild_letters_keep(struct connection *c) {
    int64_t now = clock_ms();
    for (struct rows r = store_rows(
             c, "SELECT id, topic, partition, record_offset, reason, trace_parent, event_id, type, return_id FROM "
                "rebuild_rejected ORDER BY id");
         rows_next(&r);) {
        int64_t letter = letter_make(c, rows_int(&r, 0), now);
        dead_letter_publish(c, letter, rows_text(&r, 5), now);
        letter_audit(c, &r);
    }
    /* as if those redrives had never been */
    (void)store_run(c, "DELETE FROM by_hand WHERE letter IN (SELECT letter FROM rebuild_rejected)");
}
