/* inventory ships a replacement from stock, or backorders it, and recalls it when the return is cancelled. */
#include "inventory.h"
#include "chassis/events/cancelled.h"

struct request {
    const char *model, *shipment_id;
};
static const struct field request_fields[] = {
    FIELD_ID(struct request, model),
    FIELD_ID(struct request, shipment_id),
};

static json_t *piece(const struct request *q) {
    return json_pack("{s:s, s:s}", "model", q->model, "shipment_id", q->shipment_id);
}

static json_t *piece_and_stock(const struct request *q, int64_t on_hand) {
    return json_pack(
        "{s:s, s:s, s:I}", "model", q->model, "shipment_id", q->shipment_id, "on_hand", (json_int_t)on_hand);
}

/* --- Stock, and who waits for it */

/* Takes one from stock. Returns what is left, or -1 when there was none. A model that we never had counts as none. */
static int64_t stock_take(struct connection *store, const char *model) {
    if (!store_run(
            store, "UPDATE stock SET on_hand = on_hand - 1, shipped = shipped + 1 WHERE model = ? AND on_hand > 0",
            value_text(model)))
        return -1;
    return store_int(store, -1, "SELECT on_hand FROM stock WHERE model = ?", value_text(model));
}

/* Puts one back that was shipped. Returns how many there are then. */
static int64_t stock_return(struct connection *store, const char *model) {
    return store_int(
        store, 0, "UPDATE stock SET on_hand = on_hand + 1, recalled = recalled + 1 WHERE model = ? RETURNING on_hand",
        value_text(model));
}

static void backorder_count(struct connection *store, const char *model, int more) {
    if (!store_run(
            store, "UPDATE backorder SET waiting = waiting + ? WHERE model = ?", value_int(more), value_text(model)))
        (void)store_run(
            store, "INSERT INTO backorder (model, waiting) VALUES (?, ?)", value_text(model), value_int(more));
}

/* --- A request */

static verdict ship(struct reaction *r, const struct request *q, int64_t on_hand, struct failure *why) {
    if (!store_run(
            r->store,
            "INSERT INTO replacement (return_id, version, model, shipment_id, state, asked_at, shipped_at) "
            "VALUES (?, ?, ?, ?, 'shipped', ?, ?) ON CONFLICT (return_id) DO NOTHING",
            value_text(r->event->return_id), value_int(r->event->version), value_text(q->model),
            value_text(q->shipment_id), value_int(r->now), value_int(r->now)))
        return reaction_answered(r, why);
    reaction_emit(r, "ReplacementShipped", piece_and_stock(q, on_hand));
    reaction_audit(
        r, "handled", "ship a replacement", "%s for shipment %s; %lld left", q->model, q->shipment_id,
        (long long)on_hand);
    return OK;
}

static verdict backorder(struct reaction *r, const struct request *q, struct failure *why) {
    if (!store_run(
            r->store,
            "INSERT INTO replacement (return_id, version, model, shipment_id, state, place, asked_at) VALUES (?, ?, ?, ?, 'backordered', "
            "(SELECT COALESCE(MAX(place), 0) + 1 FROM replacement WHERE model = ? AND state = 'backordered'), ?) "
            "ON CONFLICT (return_id) DO NOTHING",
            value_text(r->event->return_id), value_int(r->event->version), value_text(q->model),
            value_text(q->shipment_id), value_text(q->model), value_int(r->now)))
        return reaction_answered(r, why);
    backorder_count(r->store, q->model, 1);
    reaction_emit(r, "ReplacementBackordered", piece(q));
    reaction_audit(
        r, "handled", "backorder a replacement", "%s for shipment %s: none in stock", q->model, q->shipment_id);
    return OK;
}

static verdict replace(struct reaction *r, const void *fields, struct failure *why) {
    const struct request *q = fields;
    if (cancelled_before(r)) return OK;
    int64_t on_hand = stock_take(r->store, q->model);
    return on_hand >= 0 ? ship(r, q, on_hand, why) : backorder(r, q, why);
}

/* --- Its cancellation */

/* What is back in stock goes to the oldest backorder of its model. */
static void ship_next(struct reaction *r, const struct request *recalled) {
    struct rows next = store_rows(
        r->store,
        "UPDATE replacement SET state = 'shipped', shipped_at = ? WHERE return_id = (SELECT return_id FROM replacement "
        "WHERE model = ? AND state = 'backordered' ORDER BY place LIMIT 1) RETURNING return_id, version, shipment_id",
        value_int(r->now), value_text(recalled->model));
    while (rows_next(&next)) {
        const struct request q = {recalled->model, rows_text(&next, 2)};
        backorder_count(r->store, q.model, -1);
        reaction_emit_for(
            r, rows_text(&next, 0), rows_int(&next, 1), "ReplacementShipped",
            piece_and_stock(&q, stock_take(r->store, q.model)));
        reaction_audit(
            r, "handled", "recall the replacement", "%s for shipment %s; shipped for return %s, which waited for it",
            q.model, recalled->shipment_id, rows_text(&next, 0));
    }
}

static void recall(struct reaction *r, const struct request *q) {
    int64_t on_hand = stock_return(r->store, q->model);
    reaction_emit(r, "ShipmentRecalled", piece_and_stock(q, on_hand));
    reaction_audit(
        r, "handled", "recall the replacement", "%s for shipment %s; %lld in stock", q->model, q->shipment_id,
        (long long)on_hand);
    ship_next(r, q);
}

static void withdraw(struct reaction *r, const struct request *q) {
    backorder_count(r->store, q->model, -1);
    reaction_emit(r, "BackorderWithdrawn", piece(q));
    reaction_audit(r, "handled", "withdraw the backorder", "%s for shipment %s", q->model, q->shipment_id);
}

static verdict cancel(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields, (void)why;
    if (!cancelled_note(r)) return OK;
    cancelled_audit(r);
    struct rows own = store_rows(
        r->store,
        "UPDATE replacement SET state = CASE state WHEN 'shipped' THEN 'recalled' ELSE 'withdrawn' END, ended_at = ? "
        "WHERE return_id = ? RETURNING model, shipment_id, state = 'recalled'",
        value_int(r->now), value_text(r->event->return_id));
    while (rows_next(&own)) {
        const struct request q = {rows_text(&own, 0), rows_text(&own, 1)};
        if (rows_int(&own, 2))
            recall(r, &q);
        else
            withdraw(r, &q);
    }
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), replace},
    {.type = "returns.support.RefundCancelled", .handle = cancel},
    {0},
};

const struct service service = {
    .title = "Inventory",
    .duty = "Ships a replacement from stock, or backorders it when there is none.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/shipment-requests", "returns.support.RefundRequest"},
    .views = inventory_views,
};
