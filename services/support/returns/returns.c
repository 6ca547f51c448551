#include "support/returns/returns.h"

#include "support/request/events.h"
#include "support/returns/state.h"

#include "chassis/base/utf8.h"
#include "chassis/events/outbox.h"
#include "chassis/pages/team.h"

/* --- What only support knows */

json_t *returns_holder(struct connection *c, const char *serial_number) {
    json_t *holder = NULL;
    for (struct rows r = store_rows(
             c,
             "SELECT return_id FROM return_request WHERE serial_number = ? AND state = 'open' "
             "ORDER BY requested_at, return_id LIMIT 1",
             value_text(serial_number));
         rows_next(&r);)
        if (!(holder = json_string(rows_text(&r, 0)))) store_spoil(c, RETRY, "out of memory");
    return holder;
}

const json_t *returns_reasons(const struct runtime *rt) {
    return outbox_symbols(runtime_core(rt)->outbox, REFUND_REQUEST, "reason_code");
}

void returns_keep(struct connection *c, const char *return_id, const struct request *q, const char *token) {
    (void)store_run(
        c, "INSERT INTO return_private (return_id, customer_id, reason, submitted_at) VALUES (?, ?, ?, ?)",
        value_text(return_id), value_text(q->customer_id), value_text(q->reason), value_int(q->read_at));
    if (*token)
        (void)store_run(
            c, "INSERT INTO submission (token, return_id) VALUES (?, ?)", value_text(token), value_text(return_id));
}

json_t *returns_sent(struct connection *c, const char *token, const struct request *q) {
    json_t *sent = NULL;
    for (
        struct rows r = store_rows(
            c,
            "SELECT r.return_id, CASE WHEN r.order_id = ? AND r.model = ? AND r.shipment_id = ? AND r.serial_number = ? "
            "AND r.location = ? AND r.cost_minor = ? AND r.cost_currency = ? AND r.reason_code = ? AND p.customer_id = ? "
            "AND p.reason = ? THEN 1 ELSE 0 END FROM submission s JOIN return_request r ON r.return_id = s.return_id "
            "LEFT JOIN return_private p ON p.return_id = s.return_id WHERE s.token = ?",
            value_text(q->order_id), value_text(q->model), value_text(q->shipment_id), value_text(q->serial_number),
            value_text(q->location), value_int(q->cost_minor), value_text(q->cost_currency), value_text(q->reason_code),
            value_text(q->customer_id), value_text(q->reason), value_text(token));
        rows_next(&r);)
        if (!(sent = json_pack("{s:s, s:b}", "return_id", rows_text(&r, 0), "same", rows_int(&r, 1) != 0)))
            store_spoil(c, RETRY, "out of memory");
    return sent;
}

/* --- Queries */

json_t *returns_then(struct connection *c, const char *return_id, const struct bound *b) {
    json_t *found = NULL;
    for (struct rows r = store_rows(
             c, "SELECT " STATE_COLUMNS " FROM " STATE_TABLES " WHERE r.return_id = ?", value_text(return_id));
         rows_next(&r);)
        found = state_read(c, &r, b, false);
    return found;
}

json_t *returns_one(struct connection *reader, const char *return_id, const struct bound *b) {
    (void)store_run(reader, "BEGIN");
    json_t *found = returns_then(reader, return_id, b);
    (void)store_run(reader, "COMMIT");
    return found;
}

json_t *returns_cut(json_t *list, int limit, const char *id) {
    size_t n = (size_t)limit;
    if (json_array_size(list) <= n) return json_null();
    json_array_remove(list, n);
    return json_incref(json_object_get(json_array_get(list, n - 1), id));
}

/* From where on the page goes down: the return `before`, or the moment, whichever is earlier. False: no such return. */
static bool page_top(struct connection *reader, const char *before, const struct bound *b, struct value top[2]) {
    top[0] = value_int(b->at < INT64_MAX ? b->at + 1 : b->at), top[1] = value_text("");
    if (!before) return true;
    int64_t at =
        store_int(reader, INT64_MAX, "SELECT requested_at FROM return_request WHERE return_id = ?", value_text(before));
    if (at <= b->at) top[0] = value_int(at), top[1] = value_text(before);
    return at != INT64_MAX;
}

json_t *returns_page(struct connection *reader, const char *before, int limit, const struct bound *b) {
    static const char sql[] =
        "SELECT " STATE_COLUMNS " FROM " STATE_TABLES " WHERE (requested_at, r.return_id) < (?, ?) "
        "ORDER BY requested_at DESC, r.return_id DESC LIMIT ?";
    struct value top[2];
    if (!page_top(reader, before, b, top)) return NULL;
    json_t *list = json_array();
    (void)store_run(reader, "BEGIN");
    for (struct rows r = store_rows(reader, sql, top[0], top[1], value_int(limit + 1)); rows_next(&r);)
        json_array_append_new(list, state_read(reader, &r, b, true));
    (void)store_run(reader, "COMMIT");
    json_t *next = returns_cut(list, limit, "return_id");
    for (size_t i = json_array_size(list); i-- > 0;) /* what was not there yet */
        if (!json_object_get(json_array_get(list, i), "status")) json_array_remove(list, i);
    json_t *page = json_pack("{s:o, s:o}", "returns", list, "next", next);
    if (b->at < INT64_MAX) json_object_set_new(page, "as_of", time_json(b->at));
    return page;
}

json_t *returns_history(struct connection *reader, const char *return_id, const struct bound *b) {
    json_t *list = json_array();
    for (
        struct rows r = store_rows(
            reader,
            "SELECT type, team, version, at, topic, partition, record_offset, trace_id, data, recorded_at, headers, record "
            "FROM history WHERE return_id = ? AND version <= ? AND at <= ? ORDER BY version, at, event_id",
            value_text(return_id), value_int(b->version), value_int(b->at));
        rows_next(&r);) {
        size_t n;
        const unsigned char *bytes = rows_blob(&r, 11, &n);
        int64_t schema = frame_number(bytes, n);
        json_t *headers = json_loads(rows_text(&r, 10), JSON_ALLOW_NUL, NULL);
        json_array_append_new(
            list,
            json_pack(
                "{s:s, s:s, s:I, s:o, s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o}", "type", rows_text(&r, 0), "team",
                rows_text(&r, 1), "version", (json_int_t)rows_int(&r, 2), "at", time_json(rows_int(&r, 3)), "topic",
                rows_text(&r, 4), "partition", (json_int_t)rows_int(&r, 5), "offset", (json_int_t)rows_int(&r, 6),
                "trace_id", rows_text(&r, 7), "data", json_loads(rows_text(&r, 8), JSON_ALLOW_NUL, NULL), "recorded_at",
                rows_time_json(&r, 9), "schema_id", schema < 0 ? json_null() : json_integer(schema), "headers",
                headers ? headers : json_array(), "record", n ? hex_json(bytes, n) : json_null()));
    }
    return list;
}

json_t *returns_subscribers(struct connection *reader) {
    return store_json(
        reader, "SELECT DISTINCT team FROM subscriber_offset WHERE team <> ? ORDER BY team", value_text("support"));
}

/* passed: each partition of the topic, and from where on some subscriber has not passed it. Everywhere from 0 on while
 * there is no subscriber. aside: returns that a team has put aside, and has published nothing about since: of what a
 * rebuild put aside, since then. undoing: cancelled returns whose RefundRequest every subscriber has passed, and whose
 * RefundCancelled not: one that waits for both is counted once. */
static const char totals_sql[] =
    "WITH passed AS (SELECT o.partition, (SELECT CASE WHEN COUNT(*) < (SELECT COUNT(DISTINCT team) FROM subscriber_offset "
    "WHERE team <> 'support') THEN 0 ELSE COALESCE(MIN(s.next_offset), 0) END FROM subscriber_offset s "
    "WHERE s.partition = o.partition AND s.team <> 'support') AS next_offset FROM consumer_offset o WHERE o.topic = ?), "
    "aside AS (SELECT r.return_id, r.partition, r.record_offset FROM letter l "
    "JOIN return_request r ON r.partition = l.partition AND r.record_offset = l.record_offset "
    "WHERE r.state <> 'cancelled' AND l.redriven = 0 AND NOT EXISTS "
    "(SELECT 1 FROM history h WHERE h.return_id = r.return_id AND h.team = l.team AND h.at > l.answered_at)), "
    "waits AS (SELECT (SELECT COUNT(*) FROM return_request r WHERE r.partition = p.partition AND "
    "r.record_offset >= p.next_offset) + (SELECT COUNT(DISTINCT a.return_id) FROM aside a "
    "WHERE a.partition = p.partition AND a.record_offset < p.next_offset) AS handling, "
    "(SELECT COUNT(*) FROM return_request r WHERE r.state = 'cancelled' AND r.cancelled_partition = p.partition AND "
    "r.cancelled_offset >= p.next_offset AND (r.partition <> r.cancelled_partition OR r.record_offset < p.next_offset)) "
    "AS undoing FROM passed p), "
    "counts AS (SELECT (SELECT COUNT(*) FROM return_request) AS accepted, "
    "(SELECT COUNT(*) FROM return_request WHERE partition IS NULL) AS unpublished, "
    "(SELECT COUNT(*) FROM return_request WHERE state = 'cancelled') AS cancelled, "
    "(SELECT COUNT(*) FROM return_request WHERE state = 'closed') AS closed, "
    "(SELECT COUNT(*) FROM return_request WHERE state = 'cancelled' AND cancelled_partition IS NULL AND "
    "partition IS NOT NULL) AS cancelling, "
    "(SELECT COUNT(*) FROM (SELECT return_id FROM attention UNION SELECT return_id FROM aside) a) AS attention), "
    "sums AS (SELECT COALESCE(SUM(handling), 0) AS handling, COALESCE(SUM(undoing), 0) AS undoing FROM waits) "
    "SELECT accepted, accepted - unpublished AS published, accepted - unpublished - handling AS handled_by_all, "
    "cancelled, closed, unpublished + handling + cancelling + undoing AS waiting, attention FROM counts, sums";

json_t *returns_totals(struct connection *reader, const char *topic) {
    json_auto_t *rows = store_json(reader, totals_sql, value_text(topic));
    return json_incref(json_array_get(rows, 0));
}

json_t *returns_last_event(struct connection *reader, const char *team) {
    json_t *last = NULL;
    for (struct rows r = store_rows(
             reader, "SELECT last_type, last_return, last_at FROM team WHERE team = ? AND last_at IS NOT NULL",
             value_text(team));
         rows_next(&r);)
        last = json_pack(
            "{s:s, s:s?, s:o}", "event", rows_text(&r, 0), "return_id", rows_null(&r, 1) ? NULL : rows_text(&r, 1),
            "at", time_json(rows_int(&r, 2)));
    return last ? last : json_null();
}

int64_t returns_oldest_waiting(struct connection *reader, const char *team) {
    return store_int(
        reader, 0,
        "SELECT COALESCE(MIN(at), 0) FROM (SELECT (SELECT r.published_at FROM return_request r "
        "WHERE r.partition = o.partition AND r.record_offset >= o.next_offset ORDER BY r.record_offset LIMIT 1) AS at "
        "FROM subscriber_offset o WHERE o.team = ? UNION ALL SELECT (SELECT r.cancelled_at FROM return_request r "
        "WHERE r.state = 'cancelled' AND r.cancelled_partition = o.partition AND r.cancelled_offset >= o.next_offset "
        "ORDER BY r.cancelled_offset LIMIT 1) FROM subscriber_offset o WHERE o.team = ?) w",
        value_text(team), value_text(team));
}
