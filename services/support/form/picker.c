#include "support/form/picker.h"

#include "support/form/customers.h"

#include "chassis/base/json_get.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <string.h>

enum { CUSTOMERS = 10, ORDERS = 10 };

struct choice {
    const char *q, *customer, *order, *item, *before; /* NULL: not in the query */
};

/* --- Each step: its choices */

static json_t *customers_step(struct connection *reader, const struct choice *c) {
    json_auto_t *page = customers_page(reader, c->q, NULL, CUSTOMERS);
    json_t *list = json_object_get(page, "customers");
    json_int_t total = json_get_int(page, "total");
    if (!c->q && !total) return json_null();
    return json_pack(
        "{s:b, s:s, s:b, s:I, s:O}", "choose_customer", true, "q", c->q ? c->q : "", "search",
        c->q || total > CUSTOMERS, "more", total - (json_int_t)json_array_size(list), "customers", list);
}

static json_t *orders_step(struct connection *reader, const struct choice *c) {
    json_t *page = customers_orders(reader, c->customer, c->before, ORDERS);
    if (!page) return NULL;
    json_each(i, one, json_object_get(page, "orders"))
        json_object_set_new(
            one, "item_count", json_integer((json_int_t)json_array_size(json_object_get(one, "items"))));
    json_object_set_new(page, "choose_order", json_true());
    return page;
}

/* An item without a serial number is with nobody yet. */
static json_t *items_step(json_t *order) {
    json_t *list = json_array();
    customers_view_order(order);
    json_each(i, one, json_object_get(order, "items"))
        if (json_is_string(json_object_get(one, "serial_number"))) json_array_append(list, one);
    return json_pack("{s:b, s:o}", "choose_item", true, "items", list);
}

/* --- The form's fields */

static json_t *typed_of(const json_t *customer, const json_t *order, const json_t *item) {
    const json_t *price = json_object_get(item, "price");
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}}", "order_id", json_get_text(order, "order_id"), "model",
        json_get_text(item, "model"), "shipment_id", json_get_text(order, "shipment_id"), "serial_number",
        json_get_text(item, "serial_number"), "location", json_get_text(customer, "location"), "customer_id",
        json_get_text(customer, "customer_id"), "cost", "amount", json_get_text(price, "amount"), "currency",
        json_get_text(price, "currency"));
}

/* --- All of it */

/* A customer was chosen, and perhaps more. What was chosen is named, and can be changed. */
static json_t *chosen_step(
    struct exchange *x, struct connection *reader, const struct choice *c, const json_t *customer, json_t **typed) {
    json_auto_t *order = c->order ? customers_order(reader, c->order) : NULL;
    const json_t *item = c->item ? json_find(json_object_get(order, "items"), "serial_number", c->item) : NULL;
    json_t *step = NULL;
    if (c->order && strcmp(json_get_text(order, "customer_id"), c->customer) != 0)
        exchange_problem(
            x, 404, "Customer \"%.60s\" has no order \"%.60s\" in what sales has published so far.", c->customer,
            c->order);
    else if (c->item && !item)
        exchange_problem(
            x, 404, "Order \"%.60s\" has no item with the serial number \"%.60s\" in what sales has published so far.",
            c->order, c->item);
    else if (!(step = order ? items_step(order) : orders_step(reader, c)))
        exchange_problem(x, 400, "before \"%.60s\" is not an order of this customer.", c->before);
    if (!step) return NULL;
    json_add(
        step, "{s:O*, s:O*, s:O*, s:O*}", "customer_id", json_object_get(customer, "customer_id"), "customer_name",
        json_object_get(customer, "name"), "order_id", json_object_get(order, "order_id"), "serial_number",
        json_object_get(item, "serial_number"));
    if (!item) return step;
    json_object_del(step, "choose_item");
    *typed = typed_of(customer, order, item);
    return step;
}

static bool choice_ok(struct exchange *x, const struct choice *c) {
    if (!customers_query_ok(x, c->q)) return false;
    if ((!c->order || c->customer) && (!c->item || c->order)) return true;
    exchange_problem(
        x, 400, "%s \"%.60s\" is of no use alone: name the %s too.", c->order ? "order" : "item",
        c->order ? c->order : c->item, c->order ? "customer" : "order");
    return false;
}

json_t *picker_read(struct exchange *x, json_t **typed) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    struct choice c = {
        page_query(x, "q"), page_query(x, "customer"), page_query(x, "order"), page_query(x, "item"),
        page_query(x, "before")};
    *typed = NULL;
    if (!choice_ok(x, &c)) return NULL;
    json_auto_t *customer = c.customer ? customers_one(reader, c.customer) : NULL;
    json_t *step = NULL;
    if (!c.customer)
        step = customers_step(reader, &c);
    else if (customer)
        step = chosen_step(x, reader, &c, customer, typed);
    else
        exchange_problem(
            x, 404, "There is no customer \"%.60s\" in what sales has published so far; see /customers.", c.customer);
    if (page_reader_ok(x, reader)) return step;
    json_decref(step);
    json_decref(*typed);
    *typed = NULL;
    return NULL;
}
