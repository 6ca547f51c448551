#include "support/returns/fold.h"

#include "support/request/events.h"
#include "support/returns/orders.h"
#include "support/returns/state.h"

#include "chassis/outgoing/snapshots.h"

#include <string.h>

static const char self[] = "support";

struct request_event { /* what every RefundRequest says, whoever published it */
    const char *order_id, *model, *shipment_id, *serial_number, *location;
    struct money cost;
    const char *reason_code, *channel; /* older requests have neither */
};
static const struct field request_event_fields[] = {
    FIELD_ID(struct request_event, order_id),
    FIELD_ID(struct request_event, model),
    FIELD_ID(struct request_event, shipment_id),
    FIELD_ID(struct request_event, serial_number),
    FIELD_TEXT(struct request_event, location),
    FIELD_MONEY(struct request_event, cost),
    {"reason_code", TYPE_TEXT, offsetof(struct request_event, reason_code), "OTHER"},
    {"channel", TYPE_TEXT, offsetof(struct request_event, channel), "unknown"},
};

static struct value moment_value(int64_t ms) {
    return ms > 0 ? value_int(ms) : value_text(NULL);
}

/* --- History */

static verdict history_add(struct reaction *r, struct failure *why) {
    const struct event *e = r->event;
    char trace[TRACE_ID];
    text_auto data = json_dumps(written_json(e->written), JSON_COMPACT);
    text_auto headers = event_headers(e);
    if (!data || !headers) return fail(why, RETRY, "out of memory");
    (void)store_run(
        r->store,
        "INSERT INTO history (return_id, event_id, team, type, version, at, topic, partition, record_offset, trace_id, data, "
        "recorded_at, headers, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_text(e->return_id), value_blob(e->id.bytes, sizeof e->id.bytes), value_text(e->source),
        value_text(e->type), value_int(e->version), value_int(e->occurred_at), value_text(e->topic),
        value_int(e->partition), value_int(e->offset), value_text(trace_id(e->trace_parent, trace)), value_text(data),
        moment_value(e->recorded_at), value_text(headers), value_blob(e->bytes, e->bytes_n));
    snapshot_due(r->store, e->return_id);
    return OK;
}

/* The newest by what the events say, not by when they came. */
static void team_note(struct reaction *r) {
    const struct event *e = r->event;
    (void)store_run(
        r->store,
        "INSERT INTO team (team, last_type, last_return, last_at, last_event) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (team) DO UPDATE SET last_type = excluded.last_type, "
        "last_return = excluded.last_return, last_at = excluded.last_at, last_event = excluded.last_event "
        "WHERE team.last_at IS NULL OR team.last_event IS NULL OR "
        "(team.last_at, team.last_event) < (excluded.last_at, excluded.last_event)",
        value_text(e->source), value_text(state_event_name(e->type)), value_text(e->return_id),
        value_int(e->occurred_at), value_blob(e->id.bytes, sizeof e->id.bytes));
}

/* The newest counts: they are read again at each start. */
void fold_put_aside(struct connection *c, const struct put_aside *l) {
    (void)store_run(
        c,
        "INSERT INTO letter (team, partition, record_offset, at, reason, answered_at, redriven) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (partition, record_offset, team) DO UPDATE SET at = excluded.at, reason = excluded.reason, "
        "answered_at = excluded.answered_at, redriven = excluded.redriven "
        "WHERE excluded.at > letter.at OR (excluded.at = letter.at AND excluded.redriven > letter.redriven)",
        value_text(l->service), value_int(l->partition), value_int(l->offset), value_int(l->at), value_text(l->reason),
        value_int(l->answered_at), value_int(l->redriven));
}

bool fold_publishes(struct connection *c, const char *service) {
    return store_int(c, 0, "SELECT COUNT(*) FROM team WHERE team = ?", value_text(service));
}

/* --- What support's own events change */

static bool is_in_topic(const struct event *e) {
    return e->topic && *e->topic; /* else it was only decided yet */
}

/* Teams undo what they did for every RefundCancelled, so it counts before a ReturnClosed, whichever came first, and of
 * several the one with the lowest version, then the lowest place. Does nothing while the return is not known: its
 * request makes up for that. */
static void change_apply(struct connection *c, const struct event *e) {
    bool cancelled = !strcmp(e->type, SUPPORT_EVENT(REFUND_CANCELLED)), in_topic = is_in_topic(e);
    struct value version = value_int(e->version), id = value_text(e->return_id), none = value_text(NULL);
    if (!cancelled && strcmp(e->type, SUPPORT_EVENT(RETURN_CLOSED)) != 0) return;
    (void)store_run(
        c, "UPDATE return_request SET version = ? WHERE return_id = ? AND version < ?", version, id, version);
    if (cancelled)
        (void)store_run(
            c,
            "UPDATE return_request SET state = 'cancelled', cancelled_version = ?, cancelled_at = ?, "
            "cancelled_partition = ?, cancelled_offset = ? WHERE return_id = ? AND (state <> 'cancelled' OR "
            "cancelled_version > ? OR cancelled_version = ? AND (cancelled_offset IS NULL OR "
            "(cancelled_partition, cancelled_offset) > (?, ?)))",
            version, value_int(e->occurred_at), in_topic ? value_int(e->partition) : none,
            in_topic ? value_int(e->offset) : none, id, version, version,
            value_int(in_topic ? e->partition : INT64_MAX), value_int(in_topic ? e->offset : INT64_MAX));
    else
        (void)store_run(c, "UPDATE return_request SET state = 'closed' WHERE return_id = ? AND state = 'open'", id);
}

/* Once it is decided, and again when it comes back from the topic. */
static void own_fold(struct connection *c, const struct event *own) {
    (void)store_run(
        c,
        "INSERT INTO return_version (return_id, version, event_id, type, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_text(own->return_id), value_int(own->version), value_blob(own->id.bytes, sizeof own->id.bytes),
        value_text(own->type), value_int(own->occurred_at));
    change_apply(c, own);
}

/* What was there before its request: that one was put aside, or comes from elsewhere. */
static void changes_before(struct connection *c, const char *return_id) {
    for (struct rows r = store_rows(
             c,
             "SELECT type, topic, version, at, partition, record_offset FROM history WHERE return_id = ? AND team = ?",
             value_text(return_id), value_text(self));
         rows_next(&r);)
        change_apply(
            c, &(struct event){
                   .return_id = return_id,
                   .type = rows_text(&r, 0),
                   .topic = rows_text(&r, 1),
                   .version = rows_int(&r, 2),
                   .occurred_at = rows_int(&r, 3),
                   .partition = (int32_t)rows_int(&r, 4),
                   .offset = rows_int(&r, 5)});
}

static verdict note(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields;
    const struct event *e = r->event;
    verdict v = e->return_id ? history_add(r, why) : OK;
    if (v != OK) return v;
    team_note(r);
    if (e->return_id && !strcmp(e->source, self)) own_fold(r->store, e);
    if (e->return_id && state_is_declined(e->type))
        (void)store_run(
            r->store, "INSERT INTO attention (return_id) VALUES (?) ON CONFLICT DO NOTHING", value_text(e->return_id));
    reaction_audit(r, "handled", "note", "%s: %s", e->source, state_event_name(e->type));
    return OK;
}

/* --- Requests and orders */

/* Where it is in the topic is known only once it comes back from there. */
static void request_add(struct connection *c, const struct event *e, const struct request_event *q) {
    bool in_topic = is_in_topic(e);
    (void)store_run(
        c,
        "INSERT INTO return_request (return_id, version, requested_at, order_id, model, shipment_id, serial_number, location, "
        "cost_minor, cost_currency, reason_code, channel, state, partition, record_offset, published_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, ?) "
        "ON CONFLICT (return_id) DO UPDATE SET partition = excluded.partition, record_offset = excluded.record_offset, "
        "published_at = excluded.published_at WHERE return_request.record_offset IS NULL",
        value_text(e->return_id), value_int(e->version), value_int(e->occurred_at), value_text(q->order_id),
        value_text(q->model), value_text(q->shipment_id), value_text(q->serial_number), value_text(q->location),
        value_int(q->cost.minor), value_text(q->cost.currency), value_text(q->reason_code), value_text(q->channel),
        in_topic ? value_int(e->partition) : value_text(NULL), in_topic ? value_int(e->offset) : value_text(NULL),
        moment_value(e->recorded_at));
    changes_before(c, e->return_id);
}

void fold_decided(struct connection *c, const struct event *own) {
    static const size_t n = sizeof request_event_fields / sizeof *request_event_fields;
    struct request_event q;
    struct failure why;
    own_fold(c, own);
    if (strcmp(own->type, SUPPORT_EVENT(REFUND_REQUEST)) != 0) return;
    if (project(own->written, request_event_fields, n, &q, &why) == OK)
        request_add(c, own, &q);
    else
        store_spoil(c, REJECT, why.text);
}

/* Either this service's own, come back from the topic, or one that another client published: then it is a fact as well,
 * also when its item is in an open return already, and what only the form asks for is not known. */
static verdict note_request(struct reaction *r, const void *fields, struct failure *why) {
    /* Of another topic than the one that the teams read, it is no request. */
    if (!strcmp(r->event->source, self)) request_add(r->store, r->event, fields);
    return note(r, NULL, why);
}

static verdict note_order(struct reaction *r, const void *fields, struct failure *why) {
    verdict v = orders_fold(r, why);
    return v == OK ? note(r, fields, why) : v;
}

const struct handler fold_handlers[] = {
    {SUPPORT_EVENT(REFUND_REQUEST), FIELDS(request_event_fields, struct request_event), note_request},
    {"returns.sales.CustomerRegistered", NULL, 0, 0, note_order},
    {"returns.sales.OrderPlaced", NULL, 0, 0, note_order},
    {"returns.sales.OrderChanged", NULL, 0, 0, note_order},
    {"returns.sales.OrderCompleted", NULL, 0, 0, note_order},
    {"*", NULL, 0, 0, note},
    {0}};

/* --- Subscribers */

/* Of one that publishes, its events tell more. */
void fold_passed(struct connection *c, const char *team, int64_t partition, int64_t next_offset) {
    if (fold_publishes(c, team)) return;
    (void)store_run(
        c, "INSERT INTO passed (team, partition, next_offset, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_text(team), value_int(partition), value_int(next_offset), value_int(clock_ms()));
}
