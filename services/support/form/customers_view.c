#include "support/form/customers.h"

#include "support/form/view.h"
#include "support/returns/returns.h"

#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/fleet/peers.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CUSTOMERS = 50, ORDERS = 10, RETURNS = 20, LIMIT_MAX = 1000, QUERY_MAX = 200 };

/* --- What every one of these pages says */

json_t *customers_sales(struct runtime *rt, struct connection *reader) {
    json_t *known = peers_json(runtime_peers(rt)), *one, *sales = NULL;
    size_t i;
    json_array_foreach(json_object_get(known, "peers"), i, one) if (!strcmp(json_get_text(one, "name"), "sales"))
        sales = json_pack("{s:O, s:O}", "state", json_object_get(one, "state"), "text", json_object_get(one, "text"));
    if (!sales) sales = json_pack("{s:n, s:n}", "state", "text");
    json_object_set_new(sales, "last_event", returns_last_event(reader, "sales"));
    json_decref(known);
    return sales;
}

static void sales_view(json_t *data) {
    json_t *sales = json_object_get(data, "sales"), *last = json_object_get(sales, "last_event");
    const char *state = json_get_text(sales, "state");
    page_add_moment(last, "at", "moment");
    json_object_set_new(sales, "away", json_boolean(!strcmp(state, "stopped") || !strcmp(state, "does not answer")));
}

/* 0: refused. */
static int limit_of(struct exchange *x, int otherwise) {
    int limit = (int)page_number(x, "limit", otherwise, LIMIT_MAX);
    if (!exchange_problem_fields(x)) return limit;
    exchange_problem(
        x, 400, "limit \"%.60s\" is not a whole number from 1 to %d.", exchange_query(x, "limit"), LIMIT_MAX);
    return 0;
}

/* The same page from there on: path?name=id, with the limit, and with what is looked for. */
static json_t *further_url(const char *path, int limit, const char *q, const char *name, const json_t *id) {
    struct buffer url = BUFFER(20000);
    if (!json_is_string(id)) return json_null();
    buffer_format(&url, "%s?limit=%d", path, limit);
    if (q) buffer_text(&url, "&q="), buffer_percent(&url, q);
    buffer_format(&url, "&%s=", name);
    buffer_percent(&url, json_string_value(id));
    json_t *text = json_string(url.data ? url.data : path);
    buffer_free(&url);
    return text;
}

/* --- An order and its items */

json_t *customers_form_url(const char *customer_id, const char *order_id, const char *serial_number) {
    const char *const names[] = {"customer", "order", "item"}, *const values[] = {customer_id, order_id, serial_number};
    struct buffer url = BUFFER(20000);
    buffer_text(&url, "/returns/new");
    for (size_t i = 0, n = 0; i < 3; i++) {
        if (!values[i] || !*values[i]) continue;
        buffer_format(&url, "%s%s=", n++ ? "&" : "?", names[i]);
        buffer_percent(&url, values[i]);
    }
    json_t *text = json_string(url.data ? url.data : "/returns/new");
    buffer_free(&url);
    return text;
}

/* The form starts from a customer who is registered, and from an item that is in no open return. */
static void item_view(const json_t *order, json_t *item) {
    const char *holder = json_get_text(item, "open_return"), *serial = json_get_text(item, "serial_number");
    const char *customer = json_get_text(order, "customer_id");
    bool can_start = *serial && !*holder && *customer && !json_is_null(json_object_get(order, "customer"));
    bool listed = !*holder;
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(item, "returns"), i, one) {
        bool open = !strcmp(json_get_text(one, "state"), "open");
        listed = listed || !strcmp(json_get_text(one, "return_id"), holder);
        json_object_set_new(one, "url", view_url("/returns/", json_get_text(one, "return_id")));
        json_object_set_new(one, "tone", json_string(open ? "wait" : ""));
    }
    json_object_set_new(item, "holder_url", *holder ? view_url("/returns/", holder) : json_null());
    json_object_set_new(item, "held_elsewhere", json_boolean(!listed));
    json_object_set_new(
        item, "form_url",
        can_start ? customers_form_url(customer, json_get_text(order, "order_id"), serial) : json_null());
}

void customers_view_order(json_t *order) {
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(order, "items"), i, item) item_view(order, item);
    json_object_set_new(order, "url", view_url("/orders/", json_get_text(order, "order_id")));
    json_object_set_new(order, "completed", json_boolean(json_is_string(json_object_get(order, "completed_at"))));
    page_add_moment(order, "placed_at", "placed_moment");
    page_add_moment(order, "changed_at", "changed_moment");
    page_add_moment(order, "completed_at", "completed_moment");
}

void customers_view_request(struct connection *reader, json_t *request) {
    const char *order = json_get_text(request, "order_id"), *customer = json_get_text(request, "customer_id");
    if (store_int(reader, 0, "SELECT 1 FROM customer_order WHERE order_id = ?", value_text(order)))
        json_object_set_new(request, "order_url", view_url("/orders/", order));
    if (store_int(reader, 0, "SELECT 1 FROM customer WHERE customer_id = ?", value_text(customer)))
        json_object_set_new(request, "customer_url", view_url("/customers/", customer));
}

static void returns_view(json_t *data) {
    json_t *one, *list = json_object_get(data, "returns");
    size_t i;
    json_array_foreach(list, i, one) view_return(one, NULL);
    json_object_set_new(data, "newest_only", json_boolean(json_array_size(list) == RETURNS));
}

/* --- Pages */

static void customers_view(json_t *data, const char *q, int limit) {
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(data, "customers"), i, one)
        json_object_set_new(one, "url", view_url("/customers/", json_get_text(one, "customer_id")));
    json_object_set_new(data, "further", further_url("/customers", limit, q, "after", json_object_get(data, "next")));
    json_object_set_new(data, "q", json_string(q ? q : ""));
    json_object_set_new(data, "heading", json_string("Customers"));
    json_object_set_new(data, "api_url", json_string("/api/customers"));
    sales_view(data);
}

void customers_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(runtime_core(rt)->store);
    const char *q = page_query(x, "q"), *after = page_query(x, "after");
    int limit = limit_of(x, CUSTOMERS);
    if (!limit) return;
    if (q && utf8_count(q) > QUERY_MAX) {
        exchange_problem(x, 400, "q \"%.60s\" is longer than %d characters; make it shorter.", q, QUERY_MAX);
        return;
    }
    json_t *data = customers_page(reader, q, after, limit);
    if (data) json_object_set_new(data, "sales", customers_sales(rt, reader));
    x->data = data;
    if (!page_reader_ok(x, reader)) return;
    if (!data)
        exchange_problem(x, 400, "after \"%.60s\" is not the id of a customer.", after);
    else if (!x->api)
        customers_view(data, q, limit);
}

static void customer_view(json_t *data, int limit) {
    json_t *order;
    size_t i;
    json_t *path = view_url("/customers/", json_get_text(data, "customer_id"));
    json_array_foreach(json_object_get(data, "orders"), i, order) customers_view_order(order);
    json_object_set_new(
        data, "older", further_url(json_string_value(path), limit, NULL, "before", json_object_get(data, "next")));
    json_object_set_new(data, "form_url", customers_form_url(json_get_text(data, "customer_id"), NULL, NULL));
    json_object_set(data, "heading", json_object_get(data, "name"));
    json_object_set_new(data, "api_url", json_sprintf("/api%s", json_string_value(path)));
    page_add_moment(data, "registered_at", "registered_moment");
    returns_view(data);
    sales_view(data);
    json_decref(path);
}

/* What follows the customer on their page: a page of their orders, and their returns. False: there is no such order. */
static bool customer_add(struct exchange *x, struct connection *reader, json_t *one, const char *before, int limit) {
    const char *id = json_get_text(one, "customer_id");
    json_t *orders = customers_orders(reader, id, before, limit);
    if (orders) json_object_update(one, orders);
    json_object_set_new(one, "returns", customers_returns(reader, id, RETURNS));
    json_object_set_new(one, "sales", customers_sales(x->context, reader));
    json_decref(orders);
    return orders;
}

void customer_get(struct exchange *x) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    const char *id = exchange_parameter(x, "id"), *before = page_query(x, "before");
    int limit = limit_of(x, ORDERS);
    if (!limit) return;
    x->data = customers_one(reader, id);
    bool whole = x->data && customer_add(x, reader, x->data, before, limit);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data)
        exchange_problem(
            x, 404, "There is no customer \"%.60s\" in what sales has published so far; see /customers.", id);
    else if (!whole)
        exchange_problem(x, 400, "before \"%.60s\" is not an order of this customer.", before);
    else if (!x->api)
        customer_view(x->data, limit);
}

static void order_view(json_t *data) {
    const char *customer = json_get_text(json_object_get(data, "customer"), "customer_id");
    customers_view_order(data);
    json_object_set_new(data, "customer_url", *customer ? view_url("/customers/", customer) : json_null());
    json_object_set_new(data, "heading", json_sprintf("Order %s", json_get_text(data, "order_id")));
    json_object_set_new(data, "api_url", view_url("/api/orders/", json_get_text(data, "order_id")));
    returns_view(data);
    sales_view(data);
}

void order_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(runtime_core(rt)->store);
    const char *id = exchange_parameter(x, "id");
    json_t *data = x->data = customers_order(reader, id);
    if (data) {
        json_t *customer = customers_one(reader, json_get_text(data, "customer_id"));
        json_object_set_new(data, "customer", customer ? customer : json_null());
        json_object_set_new(data, "returns", customers_order_returns(reader, id, RETURNS));
        json_object_set_new(data, "sales", customers_sales(rt, reader));
    }
    if (!page_reader_ok(x, reader)) return;
    if (!data)
        exchange_problem(x, 404, "There is no order \"%.60s\" in what sales has published so far; see /customers.", id);
    else if (!x->api)
        order_view(data);
}
