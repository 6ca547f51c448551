#include "order_input.h"

#include "chassis/base/input.h"
#include "chassis/base/money.h"
#include "chassis/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERRORS_MAX = 40, TEXT_MAX = 100, ID_MAX = 60, WITHIN = 100, FIELD_NAME = 120 };

bool findings_none(const struct findings *found) {
    return !json_array_size(found->errors) && !found->out_of_memory;
}

json_t *findings_have(struct findings *found, json_t *value) {
    if (!value) found->out_of_memory = true;
    return value;
}

/* json_pack() takes want of memory for an optional text for its not being there. */
static json_t *text_or_null(struct findings *found, const char *text) {
    return text ? findings_have(found, json_string(text)) : json_null();
}

void findings_append(struct findings *found, json_t *list, json_t *value) {
    if (json_array_append_new(list, value)) found->out_of_memory = true;
}

void findings_set(struct findings *found, json_t *object, const char *name, json_t *value) {
    if (json_object_set_new(object, name, value)) found->out_of_memory = true;
}

void findings_add(struct findings *found, const char *field, const char *detail_format, ...) {
    char detail[700];
    va_list arguments;
    va_start(arguments, detail_format);
    vsnprintf(detail, sizeof detail, detail_format, arguments);
    va_end(arguments);
    if (json_array_size(found->errors) < ERRORS_MAX)
        findings_append(
            found, found->errors, json_pack("{s:o, s:o}", "field", utf8_json(field), "detail", utf8_json(detail)));
}

/* --- A form's names */

/* The object that "items.3.price" leads to, made on the way; NULL: the name leads to none. */
static json_t *item_at(json_t *items, const char *number, const char **rest, struct findings *found) {
    char *end;
    unsigned long i = strtoul(number, &end, 10);
    if (end == number || *end != '.' || i >= ITEMS_MAX) return NULL;
    while (json_array_size(items) <= i && !found->out_of_memory) findings_append(found, items, json_null());
    if (json_is_null(json_array_get(items, i)) && json_array_set_new(items, i, json_object()))
        found->out_of_memory = true;
    *rest = end + 1;
    return json_array_get(items, i);
}

static void form_set(json_t *body, json_t *items, const char *name, const char *text, struct findings *found) {
    json_t *object = body;
    const char *rest = name;
    if (!strncmp(name, "items.", 6) && (object = item_at(items, name + 6, &rest, found)) &&
        !strncmp(rest, "price.", 6)) {
        json_t *price = json_object_get(object, "price");
        if (!price) findings_set(found, object, "price", price = json_object());
        object = price;
        rest += 6;
    }
    if (!object) object = body, rest = name; /* to be refused under its name */
    if (!strcmp(rest, "line") && *text && !text[strspn(text, "0123456789")])
        findings_set(found, object, rest, json_integer(atoll(text)));
    else if (*text && !strcmp(rest, "removed"))
        findings_set(found, object, rest, json_true());
    else if (*text)
        findings_set(found, object, rest, json_string(text));
}

static bool item_blank(const json_t *item) {
    const json_t *price = json_object_get(item, "price");
    return !json_object_get(item, "line") && !json_object_get(item, "model") &&
           !json_object_get(item, "serial_number") && !json_object_get(price, "amount");
}

json_t *order_nest(const json_t *form, struct findings *found) {
    json_t *body = json_object(), *items = json_array(), *value, *item;
    const char *name;
    size_t i;
    json_object_foreach((json_t *)form, name, value) form_set(body, items, name, json_string_value(value), found);
    json_array_foreach(items, i, item) if (item_blank(item)) json_array_set_new(items, i, json_null());
    if (json_array_size(items))
        findings_set(found, body, "items", items);
    else
        json_decref(items);
    return body;
}

/* --- Fields */

/* A member that nobody would read is refused: more likely than not, it is a misspelt name. known: " a b ". */
static void unknown_check(const json_t *object, const char *within, const char *known, struct findings *found) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        char word[FIELD_NAME], field[FIELD_NAME];
        snprintf(word, sizeof word, " %.80s ", name);
        snprintf(field, sizeof field, "%s%.60s", within, name);
        if (strchr(name, ' ') || !strstr(known, word))
            findings_add(found, field, "there is no such field; leave it out");
    }
}

/* The text, or NULL: it is wrong, or it is not there, which is an error as well where it is required. */
static const char *text_read(
    const json_t *object, const char *within, const char *name, const char *example, bool required,
    struct findings *found) {
    const json_t *value = json_object_get(object, name);
    struct failure why;
    char field[FIELD_NAME];
    snprintf(field, sizeof field, "%s%s", within, name);
    if (!value || (json_is_null(value) && !required)) {
        if (required) findings_add(found, field, "is missing; write it, such as \"%s\"", example);
        return NULL;
    }
    if (input_text(value, example, TEXT_MAX, false, &why) == OK) return json_string_value(value);
    findings_add(found, field, "%s", why.text);
    return NULL;
}

/* It becomes a part of addresses. */
static const char *id_read(const json_t *body, const char *name, const char *example, struct findings *found) {
    const char *id = text_read(body, "", name, example, false, found);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (!id || (strlen(id) <= ID_MAX && !id[strspn(id, allowed)] && *id != '.')) return id;
    findings_add(
        found, name, "\"%.60s\" cannot be an id: at most %d letters, digits, - _ and . (not first), such as \"%s\"", id,
        ID_MAX, example);
    return NULL;
}

/* NULL: it is wrong. */
static json_t *price_read(const json_t *price, const char *within, struct findings *found) {
    char prefix[FIELD_NAME], field[FIELD_NAME], amount[32];
    struct failure why;
    int64_t minor = 0;
    snprintf(field, sizeof field, "%sprice", within);
    if (price && !json_is_object(price)) {
        findings_add(found, field, "is %s; write {\"amount\":\"149.90\",\"currency\":\"EUR\"}", input_type(price));
        return NULL;
    }
    snprintf(prefix, sizeof prefix, "%sprice.", within);
    unknown_check(price, prefix, " amount currency ", found);
    const char *said = text_read(price, prefix, "amount", "149.90", true, found);
    const char *currency = text_read(price, prefix, "currency", "EUR", true, found);
    if (currency && input_currency(currency, &why) != OK) {
        snprintf(field, sizeof field, "%sprice.currency", within);
        findings_add(found, field, "%s", why.text);
        currency = NULL;
    }
    if (said && input_amount(said, currency, &minor, &why) != OK) {
        snprintf(field, sizeof field, "%sprice.amount", within);
        findings_add(found, field, "%s", why.text);
        return NULL;
    }
    if (!said || !currency) return NULL;
    return findings_have(found, json_pack("{s:s, s:s}", "amount", money_text(minor, amount), "currency", currency));
}

/* A new item, with a line; NULL: it is wrong. */
static json_t *item_new(const json_t *item, const char *within, int64_t line, struct findings *found) {
    const char *model = text_read(item, within, "model", "Aurora 14 laptop", true, found);
    json_t *price = price_read(json_object_get(item, "price"), within, found);
    const char *serial = text_read(item, within, "serial_number", "SN-1", false, found);
    if (!model) {
        json_decref(price);
        return NULL;
    }
    return findings_have(
        found, json_pack(
                   "{s:I, s:s, s:o?, s:o}", "line", (json_int_t)line, "model", model, "price", price, "serial_number",
                   text_or_null(found, serial)));
}

/* "items.3."; false: it is no object, which was noted, or null, which a form has where nothing was filled in. */
static bool item_named(const json_t *item, size_t i, char within[WITHIN], struct findings *found) {
    snprintf(within, WITHIN, "items.%zu", i);
    if (!json_is_object(item) && !json_is_null(item))
        findings_add(found, within, "is %s; write an object with its fields", input_type(item));
    strcat(within, ".");
    return json_is_object(item);
}

/* The same device twice. Said of the items that have a `field`. */
static void serials_check(const json_t *items, struct findings *found) {
    json_t *seen = json_object(), *item;
    size_t i;
    json_array_foreach((json_t *)items, i, item) {
        const char *serial = json_string_value(json_object_get(item, "serial_number"));
        const char *field = json_string_value(json_object_get(item, "field"));
        const json_t *first = serial ? json_object_get(seen, serial) : NULL;
        if (first && !field) field = json_string_value(first);
        if (first && field)
            findings_add(found, field, "\"%.60s\" is in this order twice; a device is in one line only", serial);
        if (serial) findings_set(found, seen, serial, field ? json_string(field) : json_true());
    }
    json_decref(seen);
}

static json_t *field_noted(json_t *item, size_t i, struct findings *found) {
    json_t *copy = findings_have(found, json_copy(item));
    findings_set(found, copy, "field", json_sprintf("items.%zu.serial_number", i));
    return copy;
}

static void size_check(size_t n, struct findings *found) {
    if (!n) findings_add(found, "items", "holds no item; an order has at least one");
    if (n > ITEMS_MAX)
        findings_add(found, "items", "would be %zu; an order has at most %d. Place another order", n, ITEMS_MAX);
}

/* --- Bodies */

json_t *order_customer(const json_t *body, struct findings *found) {
    unknown_check(body, "", " customer_id name location ", found);
    const char *id = id_read(body, "customer_id", "C-1029", found);
    const char *name = text_read(body, "", "name", "Nordwind Logistik GmbH", true, found);
    const char *location = text_read(body, "", "location", "Berlin", true, found);
    return findings_have(
        found, json_pack(
                   "{s:o, s:o, s:o}", "customer_id", text_or_null(found, id), "name", text_or_null(found, name),
                   "location", text_or_null(found, location)));
}

static bool items_read(const json_t *body, json_t **items, struct findings *found) {
    *items = json_object_get(body, "items");
    if (!*items || json_is_array(*items)) return *items;
    findings_add(found, "items", "is %s; write an array of items", input_type(*items));
    return false;
}

json_t *order_placed(const json_t *body, struct findings *found) {
    json_t *sent, *item, *items = json_array(), *noted = json_array();
    size_t i;
    char within[WITHIN];
    unknown_check(body, "", " order_id customer_id shipment_id items ", found);
    const char *id = id_read(body, "order_id", "ORD-20481", found);
    const char *customer = text_read(body, "", "customer_id", "C-1029", true, found);
    const char *shipment = text_read(body, "", "shipment_id", "SHP-7730", false, found);
    if (items_read(body, &sent, found)) json_array_foreach(sent, i, item) {
            if (!item_named(item, i, within, found)) continue;
            unknown_check(item, within, " model price serial_number ", found);
            json_t *new = item_new(item, within, (int64_t)json_array_size(items) + 1, found);
            if (new) findings_append(found, noted, field_noted(new, i, found));
            if (new) findings_append(found, items, new);
        }
    if (findings_none(found)) size_check(json_array_size(items), found);
    serials_check(noted, found);
    json_decref(noted);
    return findings_have(
        found, json_pack(
                   "{s:o, s:o, s:o, s:o}", "order_id", text_or_null(found, id), "customer_id",
                   text_or_null(found, customer), "shipment_id", text_or_null(found, shipment), "items", items));
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
    const json_t *sent, const json_t *was, const char *within, const char *name, const char *example,
    struct findings *found) {
    const char *before = json_string_value(json_object_get(was, name));
    if (before && json_is_null(json_object_get(sent, name))) {
        char field[FIELD_NAME];
        snprintf(field, sizeof field, "%s%s", within, name);
        findings_add(found, field, "is null; \"%.60s\" cannot be taken away, only replaced", before);
        return NULL;
    }
    const char *text = text_read(sent, within, name, example, false, found);
    return text && (!before || strcmp(text, before) != 0) ? text : NULL;
}

/* Of an item that is there; NULL: nothing is different. */
static json_t *item_different(const json_t *sent, const json_t *was, const char *within, struct findings *found) {
    if (json_is_true(json_object_get(sent, "removed")))
        return findings_have(found, json_pack("{s:O, s:b}", "line", json_object_get(was, "line"), "removed", 1));
    const char *model = text_different(sent, was, within, "model", "Aurora 14 laptop", found);
    const char *serial = text_different(sent, was, within, "serial_number", "SN-1", found);
    json_t *price = json_object_get(sent, "price") ? price_read(json_object_get(sent, "price"), within, found) : NULL;
    if (price && json_equal(price, json_object_get(was, "price"))) {
        json_decref(price);
        price = NULL;
    }
    if (!model && !serial && !price) return NULL;
    return findings_have(
        found, json_pack(
                   "{s:O, s:o, s:o?, s:o}", "line", json_object_get(was, "line"), "model", text_or_null(found, model),
                   "price", price, "serial_number", text_or_null(found, serial)));
}

/* lines: those that were named before, by their number. NULL as well when it is wrong. */
static json_t *item_change(
    const json_t *sent, const json_t *order, const char *within, int64_t next, json_t *lines, struct findings *found) {
    const json_t *line = json_object_get(sent, "line"), *removed = json_object_get(sent, "removed");
    char field[FIELD_NAME], number[24];
    unknown_check(sent, within, " line removed model price serial_number ", found);
    if (removed && !json_is_boolean(removed)) {
        snprintf(field, sizeof field, "%sremoved", within);
        findings_add(found, field, "is %s; write true or false", input_type(removed));
        return NULL;
    }
    if (!line && !json_is_true(removed)) return item_new(sent, within, next, found);
    json_t *was = line_find(order, json_integer_value(line));
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(line));
    snprintf(field, sizeof field, "%sline", within);
    if (!json_is_integer(line) || !was)
        findings_add(found, field, "is not one of the order's lines; leave it out to add an item");
    else if (json_object_get(lines, number))
        findings_add(found, field, "%s is named twice; write each line once", number);
    else {
        findings_set(found, lines, number, json_true());
        return item_different(sent, was, within, found);
    }
    return NULL;
}

/* null: as before. */
static void change_merge(json_t *item, const json_t *change, struct findings *found) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)change, name, value) if (!json_is_null(value))
        findings_set(found, item, name, json_incref(value));
}

/* The order's items as they will be. */
static json_t *items_after(const json_t *order, const json_t *changes, struct findings *found) {
    json_t *after = json_array(), *item, *change;
    json_t *by_line = json_object();
    size_t i;
    char number[24];
    json_array_foreach((json_t *)changes, i, change) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(change, "line")));
        findings_set(found, by_line, number, json_incref(change));
    }
    json_array_foreach(json_object_get(order, "items"), i, item) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(item, "line")));
        json_t *merged = findings_have(found, json_copy(item));
        if ((change = json_object_get(by_line, number))) change_merge(merged, change, found);
        json_object_del(by_line, number);
        if (json_is_true(json_object_get(merged, "removed")))
            json_decref(merged);
        else
            findings_append(found, after, merged);
    }
    const char *name;
    json_object_foreach(by_line, name, change) findings_append(found, after, json_incref(change));
    json_decref(by_line);
    return after;
}

json_t *order_changed(const json_t *body, const json_t *order, struct findings *found) {
    json_t *sent, *item, *changes = json_array(), *lines = json_object();
    int64_t next = json_integer_value(json_object_get(order, "last_line")) + 1;
    size_t i;
    char within[WITHIN];
    unknown_check(body, "", " shipment_id items ", found);
    const char *shipment = text_different(body, order, "", "shipment_id", "SHP-7730", found);
    if (items_read(body, &sent, found)) json_array_foreach(sent, i, item) {
            if (!item_named(item, i, within, found)) continue;
            json_t *change = item_change(item, order, within, next, lines, found);
            if (!change) continue;
            if (json_integer_value(json_object_get(change, "line")) == next) next++;
            findings_set(found, change, "field", json_sprintf("%sserial_number", within));
            findings_append(found, changes, change);
        }
    json_t *after = items_after(order, changes, found);
    if (findings_none(found)) size_check(json_array_size(after), found);
    serials_check(after, found);
    json_array_foreach(changes, i, item) json_object_del(item, "field");
    json_decref(after);
    json_decref(lines);
    return findings_have(
        found, json_pack(
                   "{s:O, s:o, s:o}", "order_id", json_object_get(order, "order_id"), "shipment_id",
                   text_or_null(found, shipment), "items", changes));
}
