#include "chassis/events/decision.h"

verdict
decide(const struct core *core, struct connection *c, const struct outgoing *e, struct uuid *id, struct failure *why) {
    struct outgoing made = *e;
    struct uuid event_id;
    if (!made.at) made.at = clock_ms();
    json_auto_t *fields = json_incref(made.fields); /* the outbox completes them, and lets go of its reference */
    verdict v = outbox_add(core->outbox, c, &made, &event_id, why);
    if (v == OK && id) *id = event_id;
    if (v == OK && core->service->decided)
        core->service->decided(
            c, &(struct event){
                   .id = event_id,
                   .type = outbox_type(core->outbox, made.type),
                   .source = core->settings->service,
                   .key = made.key ? made.key : made.return_id,
                   .return_id = made.return_id,
                   .version = made.version,
                   .occurred_at = made.at,
                   .trace_parent = made.trace_parent,
                   .topic = "",
                   .data = fields,
                   .written = &(struct written){.json = fields}});
    return v;
}
