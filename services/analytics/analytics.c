/* analytics counts what becomes of returns. It is in memory: each start reads every event again. */
#include "chassis/service.h"

struct request {
    const char *model, *location, *reason_code;
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_TEXT(struct request, model),
    FIELD_TEXT(struct request, location),
    {"reason_code", TYPE_TEXT, offsetof(struct request, reason_code), "OTHER"},
    FIELD_MONEY(struct request, cost),
};

static verdict count(struct reaction *r, const void *fields, struct failure *why) {
    (void)why;
    const struct request *q = fields;
    (void)store_run(
        r->store,
        "INSERT INTO returned (return_id, model, location, reason_code, cost_minor, currency, requested_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_text(r->event->return_id), value_text(q->model), value_text(q->location), value_text(q->reason_code),
        value_int(q->cost.minor), value_text(q->cost.currency), value_int(r->event->occurred_at));
    reaction_audit(r, "handled", "count the return", "%s from %s", q->model, q->location);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), count},
    {0},
};

static const struct view views[] = {
    {.title = "Returns by model",
     .sql = "SELECT model AS \"Model\", COUNT(*) AS \"Returns\" FROM returned GROUP BY model ORDER BY 2 DESC, 1"},
    {0},
};

const struct service service = {
    .title = "Analytics",
    .duty = "Counts what becomes of returns; keeps nothing, and reads every event again at each start.",
    .subscribes = "*",
    .handlers = handlers,
    .views = views,
    .in_memory = true,
};
