#include "chassis/events/by_hand.h"

#include "chassis/base/ids.h"
#include "chassis/events/core.h"
#include "chassis/events/dead_letter.h"

#include <stdlib.h>

/* Its own events are before it as well, if it has any. What it waits for is then the same. */
#define SEQUENCE_NOW "(SELECT COALESCE(MAX(id), 0) FROM outbox)"

void by_hand_call(struct connection *c, const struct record *r) {
    char *data = json_dumps(r->written.json, JSON_COMPACT);
    if (!data) store_spoil(c, RETRY, "could not keep a call: out of memory");
    (void)store_run(
        c,
        "INSERT INTO by_hand (after_sequence, at, event_id, type, data, trace_parent) VALUES (" SEQUENCE_NOW
        ", ?, ?, ?, ?, ?)",
        value_int(r->now), value_blob(r->event.id.bytes, 16), value_text(r->event.type), value_text(data),
        value_text(r->trace));
    free(data);
}

/* Behind what the batch at hand has had of the letter's partition: its offset moves only with the batch's end. */
#define NEXT_OFFSET                                                                                                    \
    "COALESCE((SELECT COALESCE((SELECT MAX(a.record_offset) + 1 FROM audit a WHERE a.topic = o.topic AND "             \
    "a.partition = o.partition AND a.log = o.log AND a.record_offset >= o.next_offset), o.next_offset) "               \
    "FROM dead_letter d JOIN consumer_offset o USING (topic, partition) WHERE d.id = ?), 0)"

void by_hand_redrive(const struct core *core, struct connection *c, int64_t letter, const struct record *r) {
    (void)store_run(
        c,
        "INSERT INTO by_hand (after_sequence, at, letter, next_offset) VALUES (" SEQUENCE_NOW ", ?, ?, " NEXT_OFFSET
        ")",
        value_int(r->now), value_int(letter), value_int(letter));
    if (!core->service->in_memory)
        dead_letter_publish(c, letter, r->trace, clock_ms()); /* there may be no event that tells others of it */
    (void)store_run(c, "UPDATE dead_letter SET state = 'redriven' WHERE id = ? AND state = 'open'", value_int(letter));
}
