/* picker: the way to a filled form: from a customer to an order to an item, by links alone. It is made of support's own
 * copy (orders.h), so sales may be away. While there are no customers it is not there. */
#pragma once

#include "chassis/web/http.h"

#include <jansson.h>

/* What the form's page shows above the form, by the query's q, customer, order and item (a serial number). null:
 * nothing. *typed: the form's fields once an item was chosen, else NULL. Both are the caller's. NULL: refused, which
 * has been answered. */
MUST_CHECK json_t *picker_read(struct exchange *x, json_t **typed);
