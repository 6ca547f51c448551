/* orders: sales' customers, which are companies, and what they ordered. The events of sales' own make the tables, and
 * nothing else writes to them: CustomerRegistered, OrderPlaced, OrderChanged, OrderCompleted.
 *
 *     a person ─▶ desk.c checks (order_input.c) and decides ─▶ orders_decided() ─▶ customer, customer_order, order_item
 *     RefundRequest ─▶ sales.c ─▶ orders_allow() reads them                                                          */
#pragma once

#include "chassis/events/reaction.h"

#include <jansson.h>
#include <stdbool.h>

void orders_decided(struct connection *c, const struct event *own); /* service.decided */

/* Whether an item of an order may be refunded at that cost. False: `reason` says why not, for people. An order that
 * sales never had may be refunded where the policy unknown-orders says so. */
enum { ORDERS_REASON = 400 };
bool orders_allow(
    struct reaction *r, const char *order_id, const char *serial_number, const struct money *cost,
    char reason[ORDERS_REASON]);

/* --- Queries. The JSON is the caller's. */

/* {"customer_id","version","name","location","registered_at"}. NULL: no such customer. */
MUST_CHECK json_t *orders_customer(struct connection *c, const char *customer_id);

/* {"customers":[…],"next":id or null}, newest first. before: only what was registered before that one, or NULL. NULL:
 * there is no such customer. */
MUST_CHECK json_t *orders_customers(struct connection *reader, const char *before, int limit);

/* {"order_id","version","state","customer_id","shipment_id","placed_at","changed_at","last_line","items":[{"line",
 * "model","price":{"amount","currency"},"serial_number"}]}, the state being placed or completed. NULL: no such order.
 */
MUST_CHECK json_t *orders_read(struct connection *reader, const char *order_id);
MUST_CHECK json_t *orders_one(struct connection *c, const char *order_id); /* the same within a transaction */

/* {"orders":[… with "items" as a number],"next":id or null}, newest first. Of that customer, or of all (NULL). NULL:
 * `before` is no order. */
MUST_CHECK json_t *orders_page(struct connection *reader, const char *customer_id, const char *before, int limit);

/* The order, other than that one, that has the device. The caller's. NULL: none. */
MUST_CHECK char *orders_holder(struct connection *c, const char *serial_number, const char *but_order_id);
