#include "support/returns/returns.h"

#include "support/returns/fold.h"

#include "chassis/base/money.h"
#include "chassis/events/outbox.h"
#include "chassis/pages/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char self[] = "support";

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
    return outbox_symbols(runtime_core(rt)->outbox, "RefundRequest", "reason_code");
}

void returns_keep(struct connection *c, const char *return_id, const struct request *q) {
    (void)store_run(
        c, "INSERT INTO return_private (return_id, customer_id, reason, submitted_at) VALUES (?, ?, ?, ?)",
        value_text(return_id), value_text(q->customer_id), value_text(q->reason), value_int(q->read_at));
}

void returns_remember(struct connection *c, const char *token, const char *return_id) {
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

static json_t *team_new(const char *team, bool handled) {
    return json_pack("{s:s, s:b, s:n, s:n, s:n}", "team", team, "handled", handled, "event_type", "at", "compensated");
}

/* Each subscriber by its name, and whether it has passed the record; none has while the record is not in the topic. */
static json_t *subscribers_of(struct connection *reader, bool published, int64_t partition, int64_t offset) {
    json_t *teams = json_object();
    for (struct rows r = store_rows(
             reader,
             "SELECT team, MAX(CASE WHEN partition = ? AND next_offset > ? THEN 1 ELSE 0 END) FROM subscriber_offset "
             "WHERE team <> ? GROUP BY team ORDER BY team",
             value_int(partition), value_int(offset), value_text(self));
         rows_next(&r);)
        json_object_set_new(teams, rows_text(&r, 0), team_new(rows_text(&r, 0), published && rows_int(&r, 1)));
    return teams;
}

/* In a team's object until it is shown: what it published up to then is from before a rebuild put the record aside. */
#define ANSWERED_AT " answered_at"

/* A team that has put the record aside has passed it, and not done its part. */
static void letters_add(struct connection *reader, json_t *teams, const char *done, int64_t partition, int64_t offset) {
    for (
        struct rows r = store_rows(
            reader,
            "SELECT team, at, reason, answered_at FROM letter WHERE partition = ? AND record_offset = ? AND redriven = 0 ORDER BY team",
            value_int(partition), value_int(offset));
        rows_next(&r);) {
        const char *name = rows_text(&r, 0);
        if (!json_object_get(teams, name)) json_object_set_new(teams, name, team_new(name, false));
        json_t *team = json_object_get(teams, name);
        json_object_set_new(team, done, json_false());
        json_object_set_new(team, ANSWERED_AT, json_integer(rows_int(&r, 3)));
        json_object_set_new(
            team, "put_aside",
            json_pack(
                "{s:o, s:s, s:I, s:I}", "at", time_json(rows_int(&r, 1)), "reason", rows_text(&r, 2), "partition",
                (json_int_t)partition, "offset", (json_int_t)offset));
    }
}

/* Adds what each team last published; one that did has handled the return, though its offset may not be known yet. */
static bool reactions_add(struct connection *reader, const char *return_id, json_t *teams) {
    bool declined = false;
    for (struct rows r = store_rows(
             reader,
             "SELECT team, type, at FROM history WHERE return_id = ? AND team <> ? ORDER BY version, at, event_id",
             value_text(return_id), value_text(self));
         rows_next(&r);) {
        const char *name = rows_text(&r, 0);
        if (!json_object_get(teams, name)) json_object_set_new(teams, name, team_new(name, true));
        json_t *team = json_object_get(teams, name);
        json_object_set_new(team, "event_type", json_string(rows_text(&r, 1)));
        json_object_set_new(team, "at", time_json(rows_int(&r, 2)));
        declined |= fold_is_declined(rows_text(&r, 1));
        if (rows_int(&r, 2) <= json_integer_value(json_object_get(team, ANSWERED_AT))) continue;
        json_object_set_new(team, "handled", json_true());
        json_object_del(team, "put_aside");
    }
    return declined;
}

#define RETURN_COLUMNS                                                                                                 \
    "r.return_id, version, requested_at, order_id, model, shipment_id, serial_number, location, cost_minor, "          \
    "cost_currency, customer_id, reason, partition, record_offset, submitted_at, published_at, state, "                \
    "cancelled_partition, cancelled_offset, cancelled_version, reason_code, channel"
#define RETURN_TABLES "return_request r LEFT JOIN return_private p ON p.return_id = r.return_id"

static json_t *request_json(const struct rows *r) {
    char amount[32];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:o, s:o}", "order_id", rows_text(r, 3), "model",
        rows_text(r, 4), "shipment_id", rows_text(r, 5), "serial_number", rows_text(r, 6), "location", rows_text(r, 7),
        "cost", "amount", money_text(rows_int(r, 8), amount), "currency", rows_text(r, 9), "reason_code",
        rows_text(r, 20), "channel", rows_text(r, 21), "customer_id", rows_text_json(r, 10), "reason",
        rows_text_json(r, 11));
}

/* Of a cancelled return, for each team: whether it has passed the RefundCancelled, or published its reaction to it,
 * which its version tells unless the RefundRequest has the same. Returns whether all have. */
static bool compensations_add(struct connection *reader, const struct rows *r, json_t *teams) {
    const char *name;
    json_t *team;
    if (!rows_null(r, 18)) letters_add(reader, teams, "compensated", rows_int(r, 17), rows_int(r, 18));
    bool all = json_object_size(teams);
    json_object_foreach(teams, name, team) {
        bool done = !rows_null(r, 18) && !json_object_get(team, "put_aside") &&
                    store_int(
                        reader, 0,
                        "SELECT COUNT(*) FROM subscriber_offset WHERE team = ? AND partition = ? AND next_offset > ?",
                        value_text(name), value_int(rows_int(r, 17)), value_int(rows_int(r, 18)));
        if (!done && rows_int(r, 19) > 1)
            done = store_int(
                reader, 0, "SELECT COUNT(*) FROM history WHERE return_id = ? AND team = ? AND version = ? AND at > ?",
                value_text(rows_text(r, 0)), value_text(name), value_int(rows_int(r, 19)),
                value_int(json_integer_value(json_object_get(team, ANSWERED_AT))));
        json_object_set_new(team, "compensated", json_boolean(done));
        if (done) json_object_del(team, "put_aside");
        all = all && done;
    }
    return all;
}

static json_t *return_json(struct connection *reader, const struct rows *r) {
    const char *id = rows_text(r, 0), *name;
    bool published = !rows_null(r, 13);
    json_t *teams = subscribers_of(reader, published, rows_int(r, 12), rows_int(r, 13)), *list = json_array(), *team;
    bool is_open = !strcmp(rows_text(r, 16), "open"), is_cancelled = !strcmp(rows_text(r, 16), "cancelled");
    if (published) letters_add(reader, teams, "handled", rows_int(r, 12), rows_int(r, 13));
    bool attention = reactions_add(reader, id, teams), handled = published && json_object_size(teams);
    if (is_cancelled)
        json_object_foreach(teams, name, team) json_object_del(team, "put_aside"); /* nobody does it now */
    bool compensated = is_cancelled && compensations_add(reader, r, teams);
    json_object_foreach(teams, name, team) {
        handled = handled && json_is_true(json_object_get(team, "handled"));
        json_object_del(team, ANSWERED_AT);
        attention = attention || json_object_get(team, "put_aside");
        json_array_append(list, team);
    }
    json_decref(teams);
    return json_pack(
        "{s:s, s:I, s:s, s:b, s:o, s:o, s:b, s:o, s:o, s:o, s:o}", "return_id", id, "version",
        (json_int_t)rows_int(r, 1), "status",
        !is_open  ? rows_text(r, 16)
        : handled ? "handled"
                  : "requested",
        "attention", attention, "compensated", is_cancelled ? json_boolean(compensated) : json_null(), "requested_at",
        time_json(rows_int(r, 2)), "published", published, "request", request_json(r), "teams", list, "submitted_at",
        rows_time_json(r, 14), "published_at", rows_time_json(r, 15));
}

/* When a subscriber whose events do not tell was seen to have passed a record, which it has `done`. */
static void seen_add(
    struct connection *reader, json_t *teams, const char *done, const char *name, int64_t partition, int64_t offset) {
    json_t *team;
    size_t i;
    json_array_foreach(teams, i, team) {
        if (json_is_string(json_object_get(team, "at")) || !json_is_true(json_object_get(team, done))) continue;
        int64_t at = store_int(
            reader, 0,
            "SELECT COALESCE(MIN(seen_at), 0) FROM passed WHERE team = ? AND partition = ? AND next_offset > ?",
            value_text(json_string_value(json_object_get(team, "team"))), value_int(partition), value_int(offset));
        if (at) json_object_set_new(team, name, time_json(at));
    }
}

json_t *returns_now(struct connection *c, const char *return_id) {
    json_t *found = NULL;
    for (struct rows r = store_rows(
             c, "SELECT " RETURN_COLUMNS " FROM " RETURN_TABLES " WHERE r.return_id = ?", value_text(return_id));
         rows_next(&r);) {
        json_t *teams = json_object_get(found = return_json(c, &r), "teams");
        seen_add(c, teams, "handled", "seen_at", rows_int(&r, 12), rows_int(&r, 13));
        seen_add(c, teams, "compensated", "compensated_seen_at", rows_int(&r, 17), rows_int(&r, 18));
    }
    return found;
}

json_t *returns_one(struct connection *reader, const char *return_id) {
    return returns_one_then(reader, return_id, &bound_now);
}

json_t *returns_one_then(struct connection *reader, const char *return_id, const struct bound *b) {
    (void)store_run(reader, "BEGIN");
    json_t *found = returns_now(reader, return_id);
    if (found && !past_cut(reader, found, b)) json_object_del(found, "status");
    (void)store_run(reader, "COMMIT");
    return found;
}

json_t *returns_page(struct connection *reader, const char *before, int limit) {
    return returns_page_then(reader, before, limit, &bound_now);
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

json_t *returns_page_then(struct connection *reader, const char *before, int limit, const struct bound *b) {
    static const char sql[] =
        "SELECT " RETURN_COLUMNS " FROM " RETURN_TABLES " WHERE (requested_at, r.return_id) < (?, ?) "
        "ORDER BY requested_at DESC, r.return_id DESC LIMIT ?";
    struct value top[2];
    if (!page_top(reader, before, b, top)) return NULL;
    json_t *list = json_array(), *next = json_null(), *one;
    (void)store_run(reader, "BEGIN");
    /* one more tells that there are more */
    for (struct rows r = store_rows(reader, sql, top[0], top[1], value_int(limit + 1)); rows_next(&r);) {
        size_t n = json_array_size(list);
        if (n == (size_t)limit)
            next = json_incref(json_object_get(json_array_get(list, n - 1), "return_id"));
        else if (past_cut(reader, one = return_json(reader, &r), b))
            json_array_append_new(list, one);
        else
            json_decref(one);
    }
    (void)store_run(reader, "COMMIT");
    json_t *page = json_pack("{s:o, s:o}", "returns", list, "next", next);
    if (b->at < INT64_MAX) json_object_set_new(page, "as_of", time_json(b->at));
    return page;
}

/* Adds what is known of the record; an event that was read before that was kept has none. */
static void record_add(json_t *event, const struct rows *r) {
    size_t n;
    const unsigned char *bytes = rows_blob(r, 11, &n);
    struct buffer hex = BUFFER(2 * EVENT_BYTES_MAX + 2 * FRAME_SIZE + 1);
    buffer_hex(&hex, bytes, n);
    int64_t schema = frame_number(bytes, n);
    json_t *headers = json_loads(rows_text(r, 10), JSON_ALLOW_NUL, NULL);
    json_object_set_new(event, "recorded_at", rows_time_json(r, 9));
    json_object_set_new(event, "schema_id", schema < 0 ? json_null() : json_integer(schema));
    json_object_set_new(event, "headers", headers ? headers : json_array());
    json_object_set_new(event, "record", n && hex.data ? json_string(hex.data) : json_null());
    buffer_free(&hex);
}

json_t *returns_history(struct connection *reader, const char *return_id) {
    json_t *list = json_array();
    for (struct rows r = store_rows(
             reader,
             "SELECT type, team, version, at, topic, partition, record_offset, trace_id, data, "
             "recorded_at, headers, record FROM history WHERE return_id = ? ORDER BY version, at, event_id",
             value_text(return_id));
         rows_next(&r);) {
        json_t *event = json_pack(
            "{s:s, s:s, s:I, s:o, s:s, s:I, s:I, s:s, s:o}", "type", rows_text(&r, 0), "team", rows_text(&r, 1),
            "version", (json_int_t)rows_int(&r, 2), "at", time_json(rows_int(&r, 3)), "topic", rows_text(&r, 4),
            "partition", (json_int_t)rows_int(&r, 5), "offset", (json_int_t)rows_int(&r, 6), "trace_id",
            rows_text(&r, 7), "data", json_loads(rows_text(&r, 8), JSON_ALLOW_NUL, NULL));
        record_add(event, &r);
        json_array_append_new(list, event);
    }
    return list;
}

json_t *returns_subscribers(struct connection *reader) {
    return store_json(
        reader, "SELECT DISTINCT team FROM subscriber_offset WHERE team <> ? ORDER BY team", value_text(self));
}

/* Each partition of the topic, and from where on some subscriber has not passed it; everywhere from 0 on while there is
 * no subscriber. */
#define NOT_PASSED                                                                                                     \
    "SELECT o.partition, (SELECT CASE WHEN COUNT(*) < (SELECT COUNT(DISTINCT team) FROM subscriber_offset "            \
    "WHERE team <> ?) THEN 0 ELSE COALESCE(MIN(s.next_offset), 0) END FROM subscriber_offset s "                       \
    "WHERE s.partition = o.partition AND s.team <> ?) FROM consumer_offset o WHERE o.topic = ?"

/* Returns that a team has put aside, and has published nothing about since: of what a rebuild put aside, since then. */
#define PUT_ASIDE                                                                                                      \
    "FROM letter l JOIN return_request r ON r.partition = l.partition AND r.record_offset = l.record_offset "          \
    "WHERE r.state <> 'cancelled' AND l.redriven = 0 AND NOT EXISTS "                                                  \
    "(SELECT 1 FROM history h WHERE h.return_id = r.return_id AND h.team = l.team AND h.at > l.answered_at)"

/* Cancelled returns whose RefundRequest every subscriber has passed, at `passed` of its partition, and whose
 * RefundCancelled not. A return that waits for both is counted once. */
#define NOT_UNDONE                                                                                                     \
    "SELECT COUNT(*) FROM return_request WHERE state = 'cancelled' AND cancelled_partition = ? AND "                   \
    "cancelled_offset >= ? AND (partition <> cancelled_partition OR record_offset < ?)"

json_t *returns_totals(struct connection *reader, const char *topic) {
    (void)store_run(reader, "BEGIN");
    int64_t accepted = store_int(reader, 0, "SELECT COUNT(*) FROM return_request");
    int64_t unpublished = store_int(reader, 0, "SELECT COUNT(*) FROM return_request WHERE partition IS NULL");
    int64_t cancelled = store_int(reader, 0, "SELECT COUNT(*) FROM return_request WHERE state = 'cancelled'");
    int64_t closed = store_int(reader, 0, "SELECT COUNT(*) FROM return_request WHERE state = 'closed'");
    int64_t unhandled = unpublished, attention = store_int(
                                         reader, 0,
                                         "SELECT COUNT(*) FROM (SELECT return_id FROM attention UNION "
                                         "SELECT r.return_id " PUT_ASIDE ") a");
    int64_t undoing = store_int(
        reader, 0,
        "SELECT COUNT(*) FROM return_request WHERE state = 'cancelled' AND cancelled_partition IS NULL "
        "AND partition IS NOT NULL");
    for (struct rows r = store_rows(reader, NOT_PASSED, value_text(self), value_text(self), value_text(topic));
         rows_next(&r);) {
        struct value partition = value_int(rows_int(&r, 0)), passed = value_int(rows_int(&r, 1));
        unhandled += store_int(
            reader, 0, "SELECT COUNT(*) FROM return_request WHERE partition = ? AND record_offset >= ?", partition,
            passed);
        unhandled += store_int(
            reader, 0, "SELECT COUNT(DISTINCT r.return_id) " PUT_ASIDE " AND r.partition = ? AND r.record_offset < ?",
            partition, passed);
        undoing += store_int(reader, 0, NOT_UNDONE, partition, passed, passed);
    }
    (void)store_run(reader, "COMMIT");
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "accepted", (json_int_t)accepted, "published",
        (json_int_t)(accepted - unpublished), "handled_by_all", (json_int_t)(accepted - unhandled), "cancelled",
        (json_int_t)cancelled, "closed", (json_int_t)closed, "waiting", (json_int_t)(unhandled + undoing), "attention",
        (json_int_t)attention);
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
    int64_t oldest = 0;
    for (struct rows r = store_rows(
             reader, "SELECT partition, next_offset FROM subscriber_offset WHERE team = ?", value_text(team));
         rows_next(&r);) {
        int64_t at = store_int(
            reader, 0,
            "SELECT published_at FROM return_request WHERE partition = ? AND record_offset >= ? ORDER BY record_offset LIMIT 1",
            value_int(rows_int(&r, 0)), value_int(rows_int(&r, 1)));
        if (at && (!oldest || at < oldest)) oldest = at;
        at = store_int(
            reader, 0,
            "SELECT cancelled_at FROM return_request WHERE state = 'cancelled' AND cancelled_partition = ? "
            "AND cancelled_offset >= ? ORDER BY cancelled_offset LIMIT 1",
            value_int(rows_int(&r, 0)), value_int(rows_int(&r, 1)));
        if (at && (!oldest || at < oldest)) oldest = at;
    }
    return oldest;
}
