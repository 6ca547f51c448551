#include "desk_view.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/pages/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void view_id(const char *prefix, char out[32]) {
    char id[RETURN_ID];
    return_id_make(id);
    snprintf(out, 32, "%s%s", prefix, id + strlen("R-"));
}

static json_t *url_of(const char *path, const char *id) {
    struct buffer url = BUFFER(4000);
    buffer_text(&url, path);
    buffer_percent(&url, id);
    json_t *text = json_string(url.data ? url.data : "/");
    buffer_free(&url);
    return text;
}

/* --- Forms */

static const char *wrong_of(const json_t *errors, const char *field) {
    const char *found = NULL;
    json_t *error;
    size_t i;
    json_array_foreach((json_t *)errors, i, error) if (!found && !strcmp(json_get_text(error, "field"), field)) found =
        json_get_text(error, "detail");
    return found;
}

/* "serial number of item 4" */
static json_t *label_of(const char *field) {
    static const char *const labels[][2] = {
        {"name", "Name"},
        {"location", "Location"},
        {"customer_id", "Customer"},
        {"shipment_id", "Shipment"},
        {"items", "Items"},
        {"model", "model"},
        {"serial_number", "serial number"},
        {"price.amount", "price"},
        {"price.currency", "currency"},
        {"price", "price"}};
    int row = 0, n = 0;
    const char *name = sscanf(field, "items.%d.%n", &row, &n) == 1 && n ? field + n : field;
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        if (!strcmp(name, labels[i][0]))
            return n ? json_sprintf("Item %d, %s", row + 1, labels[i][1]) : json_string(labels[i][1]);
    return json_string(field);
}

static void errors_add(json_t *data, const json_t *errors) {
    json_t *list = json_array(), *error;
    size_t i;
    json_array_foreach((json_t *)errors, i, error) json_array_append_new(
        list, json_pack(
                  "{s:s, s:o, s:s}", "field", json_get_text(error, "field"), "label",
                  label_of(json_get_text(error, "field")), "detail", json_get_text(error, "detail")));
    json_object_set_new(data, "has_list", json_boolean(json_array_size(list)));
    if (json_array_size(list)) json_object_set_new(data, "has_errors", json_true());
    json_object_set_new(data, "errors", list);
}

static void input_add(
    json_t *list, const char *within, const char *name, const char *label, const char *hint, const char *value,
    const json_t *errors) {
    char field[120];
    snprintf(field, sizeof field, "%s%s", within, name);
    json_array_append_new(
        list, json_pack(
                  "{s:s, s:s, s:s?, s:s, s:s?}", "name", field, "label", label, "hint", hint, "value",
                  value ? value : "", "wrong", wrong_of(errors, field)));
}

static json_t *row_json(size_t i, const json_t *item, const char *currency, const json_t *errors) {
    char within[40];
    const json_t *price = json_object_get(item, "price"), *line = json_object_get(item, "line");
    json_t *inputs = json_array();
    snprintf(within, sizeof within, "items.%zu.", i);
    input_add(inputs, within, "model", "Model", NULL, json_get_text(item, "model"), errors);
    input_add(inputs, within, "price.amount", "Price", NULL, json_get_text(price, "amount"), errors);
    input_add(
        inputs, within, "price.currency", "Currency", NULL,
        json_object_get(price, "currency") ? json_get_text(price, "currency") : currency, errors);
    input_add(inputs, within, "serial_number", "Serial number", NULL, json_get_text(item, "serial_number"), errors);
    return json_pack(
        "{s:s, s:i, s:O?, s:b, s:o}", "within", within, "number", (int)i + 1, "line", line, "removed",
        json_is_true(json_object_get(item, "removed")), "inputs", inputs);
}

/* --- Customers */

void view_customers(json_t *data, const json_t *typed, const json_t *errors) {
    json_t *one, *inputs = json_array();
    size_t i;
    char id[32];
    json_array_foreach(json_object_get(data, "customers"), i, one) {
        page_add_moment(one, "registered_at", "moment");
        json_object_set_new(one, "url", url_of("/customers/", json_get_text(one, "customer_id")));
    }
    if (json_is_string(json_object_get(data, "next")))
        json_object_set_new(data, "older", url_of("/customers?before=", json_get_text(data, "next")));
    input_add(
        inputs, "", "name", "Name", "The company’s, such as Nordwind Logistik", json_get_text(typed, "name"), errors);
    input_add(
        inputs, "", "location", "Location", "The town where its devices are", json_get_text(typed, "location"), errors);
    json_object_set_new(data, "inputs", inputs);
    view_id("C-", id);
    const char *given = json_get_text(typed, "customer_id");
    json_object_set_new(data, "made_id", json_string(*given ? given : id));
    errors_add(data, errors);
    json_object_set_new(data, "heading", json_string("Customers"));
    json_object_set_new(data, "api_url", json_string("/api/customers"));
}

void view_customer(json_t *data, json_t *orders) {
    const char *id = json_get_text(data, "customer_id");
    view_orders(orders, id);
    page_add_moment(data, "registered_at", "moment");
    json_object_set(data, "orders", json_object_get(orders, "orders"));
    json_object_set(data, "older", json_object_get(orders, "older"));
    json_object_set_new(data, "place_url", url_of("/orders/new?customer=", id));
    json_object_set(data, "heading", json_object_get(data, "name"));
    json_object_set_new(data, "api_url", url_of("/api/customers/", id));
}

/* --- Orders */

static void state_add(json_t *order) {
    bool completed = !strcmp(json_get_text(order, "state"), "completed");
    json_object_set_new(order, "is_open", json_boolean(!completed));
    json_object_set_new(order, "tone", json_string(completed ? "ok" : "wait"));
    page_add_moment(order, "placed_at", "moment");
    page_add_moment(order, "changed_at", "changed_moment");
}

void view_orders(json_t *data, const char *customer_id) {
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(data, "orders"), i, one) {
        state_add(one);
        json_object_set_new(one, "url", url_of("/orders/", json_get_text(one, "order_id")));
        json_object_set_new(one, "customer_url", url_of("/customers/", json_get_text(one, "customer_id")));
    }
    if (json_is_string(json_object_get(data, "next"))) {
        struct buffer path = BUFFER(4000);
        buffer_text(&path, "/orders?");
        if (customer_id) buffer_text(&path, "customer="), buffer_percent(&path, customer_id), buffer_text(&path, "&");
        buffer_text(&path, "before=");
        if (path.data) json_object_set_new(data, "older", url_of(path.data, json_get_text(data, "next")));
        buffer_free(&path);
    }
    json_object_set_new(data, "heading", json_string("Orders"));
    json_object_set_new(data, "api_url", json_string("/api/orders"));
}

/* What was typed for that line; else the line itself. */
static json_t *typed_for(const json_t *typed, json_t *item) {
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(typed, "items"), i, one) if (
        json_object_get(one, "line") &&
        json_equal(json_object_get(one, "line"), json_object_get(item, "line"))) return one;
    return item;
}

/* A form has the rows in the order in which it sends them, so that errors name the same ones. */
static json_t *rows_of(json_t *shown, const json_t *typed, const json_t *errors) {
    json_t *rows = json_array(), *item;
    size_t i, fresh = 0;
    json_array_foreach(shown, i, item) json_array_append_new(rows, row_json(i, typed_for(typed, item), "EUR", errors));
    json_array_foreach(json_object_get(typed, "items"), i, item) {
        if (json_object_get(item, "line") || i < json_array_size(shown)) continue;
        json_array_append_new(rows, row_json(json_array_size(rows), item, "EUR", errors)), fresh++;
    }
    for (; fresh < 2; fresh++) json_array_append_new(rows, row_json(json_array_size(rows), NULL, "EUR", errors));
    return rows;
}

/* Takes the lines from there on out of the order's, and says where more are. */
static json_t *lines_take(json_t *data, int64_t from) {
    json_t *shown = json_array(), *item, *items = json_object_get(data, "items");
    const char *url = json_get_text(data, "url");
    size_t i;
    json_array_foreach(items, i, item) {
        int64_t line = json_integer_value(json_object_get(item, "line"));
        if (line < from) continue;
        if (json_array_size(shown) == VIEW_LINES) {
            json_object_set_new(data, "further", json_sprintf("%s?from=%lld", url, (long long)line));
            break;
        }
        json_array_append(shown, item);
    }
    json_object_set_new(data, "items_n", json_integer((json_int_t)json_array_size(items)));
    json_object_set_new(data, "from", json_integer(from));
    if (from > 1) json_object_set_new(data, "first_url", json_string(url));
    return shown;
}

void view_order(json_t *data, int64_t from, const json_t *typed, const json_t *errors) {
    const char *id = json_get_text(data, "order_id");
    json_t *order_inputs = json_array();
    state_add(data);
    json_object_set_new(data, "url", url_of("/orders/", id));
    json_object_set_new(data, "customer_url", url_of("/customers/", json_get_text(data, "customer_id")));
    json_object_set_new(data, "audit_url", json_string("/audit"));
    json_t *shown = lines_take(data, from);
    const char *shipment = typed && json_object_get(typed, "shipment_id") ? json_get_text(typed, "shipment_id")
                                                                          : json_get_text(data, "shipment_id");
    input_add(order_inputs, "", "shipment_id", "Shipment", "The parcel that it goes out with", shipment, errors);
    json_object_set_new(data, "inputs", order_inputs);
    json_object_set_new(data, "rows", rows_of(shown, typed, errors));
    json_object_set_new(data, "items", shown);
    errors_add(data, errors);
    json_object_set_new(data, "heading", json_sprintf("Order %s", id));
    json_object_set_new(data, "api_url", url_of("/api/orders/", id));
}

json_t *view_order_new(const json_t *typed, int rows, const json_t *errors) {
    json_t *data = json_object(), *inputs = json_array(), *list = json_array();
    const json_t *items = json_object_get(typed, "items");
    const char *given = json_get_text(typed, "order_id");
    char id[32];
    input_add(
        inputs, "", "customer_id", "Customer", "Its id, such as C-1029", json_get_text(typed, "customer_id"), errors);
    input_add(
        inputs, "", "shipment_id", "Shipment", "Leave it empty if it is not known yet",
        json_get_text(typed, "shipment_id"), errors);
    if (rows > VIEW_ROWS_MAX) rows = VIEW_ROWS_MAX;
    for (int i = 0; i < rows; i++)
        json_array_append_new(list, row_json((size_t)i, json_array_get(items, (size_t)i), "EUR", errors));
    view_id("ORD-", id);
    json_object_set_new(data, "made_id", json_string(*given ? given : id));
    json_object_set_new(data, "inputs", inputs);
    json_object_set_new(data, "rows", list);
    json_object_set_new(data, "rows_n", json_integer(rows));
    json_object_set_new(data, "may_grow", json_boolean(rows < VIEW_ROWS_MAX));
    errors_add(data, errors);
    json_object_set_new(data, "heading", json_string("Place an order"));
    return data;
}
