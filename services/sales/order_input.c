#include "order_input.h"

#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/money.h"
#include "chassis/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What others read as ids (input_id). They would put an event aside that holds something else there. */
#define IDS "customer_id shipment_id model serial_number"

enum { ERRORS_MAX = 40, TEXT_MAX = 100, ID_MAX = 60, FIELD_NAME = 160 };

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

/* "items.3.price.amount", "items.3", "shipment_id" */
static const char *field_name(size_t item, const char *name, char out[FIELD_NAME]) {
    int n = item == NO_ITEM ? 0 : snprintf(out, FIELD_NAME, name ? "items.%zu." : "items.%zu", item);
    if (name) snprintf(out + n, (size_t)(FIELD_NAME - n), "%.100s", name);
    return out;
}

void *findings_add(struct findings *found, size_t item, const char *name, const char *detail_format, ...) {
    char detail[700], field[FIELD_NAME];
    va_list arguments;
    va_start(arguments, detail_format);
    vsnprintf(detail, sizeof detail, detail_format, arguments);
    va_end(arguments);
    if (json_array_size(found->errors) < ERRORS_MAX)
        findings_append(
            found, found->errors,
            json_pack("{s:o, s:o}", "field", utf8_json(field_name(item, name, field)), "detail", utf8_json(detail)));
    return NULL;
}

/* --- A form's names */

/* The object that "items.3.price" leads to, made on the way. NULL: the name leads to none. */
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
    const char *rest = name;
    json_t *object = !strncmp(name, "items.", 6) ? item_at(items, name + 6, &rest, found) : NULL;
    if (object && !strncmp(rest, "price.", 6)) {
        json_t *price = json_object_get(object, "price");
        if (!price) findings_set(found, object, "price", price = json_object());
        object = json_is_object(price) ? price : NULL; /* the form may say something else of the price as well */
        rest = object ? rest + 6 : name;
    }
    if (!object) object = body; /* what leads nowhere is refused under its name */
    if (!strcmp(rest, "line") && *text && !text[strspn(text, "0123456789")])
        findings_set(found, object, rest, json_integer(atoll(text)));
    else if (*text)
        findings_set(found, object, rest, strcmp(rest, "removed") ? json_string(text) : json_true());
}

static bool item_blank(const json_t *item) {
    const json_t *price = json_object_get(item, "price");
    return !json_object_get(item, "line") && !json_object_get(item, "model") &&
           !json_object_get(item, "serial_number") && !json_object_get(price, "amount");
}

json_t *order_nest(const json_t *form, struct findings *found) {
    json_t *body = json_object();
    json_auto_t *items = json_array();
    json_members(m, (json_t *)form) form_set(body, items, m.name, json_string_value(m.value), found);
    json_each(i, item, items)
        if (item_blank(item)) json_array_set_new(items, i, json_null());
    if (json_array_size(items)) findings_set(found, body, "items", json_incref(items));
    return body;
}

/* --- Fields. item: which of the items they are in, or NO_ITEM. */

/* A member that nobody would read is refused: more likely than not, it is a misspelt name. known: "a b", each behind
 * what is before it in the field's name. */
static void
unknown_check(const json_t *object, size_t item, const char *before, const char *known, struct findings *found) {
    json_members(m, (json_t *)object) {
        char field[FIELD_NAME];
        snprintf(field, sizeof field, "%s%.60s", before, m.name);
        if (!word_in(m.name, known)) findings_add(found, item, field, "there is no such field; leave it out");
    }
}

/* The text, or NULL: it is wrong, or it is not there, which is an error as well where it is required. name: behind what
 * is before it, "price.amount". */
static const char *text_read(
    const json_t *object, size_t item, const char *name, const char *example, bool required, struct findings *found) {
    const char *dot = strchr(name, '.');
    const json_t *value = json_object_get(object, dot ? dot + 1 : name);
    struct failure why;
    if (!required && (!value || json_is_null(value))) return NULL;
    if (!value) return findings_add(found, item, name, "is missing; write it, such as \"%s\"", example);
    if (input_text(value, example, TEXT_MAX, false, &why) == OK &&
        (!word_in(name, IDS) || input_id(json_string_value(value), json_string_length(value), &why) == OK))
        return json_string_value(value);
    return findings_add(found, item, name, "%s", why.text);
}

/* It becomes a part of addresses. */
static const char *id_read(const json_t *body, const char *name, const char *example, struct findings *found) {
    const char *id = text_read(body, NO_ITEM, name, example, false, found);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (!id || (strlen(id) <= ID_MAX && !id[strspn(id, allowed)] && *id != '.')) return id;
    return findings_add(
        found, NO_ITEM, name,
        "\"%.60s\" cannot be an id: at most %d letters, digits, - _ and . (not first), such as \"%s\"", id, ID_MAX,
        example);
}

/* NULL: it is wrong. */
static json_t *price_read(const json_t *price, size_t item, struct findings *found) {
    char amount[32];
    struct failure why;
    int64_t minor = 0;
    if (price && !json_is_object(price))
        return findings_add(
            found, item, "price", "is %s; write {\"amount\":\"149.90\",\"currency\":\"EUR\"}", input_type(price));
    unknown_check(price, item, "price.", "amount currency", found);
    const char *said = text_read(price, item, "price.amount", "149.90", true, found);
    const char *currency = text_read(price, item, "price.currency", "EUR", true, found);
    if (currency && input_currency(currency, &why) != OK)
        currency = findings_add(found, item, "price.currency", "%s", why.text);
    if (said && input_amount(said, currency, &minor, &why) != OK)
        return findings_add(found, item, "price.amount", "%s", why.text);
    if (!said || !currency) return NULL;
    return findings_have(found, json_pack("{s:s, s:s}", "amount", money_text(minor, amount), "currency", currency));
}

/* A new item, with a line. NULL: it is wrong. */
static json_t *item_new(const json_t *sent, size_t item, json_int_t line, struct findings *found) {
    const char *model = text_read(sent, item, "model", "Aurora 14 laptop", true, found);
    json_auto_t *price = price_read(json_object_get(sent, "price"), item, found);
    const char *serial = text_read(sent, item, "serial_number", "SN-1", false, found);
    if (!model) return NULL;
    return findings_have(
        found, json_pack(
                   "{s:I, s:s, s:O?, s:o}", "line", line, "model", model, "price", price, "serial_number",
                   text_or_null(found, serial)));
}

/* False: it is no object, which was noted, or null, which a form has where nothing was filled in. */
static bool item_is(const json_t *sent, size_t item, struct findings *found) {
    if (!json_is_object(sent) && !json_is_null(sent))
        findings_add(found, item, NULL, "is %s; write an object with its fields", input_type(sent));
    return json_is_object(sent);
}

/* NULL: it has none, or what is none, which was noted. */
static const json_t *items_read(const json_t *body, struct findings *found) {
    const json_t *items = json_object_get(body, "items");
    if (!items || json_is_array(items)) return items;
    return findings_add(found, NO_ITEM, "items", "is %s; write an array of items", input_type(items));
}

/* --- The order as it will be: {"7": the item of line 7, with "sent": which of what was sent names it, and "removed"}
 */

static const char *line_key(const json_t *item, char out[24]) {
    snprintf(out, 24, "%lld", json_get_int(item, "line"));
    return out;
}

static void after_add(json_t *after, const json_t *item, size_t sent, struct findings *found) {
    char key[24];
    json_t *copy = findings_have(found, json_copy((json_t *)item));
    if (sent != NO_ITEM) findings_set(found, copy, "sent", json_integer((json_int_t)sent));
    findings_set(found, after, line_key(item, key), copy);
}

/* How many items there are, and the same device twice, which is said of an item that was sent. */
static void after_check(const json_t *after, struct findings *found) {
    json_auto_t *seen = json_object();
    size_t n = 0;
    bool readable = findings_none(found);
    json_members(item, (json_t *)after) {
        const char *serial = json_string_value(json_object_get(item.value, "serial_number"));
        if (json_is_true(json_object_get(item.value, "removed"))) continue;
        n++;
        if (!serial) continue;
        const json_t *first = json_object_get(seen, serial), *sent = json_object_get(item.value, "sent");
        if (first && !sent) sent = json_is_integer(first) ? first : NULL;
        if (first && sent)
            findings_add(
                found, (size_t)json_integer_value(sent), "serial_number",
                "\"%.60s\" is in this order twice; a device is in one line only", serial);
        findings_set(found, seen, serial, sent ? json_copy((json_t *)sent) : json_true());
    }
    if (readable && !n) findings_add(found, NO_ITEM, "items", "holds no item; an order has at least one");
    if (readable && n > ITEMS_MAX)
        findings_add(
            found, NO_ITEM, "items", "would be %zu; an order has at most %d. Place another order", n, ITEMS_MAX);
}

/* --- Bodies */

json_t *order_customer(const json_t *body, struct findings *found) {
    unknown_check(body, NO_ITEM, "", "customer_id name location", found);
    const char *id = id_read(body, "customer_id", "C-1029", found);
    const char *name = text_read(body, NO_ITEM, "name", "Nordwind Logistik GmbH", true, found);
    const char *location = text_read(body, NO_ITEM, "location", "Berlin", true, found);
    return findings_have(
        found, json_pack(
                   "{s:o, s:o, s:o}", "customer_id", text_or_null(found, id), "name", text_or_null(found, name),
                   "location", text_or_null(found, location)));
}

json_t *order_placed(const json_t *body, struct findings *found) {
    json_t *items = json_array();
    json_auto_t *after = json_object();
    unknown_check(body, NO_ITEM, "", "order_id customer_id shipment_id items", found);
    const char *id = id_read(body, "order_id", "ORD-20481", found);
    const char *customer = text_read(body, NO_ITEM, "customer_id", "C-1029", true, found);
    const char *shipment = text_read(body, NO_ITEM, "shipment_id", "SHP-7730", false, found);
    const json_t *sent_items = items_read(body, found);
    json_each(i, sent, sent_items) {
        if (!item_is(sent, i, found)) continue;
        unknown_check(sent, i, "", "model price serial_number", found);
        json_t *item = item_new(sent, i, (json_int_t)json_array_size(items) + 1, found);
        if (!item) continue;
        after_add(after, item, i, found);
        findings_append(found, items, item);
    }
    after_check(after, found);
    return findings_have(
        found, json_pack(
                   "{s:o, s:o, s:o, s:o}", "order_id", text_or_null(found, id), "customer_id",
                   text_or_null(found, customer), "shipment_id", text_or_null(found, shipment), "items", items));
}

/* --- What is different */

/* Text that was sent and differs from what is there. It can be replaced, not taken away. */
static const char *text_different(
    const json_t *sent, const json_t *was, size_t item, const char *name, const char *example, struct findings *found) {
    const char *before = json_string_value(json_object_get(was, name));
    if (before && json_is_null(json_object_get(sent, name)))
        return findings_add(found, item, name, "is null; \"%.60s\" cannot be taken away, only replaced", before);
    const char *text = text_read(sent, item, name, example, false, found);
    return text && (!before || strcmp(text, before) != 0) ? text : NULL;
}

/* Of an item that is there. NULL: nothing is different. */
static json_t *item_different(const json_t *sent, const json_t *was, size_t item, struct findings *found) {
    const json_t *line = json_object_get(was, "line"), *price = json_object_get(sent, "price");
    if (json_is_true(json_object_get(sent, "removed")))
        return findings_have(found, json_pack("{s:O, s:b}", "line", line, "removed", 1));
    const char *model = text_different(sent, was, item, "model", "Aurora 14 laptop", found);
    const char *serial = text_different(sent, was, item, "serial_number", "SN-1", found);
    json_auto_t *read = price ? price_read(price, item, found) : NULL;
    bool dearer = read && !json_equal(read, json_object_get(was, "price"));
    if (!model && !serial && !dearer) return NULL;
    return findings_have(
        found, json_pack(
                   "{s:O, s:o, s:O?, s:o}", "line", line, "model", text_or_null(found, model), "price",
                   dearer ? read : NULL, "serial_number", text_or_null(found, serial)));
}

/* What is sent of a line that is there, which `after` gets. NULL as well when it is wrong. last: the order's last line.
 */
static json_t *item_change(const json_t *sent, json_t *after, size_t item, json_int_t last, struct findings *found) {
    const json_t *line = json_object_get(sent, "line");
    char key[24];
    json_t *was = json_object_get(after, line_key(sent, key));
    if (!json_is_integer(line) || json_integer_value(line) > last || !was)
        return findings_add(found, item, "line", "is not one of the order's lines; leave it out to add an item");
    if (json_object_get(was, "named"))
        return findings_add(found, item, "line", "%s is named twice; write each line once", key);
    findings_set(found, was, "named", json_true());
    json_t *change = item_different(sent, was, item, found);
    json_members(m, change)
        if (!json_is_null(m.value)) findings_set(found, was, m.name, json_incref(m.value)); /* null: as before */
    if (change) findings_set(found, was, "sent", json_integer((json_int_t)item));
    return change;
}

json_t *order_changed(const json_t *body, const json_t *order, struct findings *found) {
    json_t *changes = json_array();
    json_auto_t *after = json_object();
    json_int_t last = json_get_int(order, "last_line"), next = last + 1;
    json_each(i, item, json_object_get(order, "items")) after_add(after, item, NO_ITEM, found);
    unknown_check(body, NO_ITEM, "", "shipment_id items", found);
    const char *shipment = text_different(body, order, NO_ITEM, "shipment_id", "SHP-7730", found);
    const json_t *sent_items = items_read(body, found);
    json_each(i, sent, sent_items) {
        if (!item_is(sent, i, found)) continue;
        const json_t *removed = json_object_get(sent, "removed");
        bool added = !json_object_get(sent, "line") && !json_is_true(removed);
        unknown_check(sent, i, "", "line removed model price serial_number", found);
        if (removed && !json_is_boolean(removed)) {
            findings_add(found, i, "removed", "is %s; write true or false", input_type(removed));
            continue;
        }
        json_t *change = added ? item_new(sent, i, next, found) : item_change(sent, after, i, last, found);
        if (change && added) {
            after_add(after, change, i, found);
            next++;
        }
        if (change) findings_append(found, changes, change);
    }
    after_check(after, found);
    return findings_have(
        found, json_pack(
                   "{s:O, s:o, s:o}", "order_id", json_object_get(order, "order_id"), "shipment_id",
                   text_or_null(found, shipment), "items", changes));
}
