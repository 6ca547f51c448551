#include "chassis/events/cancelled.h"

/* The event's own moment: this may be all that comes of it, and then no event of ours would tell a replay another. */
bool cancelled_note(struct reaction *r) {
    bool first = store_run(
                     r->store, "INSERT INTO cancelled (return_id, cancelled_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
                     value_text(r->event->return_id), value_int(r->event->occurred_at)) == 1;
    if (!first) reaction_audit(r, "handled", "leave it cancelled", "nothing to do: cancelled before");
    return first;
}

void cancelled_audit(struct reaction *r) {
    reaction_audit(r, "handled", "note the cancellation", "nothing to undo: its request had no effect here so far");
}

bool cancelled_before(struct reaction *r) {
    bool before =
        store_int(r->store, 0, "SELECT 1 FROM cancelled WHERE return_id = ?", value_text(r->event->return_id));
    if (before) reaction_audit(r, "handled", "leave it cancelled", "nothing to do: cancelled before");
    return before;
}
