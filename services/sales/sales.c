/* sales refunds an order item, once. */
#include "desk.h"
#include "orders.h"

#include "chassis/service.h"

struct request {
    const char *order_id, *serial_number;
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_TEXT(struct request, order_id),
    FIELD_TEXT(struct request, serial_number),
    FIELD_MONEY(struct request, cost),
};

static json_t *item(const struct request *q) {
    return json_pack("{s:s, s:s}", "order_id", q->order_id, "serial_number", q->serial_number);
}

static verdict decline(struct reaction *r, const struct request *q, const char *reason) {
    json_t *declined = item(q);
    json_object_set_new(declined, "reason", json_string(reason));
    reaction_emit(r, "RefundDeclined", declined);
    reaction_audit(r, "declined", "decline the refund", "order %s, item %s: %s", q->order_id, q->serial_number, reason);
    return OK;
}

static verdict refund(struct reaction *r, const void *fields, struct failure *why) {
    (void)why;
    const struct request *q = fields;
    char reason[ORDERS_REASON];
    if (!orders_allow(r, q->order_id, q->serial_number, &q->cost, reason)) return decline(r, q, reason);
    bool first =
        store_run(
            r->store,
            "INSERT INTO refund (order_id, serial_number, return_id, refunded_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            value_text(q->order_id), value_text(q->serial_number), value_text(r->event->return_id),
            value_int(clock_ms())) == 1;
    if (first) {
        reaction_emit(r, "OrderRefunded", item(q));
        reaction_audit(r, "handled", "refund the order", "order %s, item %s", q->order_id, q->serial_number);
        return OK;
    }
    return decline(r, q, "this item of the order was refunded before");
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), refund},
    {0},
};

static const struct policy policies[] = {{"unknown-orders", "decline refund"}, {0}};

static const struct resource resources[] = {
    {.path = "/customers",
     .page = "customers.html",
     .get = desk_customers_get,
     .post = desk_customers_post,
     .nav = "Customers"},
    {.path = "/customers/{id}", .page = "customer.html", .get = desk_customer_get},
    {.path = "/orders", .page = "orders.html", .get = desk_orders_get, .post = desk_orders_post, .nav = "Orders"},
    {.path = "/orders/new", .api_path = "", .page = "order_new.html", .get = desk_order_new_get},
    {.path = "/orders/{id}", .page = "order.html", .get = desk_order_get},
    {.path = "/orders/{id}/change",
     .api_path = "",
     .page = "order.html",
     .get = desk_back_get,
     .post = desk_change_post},
    {.path = "/orders/{id}/complete",
     .api_path = "",
     .page = "order.html",
     .get = desk_back_get,
     .post = desk_complete_post},
    {.api_path = "/api/orders/{id}/change", .post = desk_change_post},
    {.api_path = "/api/orders/{id}/complete", .post = desk_complete_post},
    {0}};

static const struct view views[] = {
    {"Latest refunds",
     "SELECT refunded_at AS \"Refunded\", order_id AS \"Order\", serial_number AS \"Item\", return_id AS \"Return\" FROM refund ORDER BY refunded_at DESC LIMIT 10",
     .moments = "Refunded"},
    {0},
};

const struct service service = {
    .title = "Sales",
    .duty = "Takes orders, and refunds the item of a returned device, once.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/order-refund-requests", "returns.support.RefundRequest"},
    .views = views,
    .policies = policies,
    .resources = resources,
    .decided = orders_decided,
};
