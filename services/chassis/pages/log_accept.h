/* log_accept: a person's decision where to go on in a topic that is no longer the log that was read (consumer.h): made
 * anew, truncated, or of another cluster. Only for partitions that are held for that. The decision is in the audit log.
 *
 * POST /api/log/accept {"topic":"support.events","partition":3,"from":"beginning"|"end"|"here"}: without a partition,
 * all of the topic that are held. here: at the offset that comes next anyway. Events that had their effect before are
 * known by their ids. Answers {"accepted":[{"topic","partition","was","next"}]}, 409 when none is held. */
#pragma once

struct exchange;
void log_accept_post(struct exchange *x);
