/* reaction: what becomes of one record: decoded, then applied in a transaction: its handler's effect, or a note that it
 * was seen before or is of no concern, or its quarantine; in each case with one audit row. The consumer's thread only.
 */
#pragma once

#include "chassis/failure.h"
#include "chassis/service.h"

#include <librdkafka/rdkafka.h>

struct record {
    const rd_kafka_message_t *message; /* the consumer's */
    struct event event;                /* filled as far as the record could be read */
    json_t *data;
    bool has_id;
    char source[256], source_url[512], trace[TRACE_PARENT], key[256];
    verdict state; /* OK, or REJECT: to be quarantined for `why` */
    struct failure why;
};

/* RETRY: its schema cannot be had yet; *out is empty then. OK otherwise, also for what will be quarantined. */
MUST_CHECK verdict
record_decode(const struct runtime *rt, const rd_kafka_message_t *message, struct record *out, struct failure *why);
void record_free(struct record *record);

/* In the caller's transaction; a failure of the database is sticky there. */
void record_apply(const struct runtime *rt, struct connection *c, const struct record *record);
