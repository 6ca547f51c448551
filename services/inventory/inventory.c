/* inventory ships a replacement from stock, or backorders it. */
#include "chassis/service.h"

struct request {
    const char *model, *shipment_id;
};
static const struct field request_fields[] = {
    FIELD_TEXT(struct request, model),
    FIELD_TEXT(struct request, shipment_id),
};

/* Takes one from stock. Returns what is left, or -1 when there was none; a model that we never had counts as none. */
static int64_t take_one(struct connection *store, const char *model) {
    return store_int(
        store, -1,
        "UPDATE stock SET on_hand = on_hand - 1, shipped = shipped + 1 WHERE model = ? AND on_hand > 0 RETURNING on_hand",
        value_text(model));
}

static void keep(struct reaction *r, const struct request *q, const char *state) {
    (void)store_run(
        r->store, "INSERT INTO replacement (return_id, model, shipment_id, state, decided_at) VALUES (?, ?, ?, ?, ?)",
        value_text(r->event->return_id), value_text(q->model), value_text(q->shipment_id), value_text(state),
        value_int(r->now));
}

static verdict ship(struct reaction *r, const void *fields, struct failure *why) {
    const struct request *q = fields;
    if (store_int(r->store, 0, "SELECT 1 FROM replacement WHERE return_id = ?", value_text(r->event->return_id)))
        return fail(
            why, REJECT, "return \"%s\" was answered with a replacement before, by another event", r->event->return_id);
    int64_t on_hand = take_one(r->store, q->model);
    if (on_hand >= 0) {
        keep(r, q, "shipped");
        reaction_emit(
            r, "ReplacementShipped",
            json_pack(
                "{s:s, s:s, s:I}", "model", q->model, "shipment_id", q->shipment_id, "on_hand", (json_int_t)on_hand));
        reaction_audit(
            r, "handled", "ship a replacement", "%s for shipment %s; %lld left", q->model, q->shipment_id,
            (long long)on_hand);
    } else {
        keep(r, q, "backordered");
        (void)store_run(
            r->store,
            "INSERT INTO backorder (model, waiting) VALUES (?, 1) ON CONFLICT (model) DO UPDATE SET waiting = backorder.waiting + 1",
            value_text(q->model));
        reaction_emit(
            r, "ReplacementBackordered", json_pack("{s:s, s:s}", "model", q->model, "shipment_id", q->shipment_id));
        reaction_audit(
            r, "handled", "backorder a replacement", "%s for shipment %s: none in stock", q->model, q->shipment_id);
    }
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), ship},
    {0},
};

static const struct view views[] = {
    {.title = "Stock",
     .sql =
         "SELECT model AS \"Model\", initial AS \"Initial\", shipped AS \"Shipped\", recalled AS \"Recalled\", on_hand AS \"On hand\" FROM stock ORDER BY model"},
    {.title = "Backorders",
     .sql = "SELECT model AS \"Model\", waiting AS \"Waiting\" FROM backorder ORDER BY waiting DESC LIMIT 10"},
    {"Latest replacements",
     "SELECT decided_at AS \"Decided\", model AS \"Model\", state AS \"State\", shipment_id AS \"Shipment\", return_id AS \"Return\" FROM replacement ORDER BY decided_at DESC LIMIT 10",
     .moments = "Decided"},
    {0},
};

const struct service service = {
    .title = "Inventory",
    .duty = "Ships a replacement from stock, or backorders it when there is none.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/shipment-requests", "returns.support.RefundRequest"},
    .views = views,
};
