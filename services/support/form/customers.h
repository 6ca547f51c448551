/* customers: what support can say of a customer and of an order: its copy of what sales published (orders.h), joined
 * with the returns of them. */
#pragma once

#include "chassis/web/http.h"

struct connection;

/* --- Queries. The JSON is the caller's. */

/* {"customers":[{"customer_id","name","location","registered_at","order_count","open_return_count"}],"total","next"},
 * by name. total: how many there are that fit. q: what name or id hold, in whatever letters, or NULL. after: only those
 * behind that customer, or NULL. next: for the next page, or null. NULL: there is no customer `after`. */
MUST_CHECK json_t *customers_page(struct connection *reader, const char *q, const char *after, int limit);

/* Without their orders. NULL: no such customer. */
MUST_CHECK json_t *customers_one(struct connection *reader, const char *customer_id);

/* {"orders":[{"order_id","customer_id","shipment_id","status","version","placed_at","changed_at","completed_at",
 * "items":[…]}],"next"}, newest first. NULL: there is no order `before`. */
MUST_CHECK json_t *customers_orders(struct connection *reader, const char *customer_id, const char *before, int limit);

/* One order, with "items":[{"line","model","price":{"amount","currency"},"serial_number","open_return",
 * "returns":[{"return_id","state"}]}]. open_return: the one that has the item now, whatever order it names. returns:
 * the newest 20. What is not known is null. NULL: no such order. */
MUST_CHECK json_t *customers_order(struct connection *reader, const char *order_id);

/* The newest returns, each as of returns_one(): of all that name the customer, or one of their orders, or of an order.
 */
MUST_CHECK json_t *customers_returns(struct connection *reader, const char *customer_id, int limit);
MUST_CHECK json_t *customers_order_returns(struct connection *reader, const char *order_id, int limit);

/* --- Pages and API, in customers_view.c. Each has "sales": {"state","text","last_event"} besides, as peers.h and
 * returns_last_event() have them: how fresh the copy is. */

void customers_get(struct exchange *x); /* /customers: customers_page() */
void customer_get(struct exchange *x);  /* /customers/{id}: customers_one(), customers_orders(), "returns" */
void order_get(struct exchange *x);     /* /orders/{id}: customers_order(), "customer", "returns" */

/* What is looked for, of a customer. False: it is too long, which was answered. */
enum { CUSTOMERS_QUERY_MAX = 200 }; /* characters */
bool customers_query_ok(struct exchange *x, const char *q);
/* For pages: of each item of an order, whether the form can start from it, and whether another order's return has it.
 */
void customers_view_order(json_t *order);
/* Whether the order and the customer of a return's request are known. */
void customers_view_request(struct connection *reader, json_t *request);
