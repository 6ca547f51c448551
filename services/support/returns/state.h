/* state: one return, folded from what is stored of it: as it is, or as it stood at a bound (past.h). */
#pragma once

#include "support/returns/past.h"

#include "chassis/store/store.h"

/* SELECT STATE_COLUMNS FROM STATE_TABLES …: the rows of which a state is made. return_request is r. */
#define STATE_COLUMNS                                                                                                  \
    "r.return_id, version, requested_at, order_id, model, shipment_id, serial_number, location, cost_minor, "          \
    "cost_currency, customer_id, reason, partition, record_offset, submitted_at, published_at, state, "                \
    "cancelled_partition, cancelled_offset, cancelled_version, reason_code, channel"
#define STATE_TABLES "return_request r LEFT JOIN return_private p ON p.return_id = r.return_id"

/* As returns_one() has it, within the caller's transaction. listed: as returns_page() has it, without "seen_at".
 * The caller's. */
MUST_CHECK json_t *state_read(struct connection *reader, const struct rows *r, const struct bound *b, bool listed);

/* "OrderRefunded" of "returns.sales.OrderRefunded". */
const char *state_event_name(const char *type);
/* An event whose name ends so says that its team declined. */
bool state_is_declined(const char *type);
