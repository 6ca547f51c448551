/* returns: support's read model: what is known of each return, folded (fold.h) from the events of every service.
 *
 * A return is `requested` until every subscriber has passed its RefundRequest, then `handled`, and `cancelled` or
 * `closed` by a command (command.h). How far subscribers are is read from the chassis's table subscriber_offset, so no
 * list of teams is kept here. `attention` is true beside any of them once a team published an event whose name ends in
 * "Declined". A cancelled return is `compensated` once every subscriber has passed its RefundCancelled. */
#pragma once

#include "support/request/request.h"
#include "support/returns/past.h"

#include "chassis/events/service.h"

/* The id of the open return that has the item, which can be in one at a time. NULL: none. The caller's. */
MUST_CHECK json_t *returns_holder(struct connection *c, const char *serial_number);
/* The kinds of reason that a RefundRequest can say, by the schema in use. NULL: it has none. Lives with the service. */
const json_t *returns_reasons(const struct runtime *rt);
/* What no event carries: the customer, the reason in their words, and the token ("": none) of the form that became this
 * return. In its transaction. */
void returns_keep(struct connection *c, const char *return_id, const struct request *q, const char *token);
/* {"return_id","same"}: the return that the form became, and whether it asked for the same. NULL: it was not sent yet.
 */
MUST_CHECK json_t *returns_sent(struct connection *c, const char *token, const struct request *q);

/* --- Queries, each from one moment. The JSON is the caller's. */

/* {"return_id","version","status","attention","compensated","requested_at","published","request":{…},
 * "teams":[{"team","handled","event_type","at","compensated"}],"submitted_at","published_at"}. compensated: null unless
 * the return is cancelled. A team that publishes nothing has "seen_at" as well, when its group was seen to have passed
 * it, and "compensated_seen_at". As it stood at a bound (past.h) it has besides "as_of" or "at_version", "versions"
 * (the newest), and "previous" and "next", the versions beside it, or null. Was it not there yet, it has no "status".
 * NULL: no such return. */
MUST_CHECK json_t *returns_one(struct connection *reader, const char *return_id, const struct bound *b);
/* The same in the caller's transaction. */
MUST_CHECK json_t *returns_then(struct connection *c, const char *return_id, const struct bound *b);

/* {"returns":[…],"next":id or null}, newest first, and "as_of" if a moment was asked for. before: only what is older
 * than that return, or NULL. NULL: there is no such return. */
MUST_CHECK json_t *returns_page(struct connection *reader, const char *before, int limit, const struct bound *b);

/* Of a list for which one more than its limit was read: cuts it, and returns the member `id` of the last one that
 * stays, or null when there are no more. The caller's. */
MUST_CHECK json_t *returns_cut(json_t *list, int limit, const char *id);

/* [{"type","team","version","at","topic","partition","offset","trace_id","data","recorded_at",
 * "schema_id","headers":[[name, value],…],"record"}], as things happened, up to the bound. record: its bytes as hex, or
 * null. */
MUST_CHECK json_t *returns_history(struct connection *reader, const char *return_id, const struct bound *b);

/* [{"team"}]: who has read the topic so far. */
MUST_CHECK json_t *returns_subscribers(struct connection *reader);

/* {"accepted","published","handled_by_all","cancelled","closed","waiting","attention"}: how many returns. waiting: not
 * handled by all yet, or cancelled and not compensated by all. */
MUST_CHECK json_t *returns_totals(struct connection *reader, const char *topic);

/* {"event","return_id","at"} that the service last published, return_id null when it is about none. null: none. */
MUST_CHECK json_t *returns_last_event(struct connection *reader, const char *team);

/* ms: when the oldest return that the subscriber has not passed was published, by its committed offsets. 0: none. */
MUST_CHECK int64_t returns_oldest_waiting(struct connection *reader, const char *team);
