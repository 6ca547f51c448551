/* manufacturing queues one disassembly order for each defective item, at the site of its location, and withdraws it
 * when the return is cancelled. */
#include "manufacturing.h"
#include "chassis/events/cancelled.h"

#include <stdio.h>

struct request {
    const char *serial_number, *location;
};
static const struct field request_fields[] = {
    FIELD_ID(struct request, serial_number),
    FIELD_TEXT(struct request, location),
};

static json_t *item(const struct request *q) {
    return json_pack("{s:s, s:s}", "serial_number", q->serial_number, "location", q->location);
}

static json_t *item_at(const struct request *q, const char *site) {
    return json_pack("{s:s, s:s, s:s}", "serial_number", q->serial_number, "location", q->location, "site", site);
}

/* --- Sites */

enum { SITE_SIZE = 200 };

static void site_of(struct connection *store, const char *location, char site[SITE_SIZE]) {
    snprintf(site, SITE_SIZE, "Central works");
    for (struct rows r = store_rows(store, "SELECT site FROM site WHERE location = ?", value_text(location));
         rows_next(&r);)
        snprintf(site, SITE_SIZE, "%s", rows_text(&r, 0));
}

static void site_count(struct connection *store, const char *site, int more) {
    if (!store_run(
            store, "UPDATE site_queue SET queued = queued + ? WHERE site = ?", value_int(more), value_text(site)))
        (void)store_run(
            store, "INSERT INTO site_queue (site, queued) VALUES (?, ?)", value_text(site), value_int(more));
}

/* --- A request */

/* False: the item is queued already, or the return was answered before: decline() tells which. */
static bool queue_item(struct reaction *r, const struct request *q, const char *site) {
    bool first =
        store_run(
            r->store,
            "INSERT INTO disassembly_order (return_id, version, serial_number, location, site, state, asked_at, queued_at) "
            "VALUES (?, ?, ?, ?, ?, 'queued', ?, ?) ON CONFLICT DO NOTHING",
            value_text(r->event->return_id), value_int(r->event->version), value_text(q->serial_number),
            value_text(q->location), value_text(site), value_int(r->now), value_int(r->now)) == 1;
    if (first) site_count(r->store, site, 1);
    return first;
}

/* It waits until the order that is there is withdrawn. REJECT: the return was answered before. */
static verdict decline(struct reaction *r, const struct request *q, const char *site, struct failure *why) {
    if (!store_run(
            r->store,
            "INSERT INTO disassembly_order (return_id, version, serial_number, location, site, state, place, asked_at) "
            "VALUES (?, ?, ?, ?, ?, 'waiting', (SELECT COALESCE(MAX(place), 0) + 1 FROM disassembly_order "
            "WHERE serial_number = ? AND state = 'waiting'), ?) ON CONFLICT (return_id) DO NOTHING",
            value_text(r->event->return_id), value_int(r->event->version), value_text(q->serial_number),
            value_text(q->location), value_text(site), value_text(q->serial_number), value_int(r->now)))
        return reaction_answered(r, why);
    reaction_emit(
        r, "DisassemblyDeclined",
        json_pack(
            "{s:s, s:s, s:s}", "serial_number", q->serial_number, "location", q->location, "reason",
            "this item is queued for disassembly already"));
    reaction_audit(r, "declined", "leave the queue as it is", "item %s is queued already", q->serial_number);
    return OK;
}

static verdict queue(struct reaction *r, const void *fields, struct failure *why) {
    const struct request *q = fields;
    if (cancelled_before(r)) return OK;
    char site[SITE_SIZE];
    site_of(r->store, q->location, site);
    if (!queue_item(r, q, site)) return decline(r, q, site, why);
    reaction_emit(r, "DisassemblyOrdered", item_at(q, site));
    reaction_audit(r, "handled", "queue for disassembly", "item %s from %s at %s", q->serial_number, q->location, site);
    return OK;
}

/* --- Its cancellation */

/* The item is queued for the return that has waited for it longest. */
static void queue_next(struct reaction *r, const struct request *withdrawn) {
    struct rows next = store_rows(
        r->store,
        "UPDATE disassembly_order SET state = 'queued', queued_at = ? WHERE return_id = (SELECT return_id FROM disassembly_order "
        "WHERE serial_number = ? AND state = 'waiting' ORDER BY place LIMIT 1) RETURNING return_id, version, location, site",
        value_int(r->now), value_text(withdrawn->serial_number));
    while (rows_next(&next)) {
        const struct request q = {withdrawn->serial_number, rows_text(&next, 2)};
        site_count(r->store, rows_text(&next, 3), 1);
        reaction_emit_for(
            r, rows_text(&next, 0), rows_int(&next, 1), "DisassemblyOrdered", item_at(&q, rows_text(&next, 3)));
        reaction_audit(
            r, "handled", "withdraw the order", "item %s; queued for return %s at %s instead, which was declined",
            q.serial_number, rows_text(&next, 0), rows_text(&next, 3));
    }
}

static void withdraw_order(struct reaction *r, const struct request *q, const char *site) {
    site_count(r->store, site, -1);
    reaction_emit(r, "DisassemblyOrderWithdrawn", item_at(q, site));
    reaction_audit(r, "handled", "withdraw the order", "item %s from %s at %s", q->serial_number, q->location, site);
    queue_next(r, q);
}

static void withdraw_request(struct reaction *r, const struct request *q) {
    reaction_emit(r, "DisassemblyRequestWithdrawn", item(q));
    reaction_audit(r, "handled", "withdraw the request", "item %s from %s", q->serial_number, q->location);
}

static verdict cancel(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields, (void)why;
    if (!cancelled_note(r)) return OK;
    cancelled_audit(r);
    struct rows own = store_rows(
        r->store,
        "UPDATE disassembly_order SET state = 'withdrawn', ended_at = ? WHERE return_id = ? "
        "RETURNING serial_number, location, site, queued_at",
        value_int(r->now), value_text(r->event->return_id));
    while (rows_next(&own)) {
        const struct request q = {rows_text(&own, 0), rows_text(&own, 1)};
        if (rows_null(&own, 3)) /* not RETURNING queued_at IS NULL: wrong in SQLite 3.40, right in 3.46 */
            withdraw_request(r, &q);
        else
            withdraw_order(r, &q, rows_text(&own, 2));
    }
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), queue},
    {.type = "returns.support.RefundCancelled", .handle = cancel},
    {0},
};

const struct service service = {
    .title = "Manufacturing",
    .duty = "Queues one disassembly order for each defective item, at the site of its location.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/disassembly-orders", "returns.support.RefundRequest"},
    .views = manufacturing_views,
};
