#include "support/load/upstream.h"

#include "chassis/base/settings.h"
#include "chassis/pages/team.h"
#include "chassis/web/load.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MS = 5000 };

const char *upstream_url(const struct runtime *rt, char *out, size_t size) {
    return settings_call_url(runtime_core(rt)->settings, "sales", "", out, size);
}

/* body: the reference is taken. */
static verdict post(const char *sales_url, const char *path, json_t *body, struct failure *why) {
    char url[700], *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *said = NULL;
    struct failure reason;
    int status = 0;
    verdict v = OK;
    snprintf(url, sizeof url, "%.600s%s", sales_url, path);
    if (!*sales_url)
        v = fail(why, RETRY, "the setting call-urls does not say where sales is");
    else if (!text)
        v = fail(why, RETRY, "out of memory");
    else if (load_ask(url, text, ANSWER_MS, &status, &said, &reason) != OK)
        v = fail(why, RETRY, "sales does not answer: %s", reason.text);
    else if (status != 201 && status != 409)
        v = fail(why, RETRY, "sales answered %d: %.300s", status, said);
    json_decref(body);
    free(text);
    free(said);
    return v;
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
