#include "order_input.h"

#include "chassis/input.h"
#include "chassis/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERRORS_MAX = 40, TEXT_MAX = 100, ID_MAX = 60, FIELD_NAME = 120 };

void order_error(json_t *errors, const char *field, const char *detail_format, ...) {
    char detail[700];
    va_list arguments;
    va_start(arguments, detail_format);
    vsnprintf(detail, sizeof detail, detail_format, arguments);
    va_end(arguments);
    if (json_array_size(errors) < ERRORS_MAX)
        json_array_append_new(
            errors, json_pack("{s:o*, s:o*}", "field", utf8_json(field), "detail", utf8_json(detail)));
}

/* --- A form's names */

/* The object that "items.3.price" leads to, made on the way; NULL: the name leads to none. */
static json_t *item_at(json_t *items, const char *number, const char **rest) {
    char *end;
    unsigned long i = strtoul(number, &end, 10);
    if (end == number || *end != '.' || i >= ITEMS_MAX) return NULL;
    while (json_array_size(items) <= i) json_array_append_new(items, json_null());
    if (json_is_null(json_array_get(items, i))) json_array_set_new(items, i, json_object());
    *rest = end + 1;
    return json_array_get(items, i);
}

static void form_set(json_t *body, json_t *items, const char *name, const char *text) {
    json_t *object = body;
    const char *rest = name;
    if (!strncmp(name, "items.", 6) && (object = item_at(items, name + 6, &rest)) && !strncmp(rest, "price.", 6)) {
        json_t *price = json_object_get(object, "price");
        if (!price) json_object_set_new(object, "price", price = json_object());
        object = price;
        rest += 6;
    }
    if (!object) object = body, rest = name; /* to be refused under its name */
    if (!strcmp(rest, "line") && *text && !text[strspn(text, "0123456789")])
        json_object_set_new(object, rest, json_integer(atoll(text)));
    else if (*text && !strcmp(rest, "removed"))
        json_object_set_new(object, rest, json_true());
    else if (*text)
        json_object_set_new(object, rest, json_string(text));
}

static bool item_blank(const json_t *item) {
    const json_t *price = json_object_get(item, "price");
    return !json_object_get(item, "line") && !json_object_get(item, "model") &&
           !json_object_get(item, "serial_number") && !json_object_get(price, "amount");
}

json_t *order_nest(const json_t *form) {
    json_t *body = json_object(), *items = json_array(), *value, *item;
    const char *name;
    size_t i;
    json_object_foreach((json_t *)form, name, value) form_set(body, items, name, json_string_value(value));
    json_array_foreach(items, i, item) if (item_blank(item)) json_array_set_new(items, i, json_null());
    if (json_array_size(items))
        json_object_set_new(body, "items", items);
    else
        json_decref(items);
    return body;
}

/* --- Fields */

/* A member that nobody would read is refused: more likely than not, it is a misspelt name. known: " a b ". */
static void unknown_check(const json_t *object, const char *within, const char *known, json_t *errors) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        char word[FIELD_NAME], field[FIELD_NAME];
        snprintf(word, sizeof word, " %.80s ", name);
        snprintf(field, sizeof field, "%s%.60s", within, name);
        if (strchr(name, ' ') || !strstr(known, word))
            order_error(errors, field, "there is no such field; leave it out");
    }
}

/* The text, or NULL: it is wrong, or it is not there, which is an error as well where it is required. */
static const char *text_read(
    const json_t *object, const char *within, const char *name, const char *example, bool required, json_t *errors) {
    const json_t *value = json_object_get(object, name);
    struct failure why;
    char field[FIELD_NAME];
    snprintf(field, sizeof field, "%s%s", within, name);
    if (!value || (json_is_null(value) && !required)) {
        if (required) order_error(errors, field, "is missing; write it, such as \"%s\"", example);
        return NULL;
    }
    if (input_text(value, example, TEXT_MAX, false, &why) == OK) return json_string_value(value);
    order_error(errors, field, "%s", why.text);
    return NULL;
}

/* It becomes a part of addresses. */
static const char *id_read(const json_t *body, const char *name, const char *example, json_t *errors) {
    const char *id = text_read(body, "", name, example, false, errors);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (!id || (strlen(id) <= ID_MAX && !id[strspn(id, allowed)] && *id != '.')) return id;
    order_error(
        errors, name, "\"%.60s\" cannot be an id: at most %d letters, digits, - _ and . (not first), such as \"%s\"",
        id, ID_MAX, example);
    return NULL;
}

/* NULL: it is wrong. */
static json_t *price_read(const json_t *price, const char *within, json_t *errors) {
    char prefix[FIELD_NAME], field[FIELD_NAME], amount[32];
    struct failure why;
    int64_t minor = 0;
    snprintf(field, sizeof field, "%sprice", within);
    if (price && !json_is_object(price)) {
        order_error(errors, field, "is %s; write {\"amount\":\"149.90\",\"currency\":\"EUR\"}", input_type(price));
        return NULL;
    }
    snprintf(prefix, sizeof prefix, "%sprice.", within);
    unknown_check(price, prefix, " amount currency ", errors);
    const char *said = text_read(price, prefix, "amount", "149.90", true, errors);
    const char *currency = text_read(price, prefix, "currency", "EUR", true, errors);
    if (currency && input_currency(currency, &why) != OK) {
        snprintf(field, sizeof field, "%sprice.currency", within);
        order_error(errors, field, "%s", why.text);
        currency = NULL;
    }
    if (said && input_amount(said, currency, &minor, &why) != OK) {
        snprintf(field, sizeof field, "%sprice.amount", within);
        order_error(errors, field, "%s", why.text);
        return NULL;
    }
    if (!said || !currency) return NULL;
    return json_pack("{s:s, s:s}", "amount", money_text(minor, amount), "currency", currency);
}

/* A new item, with a line; NULL: it is wrong. */
static json_t *item_new(const json_t *item, const char *within, int64_t line, json_t *errors) {
    const char *model = text_read(item, within, "model", "Aurora 14 laptop", true, errors);
    json_t *price = price_read(json_object_get(item, "price"), within, errors);
    const char *serial = text_read(item, within, "serial_number", "SN-1", false, errors);
    if (!model) {
        json_decref(price);
        return NULL;
    }
    return json_pack(
        "{s:I, s:s, s:o*, s:s?}", "line", (json_int_t)line, "model", model, "price", price, "serial_number", serial);
}

/* "items.3."; false: it is no object, which was noted, or null, which a form has where nothing was filled in. */
static bool item_named(const json_t *item, size_t i, char within[FIELD_NAME], json_t *errors) {
    snprintf(within, FIELD_NAME, "items.%zu", i);
    if (!json_is_object(item) && !json_is_null(item))
        order_error(errors, within, "is %s; write an object with its fields", input_type(item));
    strcat(within, ".");
    return json_is_object(item);
}

/* The same device twice. Said of the items that have a `field`. */
static void serials_check(const json_t *items, json_t *errors) {
    json_t *seen = json_object(), *item;
    size_t i;
    json_array_foreach((json_t *)items, i, item) {
        const char *serial = json_string_value(json_object_get(item, "serial_number"));
        const char *field = json_string_value(json_object_get(item, "field"));
        const json_t *first = serial ? json_object_get(seen, serial) : NULL;
        if (first && !field) field = json_string_value(first);
        if (first && field)
            order_error(errors, field, "\"%.60s\" is in this order twice; a device is in one line only", serial);
        if (serial) json_object_set_new(seen, serial, field ? json_string(field) : json_true());
    }
    json_decref(seen);
}

static json_t *field_noted(json_t *item, size_t i) {
    json_t *copy = json_copy(item);
    json_object_set_new(copy, "field", json_sprintf("items.%zu.serial_number", i));
    return copy;
}

static void size_check(size_t n, json_t *errors) {
    if (!n) order_error(errors, "items", "holds no item; an order has at least one");
    if (n > ITEMS_MAX)
        order_error(errors, "items", "would be %zu; an order has at most %d. Place another order", n, ITEMS_MAX);
}

/* --- Bodies */

json_t *order_customer(const json_t *body, json_t *errors) {
    unknown_check(body, "", " customer_id name location ", errors);
    const char *id = id_read(body, "customer_id", "C-1029", errors);
    const char *name = text_read(body, "", "name", "Nordwind Logistik GmbH", true, errors);
    const char *location = text_read(body, "", "location", "Berlin", true, errors);
    return json_pack("{s:s*, s:s*, s:s*}", "customer_id", id, "name", name, "location", location);
}

static bool items_read(const json_t *body, json_t **items, json_t *errors) {
    *items = json_object_get(body, "items");
    if (!*items || json_is_array(*items)) return *items;
    order_error(errors, "items", "is %s; write an array of items", input_type(*items));
    return false;
}

json_t *order_placed(const json_t *body, json_t *errors) {
    json_t *sent, *item, *items = json_array(), *noted = json_array();
    size_t i;
    char within[FIELD_NAME];
    unknown_check(body, "", " order_id customer_id shipment_id items ", errors);
    const char *id = id_read(body, "order_id", "ORD-20481", errors);
    const char *customer = text_read(body, "", "customer_id", "C-1029", true, errors);
    const char *shipment = text_read(body, "", "shipment_id", "SHP-7730", false, errors);
    if (items_read(body, &sent, errors)) json_array_foreach(sent, i, item) {
            if (!item_named(item, i, within, errors)) continue;
            unknown_check(item, within, " model price serial_number ", errors);
            json_t *new = item_new(item, within, (int64_t)json_array_size(items) + 1, errors);
            if (new) json_array_append_new(noted, field_noted(new, i));
            if (new) json_array_append_new(items, new);
        }
    if (!json_array_size(errors)) size_check(json_array_size(items), errors);
    serials_check(noted, errors);
    json_decref(noted);
    return json_pack(
        "{s:s*, s:s*, s:s?, s:o}", "order_id", id, "customer_id", customer, "shipment_id", shipment, "items", items);
}

/* --- What is different */

static json_t *line_find(const json_t *order, json_int_t line) {
    json_t *item;
    size_t i;
    json_array_foreach(
        json_object_get(order, "items"), i,
        item) if (json_integer_value(json_object_get(item, "line")) == line) return item;
    return NULL;
}

/* Text that was sent and differs from what is there. It can be replaced, not taken away. */
static const char *text_different(
    const json_t *sent, const json_t *was, const char *within, const char *name, const char *example, json_t *errors) {
    const char *before = json_string_value(json_object_get(was, name));
    if (before && json_is_null(json_object_get(sent, name))) {
        char field[FIELD_NAME];
        snprintf(field, sizeof field, "%s%s", within, name);
        order_error(errors, field, "is null; \"%.60s\" cannot be taken away, only replaced", before);
        return NULL;
    }
    const char *text = text_read(sent, within, name, example, false, errors);
    return text && (!before || strcmp(text, before) != 0) ? text : NULL;
}

/* Of an item that is there; NULL: nothing is different. */
static json_t *item_different(const json_t *sent, const json_t *was, const char *within, json_t *errors) {
    if (json_is_true(json_object_get(sent, "removed")))
        return json_pack("{s:O, s:b}", "line", json_object_get(was, "line"), "removed", 1);
    const char *model = text_different(sent, was, within, "model", "Aurora 14 laptop", errors);
    const char *serial = text_different(sent, was, within, "serial_number", "SN-1", errors);
    json_t *price = json_object_get(sent, "price") ? price_read(json_object_get(sent, "price"), within, errors) : NULL;
    if (price && json_equal(price, json_object_get(was, "price"))) {
        json_decref(price);
        price = NULL;
    }
    if (!model && !serial && !price) return NULL;
    return json_pack(
        "{s:O, s:s*, s:o*, s:s*}", "line", json_object_get(was, "line"), "model", model, "price", price,
        "serial_number", serial);
}

/* lines: those that were named before, by their number. NULL as well when it is wrong. */
static json_t *
item_change(const json_t *sent, const json_t *order, const char *within, int64_t next, json_t *lines, json_t *errors) {
    const json_t *line = json_object_get(sent, "line"), *removed = json_object_get(sent, "removed");
    char field[FIELD_NAME], number[24];
    unknown_check(sent, within, " line removed model price serial_number ", errors);
    if (removed && !json_is_boolean(removed)) {
        snprintf(field, sizeof field, "%sremoved", within);
        order_error(errors, field, "is %s; write true or false", input_type(removed));
        return NULL;
    }
    if (!line && !json_is_true(removed)) return item_new(sent, within, next, errors);
    json_t *was = line_find(order, json_integer_value(line));
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(line));
    snprintf(field, sizeof field, "%sline", within);
    if (!json_is_integer(line) || !was)
        order_error(errors, field, "is not one of the order's lines; leave it out to add an item");
    else if (json_object_get(lines, number))
        order_error(errors, field, "%s is named twice; write each line once", number);
    else if (!json_object_set_new(lines, number, json_true()))
        return item_different(sent, was, within, errors);
    return NULL;
}

/* The order's items as they will be. */
static json_t *items_after(const json_t *order, const json_t *changes) {
    json_t *after = json_array(), *item, *change;
    json_t *by_line = json_object();
    size_t i;
    char number[24];
    json_array_foreach((json_t *)changes, i, change) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(change, "line")));
        json_object_set(by_line, number, change);
    }
    json_array_foreach(json_object_get(order, "items"), i, item) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(item, "line")));
        json_t *merged = json_copy(item);
        if ((change = json_object_get(by_line, number))) json_object_update(merged, change);
        json_object_del(by_line, number);
        if (json_is_true(json_object_get(merged, "removed")))
            json_decref(merged);
        else
            json_array_append_new(after, merged);
    }
    const char *name;
    json_object_foreach(by_line, name, change) json_array_append(after, change);
    json_decref(by_line);
    return after;
}

json_t *order_changed(const json_t *body, const json_t *order, json_t *errors) {
    json_t *sent, *item, *changes = json_array(), *lines = json_object();
    int64_t next = json_integer_value(json_object_get(order, "last_line")) + 1;
    size_t i;
    char within[FIELD_NAME];
    unknown_check(body, "", " shipment_id items ", errors);
    const char *shipment = text_different(body, order, "", "shipment_id", "SHP-7730", errors);
    if (items_read(body, &sent, errors)) json_array_foreach(sent, i, item) {
            if (!item_named(item, i, within, errors)) continue;
            json_t *change = item_change(item, order, within, next, lines, errors);
            if (!change) continue;
            if (json_integer_value(json_object_get(change, "line")) == next) next++;
            json_object_set_new(change, "field", json_sprintf("%sserial_number", within));
            json_array_append_new(changes, change);
        }
    json_t *after = items_after(order, changes);
    if (!json_array_size(errors)) size_check(json_array_size(after), errors);
    serials_check(after, errors);
    json_array_foreach(changes, i, item) json_object_del(item, "field");
    json_decref(after);
    json_decref(lines);
    return json_pack(
        "{s:O, s:s*, s:o}", "order_id", json_object_get(order, "order_id"), "shipment_id", shipment, "items", changes);
}
