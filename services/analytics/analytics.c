/* analytics counts what becomes of returns. It is in memory: each start reads every event again. */
#include "figures.h"
#include "statistics.h"

#include "chassis/events/service.h"

#include <string.h>

enum { FIRST_VERSION = 1 }; /* of a return: that of its request, and of all that answers it */

struct request {
    const char *model, *location, *reason_code, *channel;
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_ID(struct request, model),
    FIELD_TEXT(struct request, location),
    {"reason_code", TYPE_TEXT, offsetof(struct request, reason_code), "OTHER"},
    {"channel", TYPE_TEXT, offsetof(struct request, channel), "unknown"},
    FIELD_MONEY(struct request, cost),
};

static verdict request_count(struct reaction *r, const void *fields, struct failure *why) {
    const struct request *q = fields;
    if (!r->event->return_id) return fail(why, REJECT, "it names no return");
    figures_asked(&(struct asked){
        .return_id = r->event->return_id,
        .words = {q->model, q->reason_code, q->channel, q->location, q->cost.currency},
        .cost = q->cost.minor,
        .at = r->event->occurred_at});
    reaction_audit(r, "handled", "count the return", "%s from %s", q->model, q->location);
    return OK;
}

static verdict cancellation_count(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields;
    if (!r->event->return_id) return fail(why, REJECT, "it names no return");
    figures_cancelled(r->event->return_id, r->event->occurred_at);
    reaction_audit(r, "handled", "count the cancellation", "%s", r->event->return_id);
    return OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* By its envelope alone, so of a team that nobody told us of as well. */
static verdict reaction_count(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields, (void)why;
    const struct event *e = r->event;
    if (!e->return_id || !strcmp(e->source, "support")) {
        reaction_audit(r, "handled", "leave it", "%s answers no return", e->type);
        return OK;
    }
    bool declined = ends_with(e->type, "Declined");
    figures_reacted(e->return_id, e->source, e->occurred_at, e->version == FIRST_VERSION, declined);
    reaction_audit(r, "handled", "count the reaction", "%s by %s", e->type, e->source);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), request_count},
    {"returns.support.RefundCancelled", NULL, 0, 0, cancellation_count},
    {"*", NULL, 0, 0, reaction_count},
    {0},
};

const struct service service = {
    .title = "Analytics",
    .duty = "Counts what becomes of returns; keeps nothing, and reads every event again at each start.",
    .subscribes = "*",
    .fetch_wait_ms = 200,
    .listed_by = "support",
    .handlers = handlers,
    .resources = statistics_resources,
    .in_memory = true,
};
