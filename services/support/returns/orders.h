/* orders: support's own copy of sales' customers and orders, folded from what sales publishes, so that it can be asked
 * while sales is away. It is a copy: sales decides, and may know more.
 *
 * An order's events come in order, but for those that were put aside and redriven later. So each value keeps the
 * version that set it, and only a higher one changes it: whatever the order of arrival, also between a customer and
 * their orders, the result is the same. Of two events that claim one version of one thing, which sales never publishes,
 * the first that came counts. */
#pragma once

#include "support/request/request.h"

#include "chassis/events/reaction.h"

#include <jansson.h>

/* One of the four events about customers and orders. Of another topic than sales' it changes nothing. REJECT: it cannot
 * be understood. */
MUST_CHECK verdict orders_fold(struct reaction *r, struct failure *why);

/* Why sales is likely to decline the refund, each a sentence. Empty: nothing speaks against it, or no order is known at
 * all. The array is the caller's. */
MUST_CHECK json_t *orders_doubts(struct connection *reader, const struct request *q);

/* Text as it is looked for: in small letters. The caller frees it. NULL: no memory. */
char *orders_search_text(const char *text);
