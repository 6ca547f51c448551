/* fold: what the events of all services, support's own among them, make of support's tables. Nothing else writes to
 * return_request, return_version, history, team and attention, so all of them can be made anew from the topics. What an
 * event changes does not depend on which other topics and partitions were read before it: only records of one key have
 * an order.
 *
 *     a person decides ─decided─▶ return_request ◀─┐
 *     every *.events topic ─────▶ history, team, attention, and where support's own event is in its topic */
#pragma once

#include "chassis/events/service.h"

extern const struct handler fold_handlers[]; /* for every event there is */

void fold_decided(struct connection *c, const struct event *own); /* service.decided */

/* service.put_aside */
void fold_put_aside(struct connection *c, const struct put_aside *letter);
/* service.publishes */
bool fold_publishes(struct connection *c, const char *service);
/* service.subscriber_passed */
void fold_passed(struct connection *c, const char *team, int64_t partition, int64_t next_offset);
