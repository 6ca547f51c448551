#include "support/returns/orders.h"

#include "chassis/avro/codec.h"
#include "chassis/base/money.h"
#include "chassis/store/store.h"

#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

enum { SEARCH_MAX = 4 << 20 };

/* --- Text as it is looked for */

static locale_t letters;

static void letters_open(void) {
    letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

char *orders_search_text(const char *text) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct buffer out = BUFFER(SEARCH_MAX);
    mbstate_t in = {0}, to = {0};
    char bytes[MB_LEN_MAX];
    wchar_t c;
    pthread_once(&once, letters_open);
    locale_t before = letters ? uselocale(letters) : (locale_t)0;
    for (size_t n; (n = mbrtowc(&c, text, strlen(text), &in)) && n <= MB_LEN_MAX; text += n) {
        size_t small = wcrtomb(bytes, (wchar_t)towlower((wint_t)c), &to);
        buffer_bytes(&out, bytes, small <= MB_LEN_MAX ? small : 0);
    }
    if (letters) uselocale(before);
    if (!out.data && !out.failed) return strdup("");
    return out.data;
}

/* --- Folding */

static verdict customer_fold(struct reaction *r, struct written *data, struct failure *why) {
    struct customer {
        const char *customer_id, *name, *location;
    } q;
    static const struct field fields[] = {
        FIELD_ID(struct customer, customer_id), FIELD_TEXT(struct customer, name),
        FIELD_TEXT(struct customer, location)};
    verdict v = project(data, fields, sizeof fields / sizeof *fields, &q, why);
    if (v != OK) return v;
    buffer_auto both = BUFFER(SEARCH_MAX);
    buffer_format(&both, "%s\n%s", q.name, q.customer_id);
    text_auto search = both.data ? orders_search_text(both.data) : NULL;
    if (!search) return fail(why, RETRY, "out of memory");
    (void)store_run(
        r->store,
        "INSERT INTO customer (customer_id, version, registered_at, name, location, search) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (customer_id) DO UPDATE SET version = excluded.version, registered_at = excluded.registered_at, "
        "name = excluded.name, location = excluded.location, search = excluded.search "
        "WHERE excluded.version > customer.version",
        value_text(q.customer_id), value_int(r->event->version), value_int(r->event->occurred_at), value_text(q.name),
        value_text(q.location), value_text(search));
    return OK;
}

struct order {
    const char *order_id, *customer_id, *shipment_id; /* "": this event says nothing of it */
};

/* What an event says of a value counts if its version is higher than that of the event which set it. 0: it says none.
 */
static void order_set(struct reaction *r, const struct order *q, bool placed, bool completed) {
    struct value version = value_int(r->event->version), at = value_int(r->event->occurred_at), none = value_int(0),
                 null = value_text(NULL);
    bool shipped = *q->shipment_id;
    (void)store_run(
        r->store,
        "INSERT INTO customer_order AS o (order_id, version, changed_at, customer_id, placed_at, placed_version, "
        "shipment_id, shipment_version, completed_at, completed_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (order_id) DO UPDATE SET "
        "changed_at = CASE WHEN excluded.version > o.version THEN excluded.changed_at ELSE o.changed_at END, "
        "version = CASE WHEN excluded.version > o.version THEN excluded.version ELSE o.version END, "
        "customer_id = CASE WHEN excluded.placed_version > o.placed_version THEN excluded.customer_id ELSE o.customer_id END, "
        "placed_at = CASE WHEN excluded.placed_version > o.placed_version THEN excluded.placed_at ELSE o.placed_at END, "
        "placed_version = CASE WHEN excluded.placed_version > o.placed_version THEN excluded.placed_version ELSE o.placed_version END, "
        "shipment_id = CASE WHEN excluded.shipment_version > o.shipment_version THEN excluded.shipment_id ELSE o.shipment_id END, "
        "shipment_version = CASE WHEN excluded.shipment_version > o.shipment_version THEN excluded.shipment_version ELSE o.shipment_version END, "
        "completed_at = CASE WHEN excluded.completed_version > o.completed_version THEN excluded.completed_at ELSE o.completed_at END, "
        "completed_version = CASE WHEN excluded.completed_version > o.completed_version THEN excluded.completed_version ELSE o.completed_version END",
        value_text(q->order_id), version, at, placed ? value_text(q->customer_id) : null, placed ? at : null,
        placed ? version : none, shipped ? value_text(q->shipment_id) : null, shipped ? version : none,
        completed ? at : null, completed ? version : none);
}

struct item {
    int64_t line;
    bool removed, has_price;
    const char *model, *serial_number; /* "": as before */
    struct money price;
};

static verdict item_read(struct written *data, struct item *out, struct failure *why) {
    static const struct field fields[] = {
        FIELD_INT(struct item, line),
        {"removed", TYPE_BOOL, offsetof(struct item, removed), "false"},
        {"model", TYPE_ID, offsetof(struct item, model), ""},
        {"price", TYPE_MONEY, offsetof(struct item, price), "0.00 XXX"},
        {"serial_number", TYPE_ID, offsetof(struct item, serial_number), ""}};
    out->has_price = written_has(data, "price");
    return project(data, fields, sizeof fields / sizeof *fields, out, why);
}

/* A line that is removed loses all that it held: should it come again, it is another one. */
static void item_set(struct reaction *r, const char *order_id, const struct item *q) {
    struct value version = value_int(r->event->version), none = value_int(0), null = value_text(NULL);
    bool gone = q->removed, model = *q->model, price = q->has_price, serial = *q->serial_number;
    (void)store_run(
        r->store,
        "INSERT INTO order_item AS i (order_id, line, present, line_version, model, model_version, price_minor, "
        "price_currency, price_version, serial_number, serial_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (order_id, line) DO UPDATE SET "
        "present = CASE WHEN excluded.line_version > i.line_version THEN excluded.present ELSE i.present END, "
        "line_version = CASE WHEN excluded.line_version > i.line_version THEN excluded.line_version ELSE i.line_version END, "
        "model = CASE WHEN excluded.model_version > i.model_version THEN excluded.model ELSE i.model END, "
        "model_version = CASE WHEN excluded.model_version > i.model_version THEN excluded.model_version ELSE i.model_version END, "
        "price_minor = CASE WHEN excluded.price_version > i.price_version THEN excluded.price_minor ELSE i.price_minor END, "
        "price_currency = CASE WHEN excluded.price_version > i.price_version THEN excluded.price_currency ELSE i.price_currency END, "
        "price_version = CASE WHEN excluded.price_version > i.price_version THEN excluded.price_version ELSE i.price_version END, "
        "serial_number = CASE WHEN excluded.serial_version > i.serial_version THEN excluded.serial_number ELSE i.serial_number END, "
        "serial_version = CASE WHEN excluded.serial_version > i.serial_version THEN excluded.serial_version ELSE i.serial_version END",
        value_text(order_id), value_int(q->line), value_int(!gone), version,
        model && !gone ? value_text(q->model) : null, model || gone ? version : none,
        price && !gone ? value_int(q->price.minor) : null, price && !gone ? value_text(q->price.currency) : null,
        price || gone ? version : none, serial && !gone ? value_text(q->serial_number) : null,
        serial || gone ? version : none);
}

static verdict order_fold(struct reaction *r, struct written *data, bool placed, bool completed, struct failure *why) {
    static const struct field fields[] = {
        FIELD_ID(struct order, order_id),
        {"customer_id", TYPE_ID, offsetof(struct order, customer_id), ""},
        {"shipment_id", TYPE_ID, offsetof(struct order, shipment_id), ""}};
    struct order q;
    struct item item;
    struct items items;
    verdict v = project(data, fields, sizeof fields / sizeof *fields, &q, why);
    if (v == OK && placed && !*q.customer_id) v = fail(why, REJECT, "customer_id is empty");
    if (v == OK) v = written_items(data, "items", &items, why);
    if (v == OK) order_set(r, &q, placed, completed);
    for (struct written one; v == OK && items_next(&items, &one);) {
        v = item_read(&one, &item, why);
        if (v == OK) item_set(r, q.order_id, &item);
    }
    return v;
}

verdict orders_fold(struct reaction *r, struct failure *why) {
    const struct event *e = r->event;
    const char *name = e->type + strlen("returns.sales.");
    if (strcmp(e->source, "sales") != 0) return OK;
    if (e->version < 1) return fail(why, REJECT, "version %lld is none: they count from 1", (long long)e->version);
    if (!strcmp(name, "CustomerRegistered")) return customer_fold(r, e->written, why);
    return order_fold(r, e->written, !strcmp(name, "OrderPlaced"), !strcmp(name, "OrderCompleted"), why);
}

/* --- Doubts */

static void doubt(json_t *list, json_t *text) {
    json_array_append_new(list, text);
}

static void price_doubt(json_t *list, const struct request *q, int64_t minor, const char *currency) {
    char price[32], cost[32];
    if (strcmp(currency, q->cost_currency) != 0)
        doubt(list, json_sprintf("The item was sold in %s, and the cost is in %s.", currency, q->cost_currency));
    else if (q->cost_minor > minor)
        doubt(
            list, json_sprintf(
                      "The item was sold for %s %s, and the cost is %s %s.", money_text(minor, price), currency,
                      money_text(q->cost_minor, cost), currency));
}

static void item_doubts(struct connection *reader, json_t *list, const struct request *q) {
    bool found = false;
    for (struct rows r = store_rows(
             reader,
             "SELECT price_minor, price_currency FROM order_item "
             "WHERE order_id = ? AND serial_number = ? AND present = 1 ORDER BY line LIMIT 1",
             value_text(q->order_id), value_text(q->serial_number));
         rows_next(&r);) {
        found = true;
        if (!rows_null(&r, 0)) price_doubt(list, q, rows_int(&r, 0), rows_text(&r, 1));
    }
    if (!found)
        doubt(list, json_sprintf("Order %s has no item with the serial number %s.", q->order_id, q->serial_number));
}

json_t *orders_doubts(struct connection *reader, const struct request *q) {
    json_t *list = json_array();
    if (store_int(reader, 0, "SELECT 1 FROM customer_order WHERE order_id = ?", value_text(q->order_id)))
        item_doubts(reader, list, q);
    else if (store_int(reader, 0, "SELECT 1 FROM customer_order LIMIT 1"))
        doubt(list, json_sprintf("Sales has not told of an order %s.", q->order_id));
    return list;
}
