/* sales refunds an order item, once at a time, and takes the refund back when the return is cancelled. The orders and
 * customers themselves, which it owns, are in orders.c and desk.c. */
#include "desk.h"
#include "orders.h"

#include "chassis/events/cancelled.h"
#include "chassis/events/service.h"

struct request {
    const char *order_id, *serial_number;
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_ID(struct request, order_id),
    FIELD_ID(struct request, serial_number),
    FIELD_MONEY(struct request, cost),
};

static json_t *item(const struct request *q) {
    return json_pack("{s:s, s:s}", "order_id", q->order_id, "serial_number", q->serial_number);
}

/* --- A request */

/* False: the item is refunded already, or the return was answered before: decline() tells which. */
static bool refund_item(struct reaction *r, const struct request *q) {
    return store_run(
               r->store,
               "INSERT INTO refund (return_id, version, order_id, serial_number, state, asked_at, refunded_at) "
               "VALUES (?, ?, ?, ?, 'refunded', ?, ?) ON CONFLICT DO NOTHING",
               value_text(r->event->return_id), value_int(r->event->version), value_text(q->order_id),
               value_text(q->serial_number), value_int(r->now), value_int(r->now)) == 1;
}

/* Of who waits for the item: the next free place. */
static struct value place_next(struct reaction *r, const struct request *q) {
    return value_int(store_int(
        r->store, 1,
        "SELECT COALESCE(MAX(place), 0) + 1 FROM refund WHERE order_id = ? AND serial_number = ? AND state = 'waiting'",
        value_text(q->order_id), value_text(q->serial_number)));
}

/* waits: it is refunded once nothing else holds the item. Otherwise it is declined for good. */
static verdict
decline(struct reaction *r, const struct request *q, bool waits, const char *reason, struct failure *why) {
    if (!store_run(
            r->store,
            "INSERT INTO refund (return_id, version, order_id, serial_number, state, place, asked_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (return_id) DO NOTHING",
            value_text(r->event->return_id), value_int(r->event->version), value_text(q->order_id),
            value_text(q->serial_number), value_text(waits ? "waiting" : "declined"),
            waits ? place_next(r, q) : value_text(NULL), value_int(r->now)))
        return reaction_answered(r, why);
    reaction_emit(
        r, "RefundDeclined",
        json_pack("{s:s, s:s, s:s}", "order_id", q->order_id, "serial_number", q->serial_number, "reason", reason));
    reaction_audit(r, "declined", "decline the refund", "order %s, item %s: %s", q->order_id, q->serial_number, reason);
    return OK;
}

static verdict refund(struct reaction *r, const void *fields, struct failure *why) {
    const struct request *q = fields;
    char reason[ORDERS_REASON];
    if (cancelled_before(r)) return OK;
    if (!orders_allow(r, q->order_id, q->serial_number, &q->cost, reason)) return decline(r, q, false, reason, why);
    if (!refund_item(r, q)) return decline(r, q, true, "this item of the order was refunded before", why);
    reaction_emit(r, "OrderRefunded", item(q));
    reaction_audit(r, "handled", "refund the order", "order %s, item %s", q->order_id, q->serial_number);
    return OK;
}

/* --- Its cancellation */

/* The item goes to the return that has waited for it longest. */
static void refund_next(struct reaction *r, const struct request *q) {
    struct rows next = store_rows(
        r->store,
        "UPDATE refund SET state = 'refunded', refunded_at = ? WHERE return_id = (SELECT return_id FROM refund "
        "WHERE order_id = ? AND serial_number = ? AND state = 'waiting' ORDER BY place LIMIT 1) RETURNING return_id, version",
        value_int(r->now), value_text(q->order_id), value_text(q->serial_number));
    while (rows_next(&next)) {
        reaction_emit_for(r, rows_text(&next, 0), rows_int(&next, 1), "OrderRefunded", item(q));
        reaction_audit(
            r, "handled", "reverse the refund", "order %s, item %s; refunded to return %s instead, which was declined",
            q->order_id, q->serial_number, rows_text(&next, 0));
    }
}

static verdict cancel(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields, (void)why;
    if (!cancelled_note(r)) return OK;
    cancelled_audit(r);
    struct rows own = store_rows(
        r->store,
        "UPDATE refund SET state = CASE state WHEN 'refunded' THEN 'reversed' ELSE 'withdrawn' END, ended_at = ? "
        "WHERE return_id = ? RETURNING order_id, serial_number, state = 'reversed'",
        value_int(r->now), value_text(r->event->return_id));
    while (rows_next(&own)) {
        const struct request q = {.order_id = rows_text(&own, 0), .serial_number = rows_text(&own, 1)};
        bool reversed = rows_int(&own, 2);
        reaction_emit(r, reversed ? "RefundReversed" : "RefundRequestWithdrawn", item(&q));
        reaction_audit(
            r, "handled", reversed ? "reverse the refund" : "withdraw the request", "order %s, item %s", q.order_id,
            q.serial_number);
        if (reversed) refund_next(r, &q);
    }
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), refund},
    {.type = "returns.support.RefundCancelled", .handle = cancel},
    {0},
};

static const struct policy policies[] = {{"unknown-orders", "decline refund"}, {0}};

static const struct resource resources[] = {
    {.path = "/customers",
     .page = "customers.html",
     .get = desk_customers_get,
     .post = desk_customers_post,
     .query = "limit before",
     .nav = "Customers"},
    {.path = "/customers/{id}", .page = "customer.html", .get = desk_customer_get},
    {.path = "/orders",
     .page = "orders.html",
     .get = desk_orders_get,
     .post = desk_orders_post,
     .query = "limit before customer",
     .nav = "Orders"},
    {.path = "/orders/new", .api_path = "", .page = "order_new.html", .get = desk_order_new_get, .query = "customer"},
    {.path = "/orders/{id}", .page = "order.html", .get = desk_order_get, .query = "from"},
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
    {.title = "Latest refunds",
     .sql =
         "SELECT COALESCE(ended_at, refunded_at, asked_at) AS \"Decided\", state AS \"State\", order_id AS \"Order\", "
         "serial_number AS \"Item\", return_id AS \"Return\" FROM refund "
         "ORDER BY COALESCE(ended_at, refunded_at, asked_at) DESC, return_id DESC LIMIT 10",
     .as_of =
         "SELECT CASE WHEN ended_at <= ? THEN ended_at WHEN refunded_at <= ? THEN refunded_at ELSE asked_at END AS \"Decided\", "
         "CASE WHEN ended_at <= ? THEN state WHEN refunded_at <= ? THEN 'refunded' WHEN place IS NULL THEN 'declined' "
         "ELSE 'waiting' END AS \"State\", order_id AS \"Order\", serial_number AS \"Item\", return_id AS \"Return\" "
         "FROM refund WHERE asked_at <= ? ORDER BY 1 DESC, 5 DESC LIMIT 10",
     .moments = "Decided"},
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
