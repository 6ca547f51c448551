/* manufacturing queues one disassembly order for each defective item, at the site of its location. */
#include "chassis/service.h"

#include <stdio.h>

struct request {
    const char *serial_number, *location;
};
static const struct field request_fields[] = {
    FIELD_TEXT(struct request, serial_number),
    FIELD_TEXT(struct request, location),
};

enum { SITE_SIZE = 200 };

static void site_of(struct connection *store, const char *location, char site[SITE_SIZE]) {
    snprintf(site, SITE_SIZE, "Central works");
    for (struct rows r = store_rows(store, "SELECT site FROM site WHERE location = ?", value_text(location));
         rows_next(&r);)
        snprintf(site, SITE_SIZE, "%s", rows_text(&r, 0));
}

static verdict queue(struct reaction *r, const void *fields, struct failure *why) {
    (void)why;
    const struct request *q = fields;
    char site[SITE_SIZE];
    site_of(r->store, q->location, site);
    bool first =
        store_run(
            r->store,
            "INSERT INTO disassembly_order (serial_number, return_id, location, site, queued_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            value_text(q->serial_number), value_text(r->event->return_id), value_text(q->location), value_text(site),
            value_int(r->now)) == 1;
    if (!first) {
        reaction_audit(r, "declined", "leave the queue as it is", "item %s is queued already", q->serial_number);
        return OK;
    }
    (void)store_run(
        r->store,
        "INSERT INTO site_queue (site, queued) VALUES (?, 1) ON CONFLICT (site) DO UPDATE SET queued = site_queue.queued + 1",
        value_text(site));
    reaction_emit(
        r, "DisassemblyOrdered",
        json_pack("{s:s, s:s, s:s}", "serial_number", q->serial_number, "location", q->location, "site", site));
    reaction_audit(r, "handled", "queue for disassembly", "item %s from %s at %s", q->serial_number, q->location, site);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), queue},
    {0},
};

static const struct view views[] = {
    {.title = "Disassembly queue by site",
     .sql = "SELECT site AS \"Site\", queued AS \"Queued\" FROM site_queue ORDER BY site"},
    {"Latest orders",
     "SELECT queued_at AS \"Queued\", serial_number AS \"Item\", location AS \"Location\", site AS \"Site\", return_id AS \"Return\" FROM disassembly_order ORDER BY queued_at DESC LIMIT 10",
     .moments = "Queued"},
    {0},
};

const struct service service = {
    .title = "Manufacturing",
    .duty = "Queues one disassembly order for each defective item, at the site of its location.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/disassembly-orders", "returns.support.RefundRequest"},
    .views = views,
};
