/* sales refunds an order item, once. */
#include "chassis/service.h"

struct request {
    const char *order_id, *serial_number;
};
static const struct field request_fields[] = {
    FIELD_TEXT(struct request, order_id),
    FIELD_TEXT(struct request, serial_number),
};

static json_t *item(const struct request *q) {
    return json_pack("{s:s, s:s}", "order_id", q->order_id, "serial_number", q->serial_number);
}

static verdict refund(struct reaction *r, const void *fields, struct failure *why) {
    (void)why;
    const struct request *q = fields;
    bool first =
        store_run(
            r->store,
            "INSERT INTO refund (order_id, serial_number, return_id, refunded_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            value_text(q->order_id), value_text(q->serial_number), value_text(r->event->return_id),
            value_int(r->now)) == 1;
    if (first) {
        reaction_emit(r, "OrderRefunded", item(q));
        reaction_audit(r, "handled", "refund the order", "order %s, item %s", q->order_id, q->serial_number);
        return OK;
    }
    json_t *declined = item(q);
    json_object_set_new(declined, "reason", json_string("this item of the order was refunded before"));
    reaction_emit(r, "RefundDeclined", declined);
    reaction_audit(
        r, "declined", "decline the refund", "order %s, item %s: refunded before", q->order_id, q->serial_number);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), refund},
    {0},
};

static const struct view views[] = {
    {"Latest refunds",
     "SELECT refunded_at AS \"Refunded\", order_id AS \"Order\", serial_number AS \"Item\", return_id AS \"Return\" FROM refund ORDER BY refunded_at DESC LIMIT 10",
     .moments = "Refunded"},
    {0},
};

const struct service service = {
    .title = "Sales",
    .duty = "Refunds the order item of a returned device, once.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/order-refund-requests", "returns.support.RefundRequest"},
    .views = views,
};
