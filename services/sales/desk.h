/* desk: where people and programs register customers and place, change and complete orders: pages, and the same by API.
 * What is accepted is an event (orders.h), its effect, its audit row and its answer in one transaction. */
#pragma once

#include "chassis/web/http.h"

void desk_customers_get(struct exchange *x);
void desk_customers_post(struct exchange *x); /* 201 with Location, or 303. 409: there is one of that id */
void desk_customer_get(struct exchange *x);
void desk_orders_get(struct exchange *x);
void desk_orders_post(struct exchange *x); /* 409 as well when a device is in another order */
void desk_order_new_get(struct exchange *x);
void desk_back_get(struct exchange *x);  /* to the order, from an address that only a form goes to */
void desk_order_get(struct exchange *x); /* its version is its ETag */

/* If-Match names the version, or the form's field: 428 without, 412 when it is another by now, 409 when the order is
 * completed. 200, also when nothing was different and so nothing happened. */
void desk_change_post(struct exchange *x);
void desk_complete_post(struct exchange *x); /* 409 as well while a serial number or the shipment is missing */
