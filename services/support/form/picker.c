#include "support/form/picker.h"

#include "support/form/customers.h"
#include "support/form/view.h"

#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <string.h>

enum { CUSTOMERS = 10, ORDERS = 10, QUERY_MAX = 200 };

struct choice {
    const char *q, *customer, *order, *item, *before; /* NULL: not in the query */
};

/* --- Each step: its choices, as links */

static json_t *customers_step(struct connection *reader, const struct choice *c) {
    json_t *page = customers_page(reader, c->q, NULL, CUSTOMERS), *list = json_object_get(page, "customers"), *one;
    json_int_t total = json_integer_value(json_object_get(page, "total"));
    size_t i;
    if (!c->q && !total) return json_decref(page), json_null();
    json_array_foreach(list, i, one)
        json_object_set_new(one, "url", customers_form_url(json_get_text(one, "customer_id"), NULL, NULL));
    json_t *step = json_pack(
        "{s:b, s:s, s:b, s:I, s:O}", "choose_customer", true, "q", c->q ? c->q : "", "search",
        c->q || total > CUSTOMERS, "more", total - (json_int_t)json_array_size(list), "customers", list);
    json_decref(page);
    return step;
}

static json_t *orders_step(struct connection *reader, const struct choice *c) {
    json_t *page = customers_orders(reader, c->customer, c->before, ORDERS), *one;
    size_t i;
    if (!page) return NULL;
    json_array_foreach(json_object_get(page, "orders"), i, one) {
        customers_view_order(one);
        json_object_set_new(one, "url", customers_form_url(c->customer, json_get_text(one, "order_id"), NULL));
        json_object_set_new(
            one, "item_count", json_integer((json_int_t)json_array_size(json_object_get(one, "items"))));
    }
    json_object_set_new(page, "choose_order", json_true());
    return page;
}

/* An item without a serial number is with nobody yet. */
static json_t *items_step(json_t *order) {
    json_t *list = json_array(), *one;
    size_t i;
    customers_view_order(order);
    json_array_foreach(
        json_object_get(order, "items"), i, one) if (json_is_string(json_object_get(one, "serial_number")))
        json_array_append(list, one);
    return json_pack("{s:b, s:o}", "choose_item", true, "items", list);
}

/* --- The form's fields */

static json_t *item_of(const json_t *order, const char *serial_number) {
    json_t *one;
    size_t i;
    json_array_foreach(
        json_object_get(order, "items"), i,
        one) if (!strcmp(json_get_text(one, "serial_number"), serial_number)) return one;
    return NULL;
}

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

/* What was chosen before, to be named and to be changed. */
static void chosen_add(json_t *step, const json_t *customer, const json_t *order, const json_t *item) {
    const char *id = json_get_text(customer, "customer_id");
    json_object_set(step, "customer_name", json_object_get(customer, "name"));
    if (!order) return;
    json_object_set(step, "order_id", json_object_get(order, "order_id"));
    json_object_set_new(step, "orders_url", customers_form_url(id, NULL, NULL));
    if (!item) return;
    json_object_set(step, "serial_number", json_object_get(item, "serial_number"));
    json_object_set_new(step, "items_url", customers_form_url(id, json_get_text(order, "order_id"), NULL));
}

static json_t *order_read(struct exchange *x, struct connection *reader, const struct choice *c) {
    json_t *order = customers_order(reader, c->order);
    if (order && !strcmp(json_get_text(order, "customer_id"), c->customer)) return order;
    exchange_problem(
        x, 404, "Customer \"%.60s\" has no order \"%.60s\" in what sales has published so far.", c->customer, c->order);
    json_decref(order);
    return NULL;
}

/* A customer was chosen; and perhaps more. */
static json_t *chosen_step(
    struct exchange *x, struct connection *reader, const struct choice *c, const json_t *customer, json_t **typed) {
    json_t *order = NULL, *item = NULL, *step = NULL;
    if (!c->order) {
        step = orders_step(reader, c);
        if (!step) exchange_problem(x, 400, "before \"%.60s\" is not an order of this customer.", c->before);
    } else if ((order = order_read(x, reader, c))) {
        step = items_step(order);
        if (c->item && !(item = item_of(order, c->item))) {
            exchange_problem(
                x, 404,
                "Order \"%.60s\" has no item with the serial number \"%.60s\" in what sales has published so far.",
                c->order, c->item);
            json_decref(step);
            step = NULL;
        }
        if (item) *typed = typed_of(customer, order, item), json_object_del(step, "choose_item");
    }
    if (step) chosen_add(step, customer, order, item);
    json_decref(order);
    return step;
}

static void older_add(json_t *step, const struct choice *c) {
    json_t *url = customers_form_url(c->customer, NULL, NULL);
    struct buffer before = BUFFER(20000);
    if (!json_is_string(json_object_get(step, "next"))) return json_decref(url);
    buffer_format(&before, "%s&before=", json_string_value(url));
    buffer_percent(&before, json_get_text(step, "next"));
    json_object_set_new(step, "older", json_string(before.data ? before.data : json_string_value(url)));
    buffer_free(&before);
    json_decref(url);
}

static bool choice_ok(struct exchange *x, const struct choice *c) {
    if (c->q && utf8_count(c->q) > QUERY_MAX)
        exchange_problem(x, 400, "q \"%.60s\" is longer than %d characters; make it shorter.", c->q, QUERY_MAX);
    else if ((c->order && !c->customer) || (c->item && !c->order))
        exchange_problem(
            x, 400, "%s \"%.60s\" is of no use alone: name the %s too.", c->order ? "order" : "item",
            c->order ? c->order : c->item, c->order ? "customer" : "order");
    else
        return true;
    return false;
}

json_t *picker_read(struct exchange *x, json_t **typed) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    struct choice c = {
        page_query(x, "q"), page_query(x, "customer"), page_query(x, "order"), page_query(x, "item"),
        page_query(x, "before")};
    json_t *step, *customer = NULL;
    *typed = NULL;
    if (!choice_ok(x, &c)) return NULL;
    if (!c.customer) {
        step = customers_step(reader, &c);
    } else if ((customer = customers_one(reader, c.customer))) {
        step = chosen_step(x, reader, &c, customer, typed);
        if (step) older_add(step, &c);
    } else {
        step = NULL;
        exchange_problem(
            x, 404, "There is no customer \"%.60s\" in what sales has published so far; see /customers.", c.customer);
    }
    json_decref(customer);
    if (page_reader_ok(x, reader)) return step;
    json_decref(step);
    json_decref(*typed);
    *typed = NULL;
    return NULL;
}
