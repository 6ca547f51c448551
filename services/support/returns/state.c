#include "support/returns/state.h"

#include "support/request/events.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/money.h"

#include <string.h>

enum {
    ID,
    VERSION,
    REQUESTED_AT,
    ORDER_ID,
    MODEL,
    SHIPMENT_ID,
    SERIAL_NUMBER,
    LOCATION,
    COST_MINOR,
    COST_CURRENCY,
    CUSTOMER_ID,
    REASON,
    PARTITION,
    OFFSET,
    SUBMITTED_AT,
    PUBLISHED_AT,
    STATE,
    CANCELLED_PARTITION,
    CANCELLED_OFFSET,
    CANCELLED_VERSION,
    REASON_CODE,
    CHANNEL
};

/* Where a record of support's is in its topic. then: it was there by then. */
struct place {
    bool known, then;
    int64_t partition, offset;
};

struct state {
    struct connection *reader;
    const char *return_id;
    const struct bound *bound;
    bool listed, requested, cancelled, closed, attention;
    int64_t version, cancelled_version;
    int64_t previous, next, first, newest; /* versions. 0: none. first: the request's */
    struct place request, cancel;
    json_t *teams; /* {team: …} */
};

const char *state_event_name(const char *type) {
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

bool state_is_declined(const char *type) {
    static const char end[] = "Declined";
    size_t n = strlen(type), end_n = strlen(end);
    return n >= end_n && !strcmp(type + n - end_n, end);
}

/* --- Its versions, of the past */

/* Teams undo what they did for every RefundCancelled, so the first of them counts, also after a ReturnClosed. */
static void version_fold(struct state *s, int64_t version, const char *type) {
    if (version > s->version) s->version = version;
    if (!strcmp(type, SUPPORT_EVENT(REFUND_REQUEST))) s->requested = true;
    if (!strcmp(type, SUPPORT_EVENT(RETURN_CLOSED))) s->closed = true;
    if (strcmp(type, SUPPORT_EVENT(REFUND_CANCELLED)) != 0 || s->cancelled) return;
    s->cancelled = true;
    s->cancelled_version = version;
}

/* The versions beside it are those of other numbers, also where an event of a lower one came later. */
static void versions_fold(struct state *s) {
    static const char sql[] =
        "SELECT version, at, type FROM return_version WHERE return_id = ? AND type <> ? ORDER BY version, at, event_id";
    struct value id = value_text(s->return_id), but = value_text(SUPPORT_EVENT(COMMAND_REJECTED));
    for (struct rows r = store_rows(s->reader, sql, id, but); rows_next(&r);)
        if (rows_int(&r, 0) <= s->bound->version && rows_int(&r, 1) <= s->bound->at)
            version_fold(s, rows_int(&r, 0), rows_text(&r, 2));
    for (struct rows r = store_rows(s->reader, sql, id, but); rows_next(&r);) {
        s->newest = rows_int(&r, 0);
        if (!s->first && !strcmp(rows_text(&r, 2), SUPPORT_EVENT(REFUND_REQUEST))) s->first = s->newest;
        if (s->first && s->newest < s->version) s->previous = s->newest;
        if (s->newest > s->version && !s->next) s->next = s->newest;
    }
}

/* Of several records the first in the topic, as the fold of now has it. */
static void cancel_find(struct state *s) {
    struct rows r = store_rows(
        s->reader,
        "SELECT partition, record_offset, recorded_at FROM history WHERE return_id = ? AND team = 'support' "
        "AND type = ? AND version = ? ORDER BY partition, record_offset LIMIT 1",
        value_text(s->return_id), value_text(SUPPORT_EVENT(REFUND_CANCELLED)), value_int(s->cancelled_version));
    if (rows_next(&r))
        s->cancel = (struct place){true, rows_int(&r, 2) <= s->bound->at, rows_int(&r, 0), rows_int(&r, 1)};
    rows_close(&r);
}

static struct state state_of(struct connection *reader, const struct rows *r, const struct bound *b) {
    bool now = past_is_now(b), published = !rows_null(r, OFFSET), undone = now && !rows_null(r, CANCELLED_OFFSET);
    struct state s = {
        .reader = reader,
        .return_id = rows_text(r, ID),
        .bound = b,
        .requested = now,
        .cancelled = now && !strcmp(rows_text(r, STATE), "cancelled"),
        .closed = now && !strcmp(rows_text(r, STATE), "closed"),
        .version = now ? rows_int(r, VERSION) : 0,
        .cancelled_version = now ? rows_int(r, CANCELLED_VERSION) : 0,
        .request =
            {published, published && rows_int(r, PUBLISHED_AT) <= b->at, rows_int(r, PARTITION), rows_int(r, OFFSET)},
        .cancel = {undone, undone, rows_int(r, CANCELLED_PARTITION), rows_int(r, CANCELLED_OFFSET)}};
    if (!now) versions_fold(&s);
    if (!now && s.cancelled) cancel_find(&s);
    return s;
}

/* --- The teams */

static json_t *team_of(struct state *s, const char *name) {
    json_t *team = json_object_get(s->teams, name);
    if (team) return team;
    team = json_pack("{s:s, s:b, s:n, s:n, s:n}", "team", name, "handled", 0, "event_type", "at", "compensated");
    json_object_set_new(s->teams, name, team);
    return team;
}

/* Of each team: whether its group has passed the record, what its dead letter of it says, whether it has reacted to it
 * by then, or ever, and whether it had said anything by then, and when it did last. First who subscribes, then who else
 * put the record aside, then who else had published something. */
static const char team_facts[] =
    "SELECT team, MAX(passed), MAX(aside_at), MAX(reason), MAX(answered_at), MAX(reacted * by_then), MAX(reacted), "
    "MAX(by_then), MAX(last_at) FROM ("
    "SELECT team, 0 AS place, CASE WHEN partition = ? AND next_offset > ? THEN 1 ELSE 0 END AS passed, NULL AS aside_at, "
    "NULL AS reason, 0 AS answered_at, 0 AS reacted, 0 AS by_then, 0 AS last_at FROM subscriber_offset "
    "UNION ALL SELECT team, 1, 0, at, reason, answered_at, 0, 0, 0 FROM letter "
    "WHERE partition = ? AND record_offset = ? AND redriven = 0 "
    "UNION ALL SELECT team, CASE WHEN version <= ? AND at <= ? THEN 2 END, 0, NULL, NULL, 0, "
    "CASE WHEN ? IN (0, version) THEN 1 ELSE 0 END, CASE WHEN version <= ? AND at <= ? THEN 1 ELSE 0 END, at "
    "FROM history WHERE return_id = ?) f WHERE team <> 'support' GROUP BY team "
    "HAVING MIN(place) IS NOT NULL ORDER BY MIN(place), team";
enum { TEAM, PASSED, ASIDE_AT, ASIDE_REASON, ANSWERED_AT, REACTED, REACTED_EVER, SPOKE, SPOKE_LAST };

static int64_t seen_at(const struct state *s, const char *team, const struct place *place) {
    return store_int(
        s->reader, 0,
        "SELECT COALESCE(MIN(seen_at), 0) FROM passed WHERE team = ? AND partition = ? AND next_offset > ?",
        value_text(team), value_int(place->partition), value_int(place->offset));
}

/* Whether the team had done by then what the record asks of it: by its events or, where it has none, by its offset.
 * What a rebuild put aside is done again once the team has published more. */
static bool is_done(const struct state *s, const struct rows *r, const struct place *place, int64_t seen) {
    int64_t answered_at = rows_int(r, ANSWERED_AT);
    if (rows_int(r, REACTED)) return !answered_at || rows_int(r, SPOKE_LAST) > answered_at;
    if (rows_int(r, REACTED_EVER) && s->bound->at != INT64_MAX) return false;
    return place->then && rows_null(r, ASIDE_AT) && rows_int(r, PASSED) && seen <= s->bound->at;
}

/* reacts: the version of the record that reactions to it have. 0: any. Returns whether all teams have done it. */
static bool teams_fold(struct state *s, const struct place *place, int64_t reacts, const char *done, const char *seen) {
    struct value partition = value_int(place->then ? place->partition : -1), offset = value_int(place->offset);
    struct value version = value_int(s->bound->version), at = value_int(s->bound->at);
    bool all = true, now_asked = !reacts == !s->cancelled; /* of a cancelled return nobody handles the request now */
    for (struct rows r = store_rows(
             s->reader, team_facts, partition, offset, partition, offset, version, at, value_int(reacts), version, at,
             value_text(s->return_id));
         rows_next(&r);) {
        const char *name = rows_text(&r, TEAM);
        json_t *team = team_of(s, name);
        int64_t passed_at = rows_int(&r, PASSED) && !rows_int(&r, REACTED) ? seen_at(s, name, place) : 0;
        bool is = is_done(s, &r, place, passed_at), aside = !is && now_asked && !rows_null(&r, ASIDE_AT);
        json_object_set_new(team, done, json_boolean(is));
        if (is && passed_at && !rows_int(&r, SPOKE) && !s->listed)
            json_object_set_new(team, seen, time_json(passed_at));
        if (aside)
            json_object_set_new(
                team, "put_aside",
                json_pack(
                    "{s:o, s:s, s:I, s:I}", "at", time_json(rows_int(&r, ASIDE_AT)), "reason",
                    rows_text(&r, ASIDE_REASON), "partition", (json_int_t)place->partition, "offset",
                    (json_int_t)place->offset));
        s->attention |= aside;
        all = all && is;
    }
    return all && json_object_size(s->teams);
}

/* What each team last published. */
static void reactions_fold(struct state *s) {
    for (
        struct rows r = store_rows(
            s->reader,
            "SELECT team, type, at FROM history WHERE return_id = ? AND team <> 'support' AND version <= ? AND at <= ? "
            "ORDER BY version, at, event_id",
            value_text(s->return_id), value_int(s->bound->version), value_int(s->bound->at));
        rows_next(&r);) {
        json_t *team = team_of(s, rows_text(&r, 0));
        json_add(team, "{s:s, s:o}", "event_type", rows_text(&r, 1), "at", time_json(rows_int(&r, 2)));
        s->attention |= state_is_declined(rows_text(&r, 1));
    }
}

/* --- All of it */

static json_t *request_json(const struct rows *r) {
    char amount[32];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:o, s:o}", "order_id", rows_text(r, ORDER_ID), "model",
        rows_text(r, MODEL), "shipment_id", rows_text(r, SHIPMENT_ID), "serial_number", rows_text(r, SERIAL_NUMBER),
        "location", rows_text(r, LOCATION), "cost", "amount", money_text(rows_int(r, COST_MINOR), amount), "currency",
        rows_text(r, COST_CURRENCY), "reason_code", rows_text(r, REASON_CODE), "channel", rows_text(r, CHANNEL),
        "customer_id", rows_text_json(r, CUSTOMER_ID), "reason", rows_text_json(r, REASON));
}

static const char *status_of(const struct state *s, bool handled) {
    if (s->cancelled) return "cancelled";
    return s->closed ? "closed" : handled ? "handled" : "requested";
}

static json_t *version_or_null(int64_t version) {
    return version ? json_integer(version) : json_null();
}

static json_t *state_json(struct state *s, const struct rows *r) {
    bool handled = teams_fold(s, &s->request, 0, "handled", "seen_at") && s->request.known;
    int64_t reacts = s->cancelled_version > 1 ? s->cancelled_version : -1; /* 1: not to be told from the request's */
    bool undone = s->cancelled && teams_fold(s, &s->cancel, reacts, "compensated", "compensated_seen_at");
    json_t *list = json_array();
    reactions_fold(s);
    json_members(team, s->teams) json_array_append(list, team.value);
    return json_pack(
        "{s:s, s:I, s:s, s:b, s:o, s:o, s:b, s:o, s:o, s:o, s:o}", "return_id", s->return_id, "version",
        (json_int_t)s->version, "status", status_of(s, handled), "attention", s->attention, "compensated",
        s->cancelled ? json_boolean(undone) : json_null(), "requested_at", rows_time_json(r, REQUESTED_AT), "published",
        s->request.then, "request", request_json(r), "teams", list, "submitted_at", rows_time_json(r, SUBMITTED_AT),
        "published_at", s->request.then ? rows_time_json(r, PUBLISHED_AT) : json_null());
}

json_t *state_read(struct connection *reader, const struct rows *r, const struct bound *b, bool listed) {
    bool now = past_is_now(b), moment = b->at != INT64_MAX;
    struct state s = state_of(reader, r, b);
    s.listed = listed && now;
    if (!s.requested || (!now && !moment && b->version > s.newest))
        return json_pack(
            "{s:s, s:o, s:I}", "return_id", s.return_id, "requested_at", rows_time_json(r, REQUESTED_AT), "versions",
            (json_int_t)s.newest);
    s.teams = json_object();
    json_t *one = state_json(&s, r);
    json_decref(s.teams);
    if (now) return one;
    json_add(
        one, "{s:I, s:o, s:o, s:o}", "versions", (json_int_t)s.newest, moment ? "as_of" : "at_version",
        moment ? time_json(b->at) : json_integer(b->version), "previous", version_or_null(s.previous), "next",
        version_or_null(s.next));
    return one;
}
