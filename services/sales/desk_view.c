#include "desk_view.h"

#include "chassis/base/buffer.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"

#include <stdio.h>
#include <string.h>

void view_id(const char *prefix, char out[32]) {
    char id[RETURN_ID];
    return_id_make(id);
    snprintf(out, 32, "%s%s", prefix, id + strlen("R-"));
}

/* The id that a form gives, or else a new one. */
static json_t *id_json(const json_t *typed, const char *name, const char *prefix) {
    const char *given = json_get_text(typed, name);
    char id[32];
    view_id(prefix, id);
    return json_string(*given ? given : id);
}

static json_t *url_of(const char *path, const char *id) {
    buffer_auto url = BUFFER(4000);
    buffer_text(&url, path);
    buffer_percent(&url, id);
    return json_string(url.data ? url.data : "/");
}

/* --- Forms */

struct input {
    const char *name, *label, *hint, *usual; /* usual: where nothing was typed */
};
static const struct input of_customer[] = {
    {"name", "Name", "The company’s, such as Nordwind Logistik", ""},
    {"location", "Location", "The town where its devices are", ""},
    {0},
};
static const struct input of_new_order[] = {
    {"customer_id", "Customer", "Its id, such as C-1029", ""},
    {"shipment_id", "Shipment", "Leave it empty if it is not known yet", ""},
    {0},
};
static const struct input of_order[] = {{"shipment_id", "Shipment", "The parcel that it goes out with", ""}, {0}};
static const struct input of_item[] = {
    {"model", "Model", NULL, ""},
    {"price.amount", "Price", NULL, ""},
    {"price.currency", "Currency", NULL, "EUR"},
    {"serial_number", "Serial number", NULL, ""},
    {0},
};

/* within: "items.3.". typed: what that part of the form holds. */
static json_t *inputs_json(const struct input *in, const char *within, const json_t *typed, const json_t *errors) {
    json_t *list = json_array();
    for (; in->name; in++) {
        char field[120];
        const char *dot = strchr(in->name, '.');
        const json_t *value =
            dot ? json_object_get(json_object_get(typed, "price"), dot + 1) : json_object_get(typed, in->name);
        snprintf(field, sizeof field, "%s%s", within, in->name);
        json_array_append_new(
            list, json_pack(
                      "{s:s, s:s, s:s?, s:s, s:O?}", "name", field, "label", in->label, "hint", in->hint, "value",
                      json_is_string(value) ? json_string_value(value) : in->usual, "wrong",
                      json_object_get(json_find(errors, "field", field), "detail")));
    }
    return list;
}

static json_t *row_json(size_t i, const json_t *item, const json_t *errors) {
    char within[40];
    snprintf(within, sizeof within, "items.%zu.", i);
    return json_pack(
        "{s:s, s:i, s:O?, s:b, s:o}", "within", within, "number", (int)i + 1, "line", json_object_get(item, "line"),
        "removed", json_is_true(json_object_get(item, "removed")), "inputs",
        inputs_json(of_item, within, item, errors));
}

/* "Item 4, serial number" */
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
    json_t *list = json_array();
    json_each(i, error, errors)
        json_array_append_new(
            list, json_pack(
                      "{s:s, s:o, s:s}", "field", json_get_text(error, "field"), "label",
                      label_of(json_get_text(error, "field")), "detail", json_get_text(error, "detail")));
    bool any = json_array_size(list);
    json_add(data, "{s:b, s:b, s:o}", "has_list", any, "has_errors", any, "errors", list);
}

/* --- Customers */

void view_customers(json_t *data, const json_t *typed, const json_t *errors) {
    errors_add(data, errors);
    json_add(
        data, "{s:s, s:s, s:o, s:o}", "heading", "Customers", "api_url", "/api/customers", "made_id",
        id_json(typed, "customer_id", "C-"), "inputs", inputs_json(of_customer, "", typed, errors));
}

void view_customer(json_t *data, json_t *orders) {
    const char *id = json_get_text(data, "customer_id");
    json_add(
        data, "{s:O?, s:O?, s:s, s:s, s:o}", "orders", json_object_get(orders, "orders"), "next",
        json_object_get(orders, "next"), "of", id, "heading", json_get_text(data, "name"), "api_url",
        url_of("/api/customers/", id));
}

/* --- Orders */

void view_orders(json_t *data, const char *customer_id) {
    json_add(data, "{s:s*, s:s, s:s}", "of", customer_id, "heading", "Orders", "api_url", "/api/orders");
}

/* What was typed for that line, or else the line itself. */
static const json_t *typed_for(const json_t *typed, const json_t *item) {
    json_each(i, one, json_object_get(typed, "items"))
        if (json_object_get(one, "line") && json_equal(json_object_get(one, "line"), json_object_get(item, "line")))
            return one;
    return item;
}

/* A form has the rows in the order in which it sends them, so that errors name the same ones. */
static json_t *rows_of(const json_t *shown, const json_t *typed, const json_t *errors) {
    json_t *rows = json_array();
    size_t shown_n = json_array_size(shown);
    json_each(i, item, shown) json_array_append_new(rows, row_json(i, typed_for(typed, item), errors));
    json_each(i, item, json_object_get(typed, "items"))
        if (!json_object_get(item, "line") && i >= shown_n)
            json_array_append_new(rows, row_json(json_array_size(rows), item, errors));
    while (json_array_size(rows) < shown_n + 2)
        json_array_append_new(rows, row_json(json_array_size(rows), NULL, errors));
    return rows;
}

/* The lines from there on that the page has room for. *further: the next one, 0: there is none. */
static json_t *lines_from(const json_t *items, int64_t from, json_int_t *further) {
    json_t *shown = json_array();
    *further = 0;
    json_each(i, item, items) {
        if (json_get_int(item, "line") < from) continue;
        if (json_array_size(shown) == VIEW_LINES) {
            *further = json_get_int(item, "line");
            break;
        }
        json_array_append(shown, item);
    }
    return shown;
}

void view_order(json_t *data, int64_t from, const json_t *typed, const json_t *errors) {
    const char *id = json_get_text(data, "order_id");
    const json_t *items = json_object_get(data, "items"),
                 *shipment = json_object_get(typed, "shipment_id") ? typed : data;
    json_int_t further, items_n = (json_int_t)json_array_size(items);
    json_t *shown = lines_from(items, from, &further);
    char key[UUID_TEXT]; /* one command of however many presses */
    errors_add(data, errors);
    json_add(
        data, "{s:I, s:I, s:b, s:I, s:s, s:o, s:o, s:o, s:o, s:o}", "items_n", items_n, "from", (json_int_t)from,
        "is_later", from > 1, "further", further, "key", uuid_text(uuid_make(), key), "inputs",
        inputs_json(of_order, "", shipment, errors), "rows", rows_of(shown, typed, errors), "items", shown, "heading",
        json_sprintf("Order %s", id), "api_url", url_of("/api/orders/", id));
}

json_t *view_order_new(const json_t *typed, int rows, const json_t *errors) {
    json_t *list = json_array();
    if (rows > VIEW_ROWS_MAX) rows = VIEW_ROWS_MAX;
    for (size_t i = 0; i < (size_t)rows; i++)
        json_array_append_new(list, row_json(i, json_array_get(json_object_get(typed, "items"), i), errors));
    json_t *data = json_pack(
        "{s:o, s:o, s:o, s:b, s:s}", "made_id", id_json(typed, "order_id", "ORD-"), "inputs",
        inputs_json(of_new_order, "", typed, errors), "rows", list, "may_grow", rows < VIEW_ROWS_MAX, "heading",
        "Place an order");
    errors_add(data, errors);
    return data;
}
