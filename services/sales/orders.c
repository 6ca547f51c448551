#include "orders.h"

#include "chassis/base/failure.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/money.h"
#include "chassis/events/reaction.h"

#include <stdio.h>
#include <string.h>

/* --- What events make of the tables */

static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static void customer_registered(struct connection *c, const struct event *own) {
    (void)store_run(
        c, "INSERT INTO customer (customer_id, version, name, location, registered_at) VALUES (?, ?, ?, ?, ?)",
        value_text(text_of(own->data, "customer_id")), value_int(own->version), value_text(text_of(own->data, "name")),
        value_text(text_of(own->data, "location")), value_int(own->occurred_at));
}

/* What the event says of an item's price. NULL: nothing. */
static struct value amount_value(struct connection *c, const json_t *price) {
    int64_t minor;
    struct failure why;
    if (!json_is_object(price)) return value_text(NULL);
    if (money_parse(text_of(price, "amount") ? text_of(price, "amount") : "", &minor, &why) == OK)
        return value_int(minor);
    store_spoil(c, REJECT, why.text);
    return value_text(NULL);
}

static void item_add(struct connection *c, const char *order_id, const json_t *item) {
    const json_t *price = json_object_get(item, "price");
    int64_t line = json_get_int(item, "line");
    (void)store_run(
        c,
        "INSERT INTO order_item (order_id, line, model, price_minor, price_currency, serial_number) VALUES (?, ?, ?, ?, ?, ?)",
        value_text(order_id), value_int(line), value_text(text_of(item, "model")), amount_value(c, price),
        value_text(text_of(price, "currency")), value_text(text_of(item, "serial_number")));
    (void)store_run(
        c, "UPDATE customer_order SET last_line = ? WHERE order_id = ? AND last_line < ?", value_int(line),
        value_text(order_id), value_int(line));
}

static void order_placed(struct connection *c, const struct event *own) {
    const char *order_id = text_of(own->data, "order_id");
    (void)store_run(
        c,
        "INSERT INTO customer_order (order_id, version, customer_id, state, shipment_id, placed_at, changed_at, last_line) "
        "VALUES (?, ?, ?, 'placed', ?, ?, ?, 0)",
        value_text(order_id), value_int(own->version), value_text(text_of(own->data, "customer_id")),
        value_text(text_of(own->data, "shipment_id")), value_int(own->occurred_at), value_int(own->occurred_at));
    json_each(i, item, json_object_get(own->data, "items")) item_add(c, order_id, item);
}

static void item_change(struct connection *c, const char *order_id, const json_t *item) {
    const json_t *price = json_object_get(item, "price");
    int64_t line = json_get_int(item, "line");
    if (json_is_true(json_object_get(item, "removed"))) {
        (void)store_run(
            c, "DELETE FROM order_item WHERE order_id = ? AND line = ?", value_text(order_id), value_int(line));
        return;
    }
    if (!store_run(
            c,
            "UPDATE order_item SET model = COALESCE(?, model), price_minor = COALESCE(?, price_minor), "
            "price_currency = COALESCE(?, price_currency), serial_number = COALESCE(?, serial_number) "
            "WHERE order_id = ? AND line = ?",
            value_text(text_of(item, "model")), amount_value(c, price), value_text(text_of(price, "currency")),
            value_text(text_of(item, "serial_number")), value_text(order_id), value_int(line)))
        item_add(c, order_id, item);
}

/* state: NULL: as before. */
static void order_touch(struct connection *c, const struct event *own, const char *state) {
    (void)store_run(
        c,
        "UPDATE customer_order SET version = ?, changed_at = ?, shipment_id = COALESCE(?, shipment_id), "
        "state = COALESCE(?, state) WHERE order_id = ?",
        value_int(own->version), value_int(own->occurred_at), value_text(text_of(own->data, "shipment_id")),
        value_text(state), value_text(text_of(own->data, "order_id")));
}

static void order_changed(struct connection *c, const struct event *own) {
    json_each(i, item, json_object_get(own->data, "items")) item_change(c, text_of(own->data, "order_id"), item);
    order_touch(c, own, NULL);
}

static void order_completed(struct connection *c, const struct event *own) {
    order_touch(c, own, "completed");
}

void orders_decided(struct connection *c, const struct event *own) {
    static const struct {
        const char *type;
        void (*fold)(struct connection *c, const struct event *own);
    } folds[] = {
        {"returns.sales.CustomerRegistered", customer_registered},
        {"returns.sales.OrderPlaced", order_placed},
        {"returns.sales.OrderChanged", order_changed},
        {"returns.sales.OrderCompleted", order_completed}};
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
        if (!strcmp(own->type, folds[i].type)) folds[i].fold(c, own);
}

/* --- Refunds */

bool orders_allow(
    struct reaction *r, const char *order_id, const char *serial_number, const struct money *cost,
    char reason[ORDERS_REASON]) {
    bool known = store_int(r->store, 0, "SELECT COUNT(*) FROM customer_order WHERE order_id = ?", value_text(order_id));
    bool found = false;
    struct money price = {0};
    *reason = '\0';
    if (!known && reaction_policy_is(r, "unknown-orders", "refund")) return true;
    for (struct rows item = store_rows(
             r->store, "SELECT price_minor, price_currency FROM order_item WHERE order_id = ? AND serial_number = ?",
             value_text(order_id), value_text(serial_number));
         rows_next(&item); found = true) {
        price.minor = rows_int(&item, 0);
        snprintf(price.currency, sizeof price.currency, "%s", rows_text(&item, 1));
    }
    char asked[32], paid[32];
    money_text(cost->minor, asked);
    money_text(price.minor, paid);
    if (!known)
        snprintf(reason, ORDERS_REASON, "there never was an order \"%.100s\"", order_id);
    else if (!found)
        snprintf(reason, ORDERS_REASON, "order \"%.100s\" has no item \"%.100s\"", order_id, serial_number);
    else if (strcmp(price.currency, cost->currency) != 0)
        snprintf(
            reason, ORDERS_REASON, "the cost is in %s, and the item was paid for in %s", cost->currency,
            price.currency);
    else if (cost->minor > price.minor)
        snprintf(reason, ORDERS_REASON, "the cost, %s %s, is above the item's price, %s", asked, cost->currency, paid);
    return !*reason;
}

/* --- Queries. What there is no memory for is an error of the connection, so that nobody takes it for not being there.
 */

static json_t *whole(struct connection *c, json_t *value) {
    if (!value) store_spoil(c, RETRY, "out of memory");
    return value;
}

static void append(struct connection *c, json_t *list, json_t *value) {
    if (json_array_append_new(list, value)) store_spoil(c, RETRY, "out of memory");
}

#define CUSTOMER "SELECT customer_id, version, name, location, registered_at FROM customer "
static json_t *customer_json(const struct rows *r) {
    return json_pack(
        "{s:s, s:I, s:s, s:s, s:o}", "customer_id", rows_text(r, 0), "version", (json_int_t)rows_int(r, 1), "name",
        rows_text(r, 2), "location", rows_text(r, 3), "registered_at", time_json(rows_int(r, 4)));
}

json_t *orders_customer(struct connection *c, const char *customer_id) {
    json_t *one = NULL;
    for (struct rows r = store_rows(c, CUSTOMER "WHERE customer_id = ?", value_text(customer_id)); rows_next(&r);)
        one = whole(c, customer_json(&r));
    return one;
}

/* Leaves `limit` of the list, and says which is the last of them if there are more. */
static json_t *page_json(const char *name, json_t *list, const char *id, int limit) {
    bool more = json_array_size(list) > (size_t)limit;
    if (more) json_array_remove(list, (size_t)limit);
    const char *last = text_of(json_array_get(list, (size_t)limit - 1), id);
    return json_pack("{s:o, s:s?}", name, list, "next", more ? last : NULL);
}

#define EVER INT64_MAX /* no moment is later */

json_t *orders_customers(struct connection *reader, const char *before, int limit) {
    int64_t at =
        before ? store_int(reader, -1, "SELECT registered_at FROM customer WHERE customer_id = ?", value_text(before))
               : EVER;
    if (at < 0) return NULL;
    json_t *list = json_array();
    for (struct rows r = store_rows(
             reader,
             CUSTOMER
             "WHERE (registered_at, customer_id) < (?, ?) ORDER BY registered_at DESC, customer_id DESC LIMIT ?",
             value_int(at), value_text(before ? before : ""), value_int(limit + 1));
         rows_next(&r);)
        append(reader, list, customer_json(&r));
    return whole(reader, page_json("customers", list, "customer_id", limit));
}

static json_t *items_json(struct connection *c, const char *order_id) {
    json_t *list = json_array();
    for (
        struct rows r = store_rows(
            c,
            "SELECT line, model, price_minor, price_currency, serial_number FROM order_item WHERE order_id = ? ORDER BY line",
            value_text(order_id));
        rows_next(&r);) {
        char amount[32];
        append(
            c, list,
            json_pack(
                "{s:I, s:s, s:{s:s, s:s}, s:o}", "line", (json_int_t)rows_int(&r, 0), "model", rows_text(&r, 1),
                "price", "amount", money_text(rows_int(&r, 2), amount), "currency", rows_text(&r, 3), "serial_number",
                rows_text_json(&r, 4)));
    }
    return list;
}

#define ORDER "SELECT order_id, version, state, customer_id, shipment_id, placed_at, changed_at, last_line, "
/* items: the reference is taken. */
static json_t *order_json(const struct rows *r, json_t *items) {
    return json_pack(
        "{s:s, s:I, s:s, s:s, s:o, s:o, s:o, s:I, s:o}", "order_id", rows_text(r, 0), "version",
        (json_int_t)rows_int(r, 1), "state", rows_text(r, 2), "customer_id", rows_text(r, 3), "shipment_id",
        rows_text_json(r, 4), "placed_at", time_json(rows_int(r, 5)), "changed_at", time_json(rows_int(r, 6)),
        "last_line", (json_int_t)rows_int(r, 7), "items", items);
}

json_t *orders_one(struct connection *c, const char *order_id) {
    json_t *one = NULL, *items = items_json(c, order_id);
    for (struct rows r = store_rows(c, ORDER "0 FROM customer_order WHERE order_id = ?", value_text(order_id));
         rows_next(&r);)
        one = whole(c, order_json(&r, json_incref(items)));
    json_decref(items);
    return one;
}

json_t *orders_read(struct connection *reader, const char *order_id) {
    (void)store_run(reader, "BEGIN");
    json_t *one = orders_one(reader, order_id);
    (void)store_run(reader, "COMMIT");
    return one;
}

json_t *orders_page(struct connection *reader, const char *customer_id, const char *before, int limit) {
    static const char all[] =
        ORDER "(SELECT COUNT(*) FROM order_item i WHERE i.order_id = o.order_id) FROM customer_order o "
              "WHERE (placed_at, order_id) < (?, ?) ORDER BY placed_at DESC, order_id DESC LIMIT ?";
    static const char of_one[] =
        ORDER "(SELECT COUNT(*) FROM order_item i WHERE i.order_id = o.order_id) FROM customer_order o "
              "WHERE customer_id = ? AND (placed_at, order_id) < (?, ?) ORDER BY placed_at DESC, order_id DESC LIMIT ?";
    int64_t at =
        before ? store_int(reader, -1, "SELECT placed_at FROM customer_order WHERE order_id = ?", value_text(before))
               : EVER;
    if (at < 0) return NULL;
    struct value place[] = {
        {0}, value_text(customer_id), value_int(at), value_text(before ? before : ""), value_int(limit + 1)};
    struct rows r =
        customer_id ? store_rows_values(reader, of_one, place, 4) : store_rows_values(reader, all, place + 1, 3);
    json_t *list = json_array();
    while (rows_next(&r)) append(reader, list, order_json(&r, json_integer(rows_int(&r, 8))));
    return whole(reader, page_json("orders", list, "order_id", limit));
}

char *orders_holder(struct connection *c, const char *serial_number, const char *but_order_id) {
    char *holder = NULL;
    for (struct rows r = store_rows(
             c, "SELECT order_id FROM order_item WHERE serial_number = ? AND order_id <> ? LIMIT 1",
             value_text(serial_number), value_text(but_order_id));
         rows_next(&r);)
        if (!(holder = strdup(rows_text(&r, 0)))) store_spoil(c, RETRY, "out of memory");
    return holder;
}
