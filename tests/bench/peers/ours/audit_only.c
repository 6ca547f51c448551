/* Only audits each request, as the peers beside this folder do. ./returns new makes the rest of the service. */
#include "chassis/base/money.h"
#include "chassis/events/service.h"

struct request {
    const char *order_id, *shipment_id, *model, *serial_number, *location, *reason_code, *channel;
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_TEXT(struct request, order_id), FIELD_TEXT(struct request, shipment_id),
    FIELD_TEXT(struct request, model),    FIELD_TEXT(struct request, serial_number),
    FIELD_TEXT(struct request, location), FIELD_TEXT(struct request, reason_code),
    FIELD_TEXT(struct request, channel),  FIELD_MONEY(struct request, cost),
};

static verdict note(struct reaction *r, const void *fields, struct failure *why) {
    (void)why;
    const struct request *q = fields;
    char amount[32];
    reaction_audit(
        r, "handled", "note it", "%s %s %s %s %s %s %s %s %s", q->order_id, q->shipment_id, q->model, q->serial_number,
        q->location, money_text(q->cost.minor, amount), q->cost.currency, q->reason_code, q->channel);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), note},
    {0},
};

const struct service service = {
    .title = "Audit only",
    .duty = "Notes each request.",
    .subscribes = "support",
    .handlers = handlers,
};
