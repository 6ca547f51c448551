#include "support/form/customers.h"

#include "support/form/view.h"
#include "support/returns/returns.h"

#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/fleet/peers.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <string.h>

enum { CUSTOMERS = 50, ORDERS = 10, RETURNS = 20 };

/* What every one of these pages says. */
static void sales_add(struct exchange *x, struct connection *reader, json_t *data) {
    json_auto_t *known = peers_json(runtime_peers(x->context));
    const json_t *sales = json_find(json_object_get(known, "peers"), "name", "sales");
    const char *state = json_get_text(sales, "state");
    json_t *said = json_pack(
        "{s:O?, s:O?, s:o}", "state", json_object_get(sales, "state"), "text", json_object_get(sales, "text"),
        "last_event", returns_last_event(reader, "sales"));
    if (!x->api && (!strcmp(state, "stopped") || !strcmp(state, "does not answer")))
        json_object_set_new(said, "away", json_true());
    json_object_set_new(data, "sales", said);
}

bool customers_query_ok(struct exchange *x, const char *q) {
    if (!q || utf8_count(q) <= CUSTOMERS_QUERY_MAX) return true;
    exchange_problem(x, 400, "q \"%.60s\" is longer than %d characters; make it shorter.", q, CUSTOMERS_QUERY_MAX);
    return false;
}

/* --- An order and its items */

/* The form starts from a customer who is registered, and from an item that is in no open return. */
static void item_view(const json_t *order, json_t *item) {
    const char *holder = json_get_text(item, "open_return");
    bool can_start = *json_get_text(item, "serial_number") && !*holder && *json_get_text(order, "customer_id") &&
                     !json_is_null(json_object_get(order, "customer"));
    bool listed = !*holder || json_find(json_object_get(item, "returns"), "return_id", holder);
    json_add(item, "{s:b, s:b}", "held_elsewhere", !listed, "can_start", can_start);
}

void customers_view_order(json_t *order) {
    json_each(i, item, json_object_get(order, "items")) item_view(order, item);
}

void customers_view_request(struct connection *reader, json_t *request) {
    struct value order = value_text(json_get_text(request, "order_id"));
    struct value customer = value_text(json_get_text(request, "customer_id"));
    if (store_int(reader, 0, "SELECT 1 FROM customer_order WHERE order_id = ?", order))
        json_object_set_new(request, "order_known", json_true());
    if (store_int(reader, 0, "SELECT 1 FROM customer WHERE customer_id = ?", customer))
        json_object_set_new(request, "customer_known", json_true());
}

/* --- Pages */

static void data_view(json_t *data, json_t *heading, json_t *api_url, int limit) {
    json_t *returns = json_object_get(data, "returns");
    view_returns(returns);
    json_add(
        data, "{s:b, s:o, s:o, s:i}", "newest_only", json_array_size(returns) == RETURNS, "heading", heading, "api_url",
        api_url, "limit", limit);
}

void customers_get(struct exchange *x) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    const char *q = page_query(x, "q"), *after = page_query(x, "after");
    int limit = view_limit(x, CUSTOMERS);
    if (!limit || !customers_query_ok(x, q)) return;
    json_t *data = x->data = customers_page(reader, q, after, limit);
    if (data) sales_add(x, reader, data);
    if (!page_reader_ok(x, reader)) return;
    if (!data) exchange_problem(x, 400, "after \"%.60s\" is not the id of a customer.", after);
    if (!data || x->api) return;
    json_object_set_new(data, "q", json_string(q ? q : ""));
    data_view(data, json_string("Customers"), json_string("/api/customers"), limit);
}

/* What follows the customer on their page: a page of their orders, and their returns. False: there is no such order. */
static bool customer_add(struct exchange *x, struct connection *reader, json_t *one, const char *before, int limit) {
    const char *id = json_get_text(one, "customer_id");
    json_auto_t *orders = customers_orders(reader, id, before, limit);
    if (orders) json_object_update(one, orders);
    json_object_set_new(one, "returns", customers_returns(reader, id, RETURNS));
    sales_add(x, reader, one);
    return orders;
}

void customer_get(struct exchange *x) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    const char *id = exchange_parameter(x, "id"), *before = page_query(x, "before");
    int limit = view_limit(x, ORDERS);
    if (!limit) return;
    json_t *data = x->data = customers_one(reader, id);
    bool whole = data && customer_add(x, reader, data, before, limit);
    if (!page_reader_ok(x, reader)) return;
    if (!data)
        exchange_problem(
            x, 404, "There is no customer \"%.60s\" in what sales has published so far; see /customers.", id);
    else if (!whole)
        exchange_problem(x, 400, "before \"%.60s\" is not an order of this customer.", before);
    if (!whole || x->api) return;
    json_each(i, order, json_object_get(data, "orders")) customers_view_order(order);
    data_view(
        data, json_incref(json_object_get(data, "name")), view_url("/api/customers/", id),
        exchange_query(x, "limit") ? limit : 0);
}

void order_get(struct exchange *x) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    const char *id = exchange_parameter(x, "id");
    json_t *data = x->data = customers_order(reader, id);
    if (data) {
        json_t *customer = customers_one(reader, json_get_text(data, "customer_id"));
        json_add(data, "{s:o?, s:o}", "customer", customer, "returns", customers_order_returns(reader, id, RETURNS));
        sales_add(x, reader, data);
    }
    if (!page_reader_ok(x, reader)) return;
    if (!data)
        exchange_problem(x, 404, "There is no order \"%.60s\" in what sales has published so far; see /customers.", id);
    if (!data || x->api) return;
    customers_view_order(data);
    data_view(data, json_sprintf("Order %s", id), view_url("/api/orders/", id), 0);
}
