/* page: what the chassis's own pages have in common. A data function gives data. What only people need is
 * added when it is rendered as a page, by the page's template as far as its filters can. */
#pragma once

#include "chassis/pages/runtime.h"

struct connection;

const char *page_query(struct exchange *x, const char *name); /* NULL when it is not there, or empty */
/* Of a form that comes again: what it says at its head, and the URL of what is there already, or NULL. */
void page_add_notice(json_t *form, const char *notice, const char *existing);
bool page_reader_ok(struct exchange *x, struct connection *reader); /* false: it could not be read. Answered with 503 */
void page_etag(struct exchange *x, int64_t version);                /* of what is answered: what If-Match says of it */
int64_t page_id(const char *text); /* the number of a row, in an address. 0: it is none */
/* A whole number from 1 to max in the query. otherwise: it is not there. What is none becomes a field of the problem.
 */
int64_t page_number(struct exchange *x, const char *name, int64_t otherwise, int64_t max);
/* The moment in the query (moment.h). *ms stays when there is none. False: it is no moment, which was answered with
 * 400.
 */
MUST_CHECK bool page_moment(struct exchange *x, const char *name, int64_t *ms);
json_t *page_partitions(struct runtime *rt, int64_t *oldest_unhandled_ms); /* none where nothing is subscribed to */

/* The functions behind routes.h. */
void audit_get(struct exchange *x);
void audit_one_get(struct exchange *x);
void audit_event_get(struct exchange *x);
void audit_jsonl_get(struct exchange *x);
void audit_csv_get(struct exchange *x);
void audit_verify_get(struct exchange *x);
void probe_livez_get(struct exchange *x);
void probe_readyz_get(struct exchange *x);
void probe_metrics_get(struct exchange *x);
void page_asset_get(struct exchange *x);
void peers_get(struct exchange *x); /* /api/peers */
