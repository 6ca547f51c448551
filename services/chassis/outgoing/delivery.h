/* delivery: what an error of the producer says about the record that it was given for. The one table of these. Any
 * thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

/* True: the record itself is refused, and will be as long as record and topic are what they are. Sent again it would be
 * refused again, so somebody must act. False: whatever was in the way may pass, and the record is sent again.
 *
 * A broker refuses a batch as a whole, and each of its records gets the batch's error: only one that was sent alone is
 * known to be at fault. What rd_kafka_producev() refuses is one record. */
bool delivery_refuses(rd_kafka_resp_err_t error);

/* True: of these, a refusal that a batch of innocent records may meet, because together they are too large. */
bool delivery_by_size(rd_kafka_resp_err_t error);

/* True: a success of which no broker said anything. librdkafka infers it from a later batch's success, which is wrong
 * where a broker took that one as the first of its producer (first_record.h): the record has to be sent again. Such a
 * report has no offset. */
bool delivery_unheard(const rd_kafka_message_t *report);
