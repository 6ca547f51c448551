#include "support/form/customers.h"

#include "support/returns/orders.h"
#include "support/returns/returns.h"

#include "chassis/base/buffer.h"
#include "chassis/base/json_get.h"
#include "chassis/base/money.h"

#include <string.h>

/* A query's columns one after another, in the order in which they are taken. */

/* --- Customers */

/* Of all returns that name one of the customer's orders, or the customer. return_request is r. */
#define RETURNS_OF(customer, columns, further)                                                                         \
    "SELECT " columns " FROM customer_order o JOIN return_request r ON r.order_id = o.order_id "                       \
    "WHERE o.customer_id = " customer further " UNION SELECT " columns " FROM return_private p "                       \
    "JOIN return_request r ON r.return_id = p.return_id WHERE p.customer_id = " customer further

#define CUSTOMER_COLUMNS                                                                                               \
    "c.customer_id, c.name, c.location, c.registered_at, "                                                             \
    "(SELECT COUNT(*) FROM customer_order o WHERE o.customer_id = c.customer_id), "                                    \
    "(SELECT COUNT(*) FROM (" RETURNS_OF("c.customer_id", "r.return_id", " AND r.state = 'open'") ") u)"

static json_t *customer_json(const struct rows *r) {
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:I}", "customer_id", rows_text_json(r, 0), "name", rows_text_json(r, 1), "location",
        rows_text_json(r, 2), "registered_at", rows_time_json(r, 3), "order_count", (json_int_t)rows_int(r, 4),
        "open_return_count", (json_int_t)rows_int(r, 5));
}

/* A pattern for LIKE … ESCAPE '!' that finds the text anywhere, whatever characters it has. */
static struct buffer pattern_of(const char *q) {
    struct buffer pattern = BUFFER(100000);
    text_auto text = orders_search_text(q ? q : "");
    buffer_text(&pattern, "%");
    for (const char *p = text; p && *p; p++) buffer_format(&pattern, "%s%c", strchr("%_!", *p) ? "!" : "", *p);
    buffer_text(&pattern, "%");
    if (!text) buffer_free(&pattern);
    return pattern;
}

/* after: the customer of that id. "": from the first on. */
static json_t *customers_read(struct connection *reader, const char *pattern, const char *after, int limit) {
    json_t *list = json_array();
    struct rows r = store_rows(
        reader,
        "SELECT " CUSTOMER_COLUMNS " FROM customer c WHERE (c.search, c.customer_id) > "
        "(COALESCE((SELECT search FROM customer WHERE customer_id = ?), ''), ?) "
        "AND c.search LIKE ? ESCAPE '!' ORDER BY c.search, c.customer_id LIMIT ?",
        value_text(after), value_text(after), value_text(pattern), value_int(limit + 1));
    while (rows_next(&r)) json_array_append_new(list, customer_json(&r));
    json_t *next = returns_cut(list, limit, "customer_id");
    int64_t total =
        store_int(reader, 0, "SELECT COUNT(*) FROM customer WHERE search LIKE ? ESCAPE '!'", value_text(pattern));
    return json_pack("{s:o, s:I, s:o}", "customers", list, "total", (json_int_t)total, "next", next);
}

json_t *customers_page(struct connection *reader, const char *q, const char *after, int limit) {
    static const char known[] = "SELECT COUNT(*) FROM customer WHERE customer_id = ?";
    buffer_auto pattern = pattern_of(q);
    if (after && !store_int(reader, 0, known, value_text(after))) return NULL;
    if (pattern.data) return customers_read(reader, pattern.data, after ? after : "", limit);
    store_spoil(reader, RETRY, "out of memory");
    return NULL;
}

json_t *customers_one(struct connection *reader, const char *customer_id) {
    json_t *found = NULL;
    for (struct rows r = store_rows(
             reader, "SELECT " CUSTOMER_COLUMNS " FROM customer c WHERE c.customer_id = ?", value_text(customer_id));
         rows_next(&r);)
        found = customer_json(&r);
    return found;
}

/* --- Orders */

static json_t *price_json(const struct rows *r, int column) {
    char amount[32];
    if (rows_null(r, column)) return json_null();
    return json_pack(
        "{s:s, s:s}", "amount", money_text(rows_int(r, column), amount), "currency", rows_text(r, column + 1));
}

#define ITEM_RETURNS "20" /* the newest: a page may have thousands of items */

static json_t *items_read(struct connection *reader, const char *order_id) {
    json_t *list = json_array();
    for (struct rows r = store_rows(
             reader,
             "SELECT line, model, price_minor, price_currency, serial_number FROM order_item "
             "WHERE order_id = ? AND present = 1 ORDER BY line",
             value_text(order_id));
         rows_next(&r);) {
        bool known = !rows_null(&r, 4);
        json_t *holder = known ? returns_holder(reader, rows_text(&r, 4)) : NULL;
        json_array_append_new(
            list, json_pack(
                      "{s:I, s:o, s:o, s:o, s:o, s:o}", "line", (json_int_t)rows_int(&r, 0), "model",
                      rows_text_json(&r, 1), "price", price_json(&r, 2), "serial_number", rows_text_json(&r, 4),
                      "open_return", holder ? holder : json_null(), "returns",
                      store_json(
                          reader,
                          "SELECT return_id, state FROM return_request WHERE order_id = ? AND serial_number = ? "
                          "ORDER BY requested_at DESC, return_id DESC LIMIT " ITEM_RETURNS,
                          value_text(order_id), known ? value_text(rows_text(&r, 4)) : value_text(NULL))));
    }
    return list;
}

#define ORDER_COLUMNS "order_id, customer_id, shipment_id, version, placed_at, changed_at, completed_at"

static json_t *order_json(struct connection *reader, const struct rows *r) {
    const char *status = !rows_null(r, 6) ? "completed" : !rows_null(r, 4) ? "placed" : "not known";
    return json_pack(
        "{s:o, s:o, s:o, s:s, s:I, s:o, s:o, s:o, s:o}", "order_id", rows_text_json(r, 0), "customer_id",
        rows_text_json(r, 1), "shipment_id", rows_text_json(r, 2), "status", status, "version",
        (json_int_t)rows_int(r, 3), "placed_at", rows_time_json(r, 4), "changed_at", rows_time_json(r, 5),
        "completed_at", rows_time_json(r, 6), "items", items_read(reader, rows_text(r, 0)));
}

json_t *customers_orders(struct connection *reader, const char *customer_id, const char *before, int limit) {
    static const char newest[] = "SELECT " ORDER_COLUMNS " FROM customer_order WHERE customer_id = ? "
                                 "ORDER BY placed_at DESC, order_id DESC LIMIT ?";
    static const char older[] =
        "SELECT " ORDER_COLUMNS " FROM customer_order WHERE customer_id = ? AND "
        "(placed_at, order_id) < (SELECT placed_at, order_id FROM customer_order WHERE order_id = ?) "
        "ORDER BY placed_at DESC, order_id DESC LIMIT ?";
    static const char known[] = "SELECT COUNT(*) FROM customer_order WHERE order_id = ? AND customer_id = ?";
    struct value customer = value_text(customer_id), most = value_int(limit + 1), from = value_text(before);
    if (before && !store_int(reader, 0, known, from, customer)) return NULL;
    json_t *list = json_array();
    struct rows r =
        before ? store_rows(reader, older, customer, from, most) : store_rows(reader, newest, customer, most);
    while (rows_next(&r)) json_array_append_new(list, order_json(reader, &r));
    json_t *next = returns_cut(list, limit, "order_id");
    return json_pack("{s:o, s:o}", "orders", list, "next", next);
}

json_t *customers_order(struct connection *reader, const char *order_id) {
    json_t *found = NULL;
    for (struct rows r = store_rows(
             reader, "SELECT " ORDER_COLUMNS " FROM customer_order WHERE order_id = ?", value_text(order_id));
         rows_next(&r);)
        found = order_json(reader, &r);
    return found;
}

/* --- Their returns */

/* Each is read from a moment of its own, so the ids are taken first. The reference to them is taken. */
static json_t *returns_read(struct connection *reader, json_t *taken) {
    json_auto_t *ids = taken;
    json_t *list = json_array();
    json_each(i, id, ids) {
        json_t *one = returns_one(reader, json_get_text(id, "return_id"), &bound_now);
        if (one) json_array_append_new(list, one);
    }
    return list;
}

json_t *customers_returns(struct connection *reader, const char *customer_id, int limit) {
    static const char sql[] = RETURNS_OF("?", "r.return_id, r.requested_at", "") " ORDER BY 2 DESC, 1 DESC LIMIT ?";
    return returns_read(
        reader, store_json(reader, sql, value_text(customer_id), value_text(customer_id), value_int(limit)));
}

json_t *customers_order_returns(struct connection *reader, const char *order_id, int limit) {
    static const char sql[] = "SELECT return_id FROM return_request WHERE order_id = ? "
                              "ORDER BY requested_at DESC, return_id DESC LIMIT ?";
    return returns_read(reader, store_json(reader, sql, value_text(order_id), value_int(limit)));
}
