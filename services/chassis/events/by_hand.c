#include "chassis/events/by_hand.h"

#include <stdlib.h>

/* Its own events are before it as well, if it has any; what it waits for is then the same. */
static struct value sequence_now(struct connection *c) {
    return value_int(store_int(c, 0, "SELECT COALESCE(MAX(id), 0) FROM outbox"));
}

void by_hand_call(struct connection *c, const struct record *r) {
    char *data = json_dumps(r->written.data, JSON_COMPACT);
    if (!data) store_spoil(c, RETRY, "could not keep a call: out of memory");
    (void)store_run(
        c, "INSERT INTO by_hand (after_sequence, at, event_id, type, data, trace_parent) VALUES (?, ?, ?, ?, ?, ?)",
        sequence_now(c), value_int(r->now), value_blob(r->event.id.bytes, 16), value_text(r->event.type),
        value_text(data), value_text(r->trace));
    free(data);
}

void by_hand_redrive(struct connection *c, int64_t letter, const struct record *r) {
    int64_t next = store_int(
        c, 0, "SELECT next_offset FROM consumer_offset WHERE topic = ? AND partition = ?", value_text(r->raw.topic),
        value_int(r->raw.partition));
    (void)store_run(
        c, "INSERT INTO by_hand (after_sequence, at, letter, next_offset) VALUES (?, ?, ?, ?)", sequence_now(c),
        value_int(r->now), value_int(letter), value_int(next));
}
