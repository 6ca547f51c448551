#include "support/load/upstream.h"

#include "chassis/base/settings.h"
#include "chassis/pages/team.h"
#include "chassis/web/load.h"

#include <stdio.h>

enum { ANSWER_MS = 5000 };

const char *upstream_url(const struct runtime *rt, char *out, size_t size) {
    return settings_call_url(runtime_core(rt)->settings, "sales", "", out, size);
}

/* The reference to the body is taken. */
static verdict post(const char *sales_url, const char *path, json_t *taken, struct failure *why) {
    json_auto_t *body = taken;
    text_auto text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    text_auto said = NULL;
    char url[700];
    struct failure reason;
    int status = 0;
    snprintf(url, sizeof url, "%.600s%s", sales_url, path);
    if (!*sales_url) return fail(why, RETRY, "the setting call-urls does not say where sales is");
    if (!text) return fail(why, RETRY, "out of memory");
    if (load_ask(url, text, ANSWER_MS, &status, &said, &reason) != OK)
        return fail(why, RETRY, "sales does not answer: %s", reason.text);
    return status == 201 || status == 409 ? OK : fail(why, RETRY, "sales answered %d: %.300s", status, said);
}

verdict upstream_customer(
    const char *sales_url, const char *customer_id, const char *name, const char *location, struct failure *why) {
    return post(
        sales_url, "/api/customers",
        json_pack("{s:s, s:s, s:s}", "customer_id", customer_id, "name", name, "location", location), why);
}

verdict upstream_order(
    const char *sales_url, const char *order_id, const char *customer_id, const char *shipment_id, json_t *items,
    struct failure *why) {
    return post(
        sales_url, "/api/orders",
        json_pack(
            "{s:s, s:s, s:s, s:O}", "order_id", order_id, "customer_id", customer_id, "shipment_id", shipment_id,
            "items", items),
        why);
}

json_t *upstream_item(const char *model, json_t *price, json_t *serial_number) {
    return json_pack("{s:s, s:o, s:o}", "model", model, "price", price, "serial_number", serial_number);
}
