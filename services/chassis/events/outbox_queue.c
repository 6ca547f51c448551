#include "chassis/events/outbox_queue.h"

#include "chassis/base/ids.h"

#define MARK "SELECT through FROM outbox_mark"
#define REST ", event_id, type, return_id, body, trace_parent, occurred_at, dead_letter, received_at, schema_row "

/* --- What waits */

int64_t outbox_waiting(struct connection *reader) {
    return store_int(reader, 0, "SELECT n FROM outbox_waiting");
}

struct rows outbox_rows(struct connection *reader, int64_t after, int64_t most) {
    int64_t mark = store_int(reader, 0, MARK);
    return store_rows(
        reader,
        "SELECT e.id" REST
        "FROM outbox_exception e JOIN outbox o ON o.id = e.id WHERE e.state = 'waiting' AND e.id > ? "
        "UNION ALL SELECT id" REST "FROM outbox WHERE id > ? AND id NOT IN (SELECT id FROM outbox_exception) "
        "ORDER BY 1 LIMIT ?",
        value_int(after), value_int(after > mark ? after : mark), value_int(most));
}

int64_t outbox_waiting_since(struct connection *reader) {
    struct rows first = outbox_rows(reader, 0, 1);
    int64_t since = rows_next(&first) ? rows_int(&first, 6) : 0;
    rows_close(&first);
    return since;
}

/* --- What was published */

size_t outbox_done(const struct handed *rows, size_t n) {
    size_t done = 0;
    while (done < n && rows[done].done) done++;
    return done;
}

/* Where the last of them is in each partition: a start looks behind it for what it does not know (history.h). Of
 * partitions that share a bit one may be left out, and is looked at from an earlier record. */
static void places_store(struct connection *c, const struct handed *rows, size_t n) {
    uint64_t stored = 0;
    while (n--) {
        uint64_t bit = 1ULL << (rows[n].partition & 63);
        if (!rows[n].done || rows[n].partition < 0 || (stored & bit)) continue;
        stored |= bit;
        (void)store_run(
            c,
            "INSERT INTO outbox_place (partition, record_offset) VALUES (?, ?) "
            "ON CONFLICT (partition) DO UPDATE SET record_offset = excluded.record_offset",
            value_int(rows[n].partition), value_int(rows[n].offset));
    }
}

/* What stands between two that were handed over, and is not set aside, waits again since then. */
static int64_t front_move(struct connection *c, int64_t from, int64_t to) {
    if (to > from + 1)
        (void)store_run(
            c,
            "INSERT INTO outbox_exception (id, state) SELECT id, 'waiting' FROM outbox WHERE id > ? AND id < ? "
            "ON CONFLICT (id) DO NOTHING",
            value_int(from), value_int(to));
    return to;
}

static void mark_move(struct connection *c, int64_t through) {
    struct value mark = value_int(through);
    (void)store_run(c, "UPDATE outbox_mark SET through = ?", mark);
    (void)store_run(c, "DELETE FROM outbox_exception WHERE id <= ? AND state = 'sent'", mark);
}

void outbox_mark(struct connection *c, const struct handed *rows, size_t n, bool last) {
    int64_t mark = store_int(c, 0, MARK), through = mark;
    size_t front = outbox_done(rows, n), all = last ? n : front;
    for (const struct handed *h = rows; h < rows + all; h++) {
        if (!h->done) continue;
        if (h->row <= mark)
            (void)store_run(c, "DELETE FROM outbox_exception WHERE id = ?", value_int(h->row));
        else if (h < rows + front)
            through = front_move(c, through, h->row);
        else
            (void)store_run(c, "INSERT INTO outbox_exception (id, state) VALUES (?, 'sent')", value_int(h->row));
    }
    if (through > mark) mark_move(c, through);
    places_store(c, rows, all);
}

/* --- What is set aside */

/* The mark passes it where nothing before it waits: however many are set aside, few of them are behind the mark. */
void outbox_set_aside(struct connection *c, int64_t row, const char *reason) {
    (void)store_run(
        c,
        "INSERT INTO outbox_exception (id, state, at, reason) SELECT id, 'set aside', ?, ? FROM outbox_state "
        "WHERE id = ? AND state = 'waiting' "
        "ON CONFLICT (id) DO UPDATE SET state = excluded.state, at = excluded.at, reason = excluded.reason",
        value_int(clock_ms()), value_text(reason), value_int(row));
    if (store_int(
            c, 0, "SELECT ? - (" MARK ") = (SELECT COUNT(*) FROM outbox_exception WHERE id > (" MARK ") AND id <= ?)",
            value_int(row), value_int(row)))
        mark_move(c, row);
}

int64_t outbox_again(struct connection *c) {
    int64_t behind = store_run(c, "DELETE FROM outbox_exception WHERE state = 'set aside' AND id > (" MARK ")");
    return behind + store_run(
                        c, "UPDATE outbox_exception SET state = 'waiting', at = NULL, reason = NULL "
                           "WHERE state = 'set aside'");
}
