/* returns: support's read model: what is known of each return, folded from the events of every service.
 *
 * A return is `requested` until every subscriber has passed its RefundRequest, then `handled`. How far subscribers are
 * is read from the chassis's table subscriber_offset, so no list of teams is kept here. `attention` is true beside
 * either once a team published an event whose name ends in "Declined". */
#pragma once

#include "request.h"

#include "chassis/service.h"

extern const struct handler returns_handlers[]; /* for every event there is */

/* Takes the item's place for the return in the caller's transaction. NULL when done (or the transaction has failed),
 * else the id of the open return that has it; the caller's. */
MUST_CHECK json_t *returns_claim(struct connection *c, const char *serial_number, const char *return_id);
void returns_add(struct connection *c, const char *return_id, const struct request *q);

/* service.subscriber_passed */
void returns_passed(struct connection *c, const char *team, int64_t partition, int64_t next_offset);

/* --- Queries, each from one moment. The JSON is the caller's. */

/* {"return_id","version","status","attention","requested_at","published","request":{…},"teams":[{"team","handled",
 * "event_type","at"}],"submitted_at","published_at"}; a team that publishes nothing has "seen_at" as well, when its
 * group was seen to have passed it. NULL: no such return. */
MUST_CHECK json_t *returns_one(struct connection *reader, const char *return_id);

/* {"returns":[…],"next":id or null}, newest first; before: only what is older than that return, or NULL.
 * NULL: there is no such return. */
MUST_CHECK json_t *returns_page(struct connection *reader, const char *before, int limit);

/* [{"type","team","version","at","topic","partition","offset","trace_id","data","recorded_at",
 * "schema_id","headers":[[name, value],…],"record"}], as things happened; record: its bytes as hex, or null. */
MUST_CHECK json_t *returns_history(struct connection *reader, const char *return_id);

/* {team: URL}: where the services' pages are, as far as their events have said. */
MUST_CHECK json_t *returns_urls(struct connection *reader);

/* [{"team","handled","of","url"}]: how many of the events in support's topic each subscriber has passed. */
MUST_CHECK json_t *returns_subscribers(struct connection *reader, const char *topic);

/* {"accepted","published","handled_by_all","waiting","attention"}: how many returns; waiting: not handled by all yet.
 */
MUST_CHECK json_t *returns_totals(struct connection *reader, const char *topic);

/* {"event","return_id","at"} that the service last published; null: none. */
MUST_CHECK json_t *returns_last_event(struct connection *reader, const char *team);

/* ms: when the oldest return that the subscriber has not passed was published, by its committed offsets; 0: none. */
MUST_CHECK int64_t returns_oldest_waiting(struct connection *reader, const char *team);
