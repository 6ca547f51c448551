/* What is sent about an order, as JSON or, after an 'f', as a form: placing one, and changing one that is there. */
#include "fuzz.h"

#include "chassis/web/http_private.h"
#include "sales/order_input.h"

#include <string.h>

static const char there[] =
    "{\"order_id\":\"O-1\",\"shipment_id\":null,\"last_line\":3,\"items\":["
    "{\"line\":1,\"model\":\"M\",\"price\":{\"amount\":\"1.00\",\"currency\":\"EUR\"},\"serial_number\":\"SN-1\"},"
    "{\"line\":3,\"model\":\"N\",\"price\":{\"amount\":\"2.00\",\"currency\":\"EUR\"},\"serial_number\":null}]}";

static json_t *body_of(const uint8_t *bytes, size_t n, struct findings *found) {
    struct exchange x = {.body = (const char *)bytes, .body_n = n};
    struct failure why;
    json_t *sent = NULL;
    if (!n || *bytes != 'f') return exchange_json(&x, &sent, &why) == OK ? sent : NULL;
    if (form_read((const char *)bytes + 1, n - 1, &sent, &why) != OK) return NULL;
    json_t *body = order_nest(sent, found);
    json_decref(sent);
    return body;
}

static void items_check(const json_t *fields) {
    json_t *item;
    size_t i;
    must(json_is_array(json_object_get(fields, "items")), "no error, and there are items");
    json_array_foreach(json_object_get(fields, "items"), i, item)
        must(json_integer_value(json_object_get(item, "line")) > 0, "each item has its line");
    must(i <= 2 * ITEMS_MAX, "there are not too many");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct findings placing = {.errors = json_array()}, changing = {.errors = json_array()};
    json_t *body = body_of(bytes, n, &placing), *order = json_loads(there, 0, NULL);
    if (body) {
        json_t *placed = order_placed(body, &placing), *changed = order_changed(body, order, &changing);
        if (findings_none(&placing)) items_check(placed);
        if (findings_none(&placing))
            must(json_array_size(json_object_get(placed, "items")) > 0, "an order has an item");
        if (findings_none(&changing)) items_check(changed);
        json_decref(placed);
        json_decref(changed);
    }
    json_decref(body);
    json_decref(order);
    json_decref(placing.errors);
    json_decref(changing.errors);
    return 0;
}
