/* upstream: has sales know the customers and the orders that made-up returns are of, by its API, as anybody may.
 * Without them it would decline each refund. Every call waits for its answer, so it is for threads of their own and for
 * tools. What is there already is well. RETRY: sales is away, or did not take it. */
#pragma once

#include "chassis/events/service.h"

/* Where sales is, by the setting call-urls. "": that does not say. Returns out. */
const char *upstream_url(const struct runtime *rt, char *out, size_t size);

MUST_CHECK verdict upstream_customer(
    const char *sales_url, const char *customer_id, const char *name, const char *location, struct failure *why);

/* items: of upstream_item(). They stay the caller's. */
MUST_CHECK verdict upstream_order(
    const char *sales_url, const char *order_id, const char *customer_id, const char *shipment_id, json_t *items,
    struct failure *why);
/* The references to price, {"amount","currency"}, and serial number are taken. The caller's. NULL: no memory. */
MUST_CHECK json_t *upstream_item(const char *model, json_t *price, json_t *serial_number);
