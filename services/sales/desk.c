#include "desk.h"

#include "desk_view.h"
#include "order_input.h"
#include "orders.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/events/decision.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"
#include "chassis/web/idempotency.h"
#include "chassis/web/precondition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 50, LIMIT_MAX = 1000 };

/* --- Looking */

static struct connection *reader_of(struct exchange *x) {
    return store_reader(runtime_core(x->context)->store);
}

/* False: the query is wrong, which was answered. */
static bool limit_ok(struct exchange *x, int *limit) {
    *limit = (int)page_number(x, "limit", LIMIT, LIMIT_MAX);
    if (!exchange_problem_fields(x)) return true;
    exchange_problem(x, 400, "The list was not made: its limit is not a number from 1 to %d.", LIMIT_MAX);
    return false;
}

static void customers_show(struct exchange *x, const json_t *typed) {
    struct connection *reader = reader_of(x);
    const char *before = page_query(x, "before");
    int limit;
    if (!limit_ok(x, &limit)) return;
    x->data = orders_customers(reader, before, limit);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data)
        exchange_problem(x, 400, "before \"%.60s\" is not the id of a customer.", before);
    else if (!x->api)
        view_customers(x->data, typed, NULL);
}

void desk_customers_get(struct exchange *x) {
    customers_show(x, NULL);
}

void desk_customer_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *id = exchange_parameter(x, "id");
    json_t *orders = x->api ? NULL : orders_page(reader, id, NULL, LIMIT);
    x->data = orders_customer(reader, id);
    if (page_reader_ok(x, reader)) {
        if (!x->data)
            exchange_problem(x, 404, "There is no customer \"%.60s\".", id);
        else if (!x->api)
            view_customer(x->data, orders);
    }
    json_decref(orders);
}

void desk_orders_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *before = page_query(x, "before"), *customer = page_query(x, "customer");
    int limit;
    if (!limit_ok(x, &limit)) return;
    x->data = orders_page(reader, customer, before, limit);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data)
        exchange_problem(x, 400, "before \"%.60s\" is not the id of an order.", before);
    else if (!x->api)
        view_orders(x->data, customer);
}

void desk_order_new_get(struct exchange *x) {
    const char *customer = exchange_query(x, "customer");
    json_t *typed = json_pack("{s:s*}", "customer_id", customer);
    x->data = view_order_new(typed, VIEW_ROWS, NULL);
    json_decref(typed);
}

static void etag_set(struct exchange *x, const json_t *order) {
    char etag[32];
    snprintf(etag, sizeof etag, "\"%lld\"", (long long)json_integer_value(json_object_get(order, "version")));
    exchange_set_header(x, "ETag", etag);
}

void desk_order_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *id = exchange_parameter(x, "id");
    int64_t from = page_number(x, "from", 1, INT32_MAX);
    if (exchange_problem_fields(x)) {
        exchange_problem(x, 400, "The order is not shown: from is not the number of a line.");
        return;
    }
    x->data = orders_read(reader, id);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data)
        exchange_problem(x, 404, "There is no order \"%.60s\".", id);
    else if (x->api)
        etag_set(x, x->data);
    else
        view_order(x->data, from, NULL, NULL);
}

void desk_back_get(struct exchange *x) {
    struct buffer path = BUFFER(400);
    buffer_text(&path, "/orders/");
    buffer_percent(&path, exchange_parameter(x, "id"));
    exchange_redirect(x, path.data ? path.data : "/orders");
    buffer_free(&path);
}

/* --- What was sent */

struct sent {
    json_t *body; /* nested, as the API takes it */
    struct findings found;
    int64_t from; /* of a form: the first line that it shows */
    bool more;    /* of a form: give it more rows */
    char version[24];
};

static void sent_free(struct sent *s) {
    json_decref(s->body);
    json_decref(s->found.errors);
}

/* Of a form, and away with it: what is not about the customer or the order. */
static void form_take(json_t *form, const char *name, char *out, size_t size) {
    const char *text = json_string_value(json_object_get(form, name));
    snprintf(out, size, "%s", text ? text : "");
    json_object_del(form, name);
}

static bool form_read(struct exchange *x, struct sent *s) {
    char more[8], from[12];
    json_t *form = exchange_sent(
        x, SENT_FORM, "Send the form as application/x-www-form-urlencoded, or under /api as JSON.", "Nothing was done");
    if (!form) return false;
    form_take(form, "more", more, sizeof more);
    form_take(form, "from", from, sizeof from);
    form_take(form, "version", s->version, sizeof s->version);
    s->more = *more;
    s->from = atoll(from) > 0 ? atoll(from) : 1;
    s->body = order_nest(form, &s->found);
    json_decref(form);
    return true;
}

/* Only a form has rows in which nothing was filled in. */
static void nulls_refuse(const json_t *body, struct findings *found) {
    json_t *item;
    size_t i;
    char field[40];
    json_array_foreach(json_object_get(body, "items"), i, item) {
        snprintf(field, sizeof field, "items.%zu", i);
        if (json_is_null(item)) findings_add(found, field, "is null; write an object with its fields");
    }
}

/* False: answered. */
static bool sent_read(struct exchange *x, struct sent *s) {
    *s = (struct sent){.found.errors = json_array(), .from = 1};
    if (x->api) {
        s->body = x->body_n ? exchange_json_object(x) : json_object();
        nulls_refuse(s->body, &s->found);
    }
    if (x->api ? s->body != NULL : form_read(x, s)) return true;
    sent_free(s);
    return false;
}

/* --- Deciding */

/* The event, its effect on the tables, and the audit row, in the caller's transaction. fields: the reference is taken.
 */
static verdict desk_decide(
    struct exchange *x, struct connection *c, const char *type, const char *key, int64_t version, json_t *fields,
    const char *action, const char *summary, struct failure *why) {
    struct runtime *rt = x->context;
    struct uuid id;
    char trace[TRACE_ID];
    struct outgoing e = {
        .type = type, .key = key, .version = version, .trace_parent = x->trace_parent, .fields = fields};
    verdict v = decide(runtime_core(rt), c, &e, &id, why);
    if (v != OK) return v;
    audit_append(
        c, &(struct audit_row){
               .action = action,
               .outcome = "accepted",
               .actor = x->api ? "api" : "form",
               .event_id = &id,
               .event_type = outbox_type(runtime_core(rt)->outbox, type),
               .summary = summary,
               .trace_id = trace_id(x->trace_parent, trace)});
    return OK;
}

static void path_of(struct exchange *x, const char *kind, const char *id, char out[200]) {
    struct buffer path = BUFFER(200);
    buffer_format(&path, "%s/%s/", x->api ? "/api" : "", kind);
    buffer_percent(&path, id);
    snprintf(out, 200, "%s", path.data ? path.data : "/");
    buffer_free(&path);
}

/* The answer of what was made: 201 with where it is; a form is led there. data: the reference is taken. */
static void answer_made(struct exchange *x, const char *kind, const char *id, json_t *data) {
    char path[200];
    path_of(x, kind, id, path);
    if (x->api) {
        exchange_set_header(x, "Location", path);
        x->status = 201;
        x->data = data;
    } else {
        exchange_redirect(x, path);
        json_decref(data);
    }
}

static void answer_failed(struct exchange *x, verdict v, const struct failure *why) {
    if (v == RETRY) exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, v == RETRY ? 503 : 500, "Nothing was stored: %s. Send it again.", why->text);
}

static void answer_no_memory(struct exchange *x) {
    struct failure why = {.text = "out of memory"};
    answer_failed(x, RETRY, &why);
}

/* What the connection met; else it was want of memory. */
static verdict store_failed(struct connection *c, struct failure *why) {
    if (store_state(c) != OK) return fail(why, store_state(c), "%s", store_error(c));
    return fail(why, RETRY, "out of memory");
}

/* Commits what was decided, with the answer that is set; else takes all of it back. */
static void finish(struct exchange *x, struct connection *c, verdict v, struct failure *why) {
    struct runtime *rt = x->context;
    if (v == OK && x->api && !x->data) v = fail(why, RETRY, "out of memory for the answer");
    if (v != OK)
        store_rollback(c);
    else
        v = exchange_commit(x, c, why);
    if (v == OK)
        relay_wake(runtime_relay(rt));
    else
        answer_failed(x, v, why);
}

static void errors_say(struct exchange *x, const json_t *errors) {
    json_t *error;
    size_t i;
    json_array_foreach((json_t *)errors, i, error)
        exchange_problem_field(x, json_get_text(error, "field"), "%s", json_get_text(error, "detail"));
}

/* What became of a form that was not accepted: its page again, with all that was typed. */
static void form_page(struct exchange *x, int status, const char *page, json_t *data) {
    exchange_set_header(x, "Cache-Control", "private, no-cache"); /* for going back to it */
    x->status = status;
    x->page = page;
    json_decref(x->data);
    x->data = data;
}

/* --- Customers */

static void customer_refuse(struct exchange *x, struct sent *s, int status, const char *detail, const char *existing) {
    if (x->api) {
        errors_say(x, s->found.errors);
        exchange_problem(x, status, "The customer was not registered: %s.", detail);
        return;
    }
    x->data = orders_customers(reader_of(x), NULL, LIMIT);
    if (existing) json_object_del(s->body, "customer_id"); /* the next one gets a new id */
    view_customers(x->data, s->body, s->found.errors);
    if (existing) page_add_notice(x->data, "There is a customer of that id already. Is this another one?", existing);
    form_page(x, status, "customers.html", json_incref(x->data));
}

/* A form that was sent twice has its customer already. */
static void customer_exists(struct exchange *x, struct sent *s, const json_t *there, const json_t *fields) {
    const char *id = json_get_text(there, "customer_id");
    char path[200], detail[120];
    path_of(x, "customers", id, path);
    if (!x->api && !strcmp(json_get_text(there, "name"), json_get_text(fields, "name")) &&
        !strcmp(json_get_text(there, "location"), json_get_text(fields, "location"))) {
        exchange_redirect(x, path);
        return;
    }
    snprintf(detail, sizeof detail, "there is a customer \"%.60s\" already", id);
    customer_refuse(x, s, 409, detail, path);
}

static void customer_register(struct exchange *x, struct sent *s, json_t *fields) {
    struct runtime *rt = x->context;
    struct failure why = {0};
    char made[32], summary[500];
    view_id("C-", made);
    if (!*json_get_text(fields, "customer_id")) findings_set(&s->found, fields, "customer_id", json_string(made));
    char id[80];
    snprintf(id, sizeof id, "%s", json_get_text(fields, "customer_id"));
    struct connection *c = store_begin(runtime_core(rt)->store);
    json_t *there = orders_customer(c, id);
    if (store_state(c) != OK || s->found.out_of_memory) {
        finish(x, c, store_failed(c, &why), &why);
    } else if (there) {
        store_rollback(c);
        customer_exists(x, s, there, fields);
    } else {
        snprintf(
            summary, sizeof summary, "%s, %s, %s", id, json_get_text(fields, "name"),
            json_get_text(fields, "location"));
        verdict v =
            desk_decide(x, c, "CustomerRegistered", id, 1, json_incref(fields), "register a customer", summary, &why);
        if (v == OK) answer_made(x, "customers", id, orders_customer(c, id));
        finish(x, c, v, &why);
    }
    json_decref(there);
}

void desk_customers_post(struct exchange *x) {
    struct sent s;
    if (!sent_read(x, &s)) return;
    json_t *fields = order_customer(s.body, &s.found);
    if (s.found.out_of_memory)
        answer_no_memory(x);
    else if (json_array_size(s.found.errors))
        customer_refuse(x, &s, 422, "some of its fields cannot be accepted", NULL);
    else
        customer_register(x, &s, fields);
    json_decref(fields);
    sent_free(&s);
}

/* --- Placing an order */

static int rows_needed(const struct sent *s) {
    int n = (int)json_array_size(json_object_get(s->body, "items"));
    return (n > VIEW_ROWS ? n : VIEW_ROWS) + (s->more ? 5 : 0);
}

static void order_refuse(struct exchange *x, struct sent *s, int status, const char *detail, const char *existing) {
    if (x->api) {
        errors_say(x, s->found.errors);
        exchange_problem(x, status, "The order was not placed: %s.", detail);
        return;
    }
    if (existing) json_object_del(s->body, "order_id");
    json_t *data = view_order_new(s->body, rows_needed(s), s->found.errors);
    if (existing) page_add_notice(data, "There is an order of that id already. Is this another one?", existing);
    form_page(x, status, "order_new.html", data);
}

static void order_exists(struct exchange *x, struct sent *s, const json_t *there, const json_t *fields) {
    const char *id = json_get_text(there, "order_id");
    char path[200], detail[120];
    path_of(x, "orders", id, path);
    bool same = json_equal(json_object_get(there, "items"), json_object_get(fields, "items")) &&
                !strcmp(json_get_text(there, "customer_id"), json_get_text(fields, "customer_id")) &&
                !strcmp(json_get_text(there, "shipment_id"), json_get_text(fields, "shipment_id"));
    if (!x->api && same) {
        exchange_redirect(x, path);
        return;
    }
    snprintf(detail, sizeof detail, "there is an order \"%.60s\" already", id);
    order_refuse(x, s, 409, detail, path);
}

/* A device is in one order only. rows: which item of what was sent each of these is; NULL: as they are. */
static void holders_check(
    struct connection *c, const char *order_id, const json_t *items, const json_t *sent_items, struct findings *found) {
    json_t *item, *sent;
    size_t i, k;
    json_array_foreach((json_t *)items, i, item) {
        const char *serial = json_string_value(json_object_get(item, "serial_number"));
        char *holder = serial ? orders_holder(c, serial, order_id) : NULL, field[60];
        if (!holder) continue;
        json_array_foreach(
            (json_t *)sent_items, k, sent) if (!strcmp(json_get_text(sent, "serial_number"), serial)) break;
        snprintf(field, sizeof field, "items.%zu.serial_number", k);
        findings_add(found, field, "\"%.60s\" is in the order %.60s already", serial, holder);
        free(holder);
    }
}

static json_t *order_brief(struct exchange *x, const json_t *order) {
    struct runtime *rt = x->context;
    return json_pack(
        "{s:O, s:O, s:O, s:o}", "order_id", json_object_get(order, "order_id"), "version",
        json_object_get(order, "version"), "state", json_object_get(order, "state"), "page",
        json_sprintf("%s/orders/%s", runtime_core(rt)->settings->public_url, json_get_text(order, "order_id")));
}

static void order_made(struct exchange *x, struct connection *c, const char *id) {
    json_t *order = orders_one(c, id);
    if (x->api) etag_set(x, order);
    answer_made(x, "orders", id, order_brief(x, order));
    json_decref(order);
}

static void order_place(struct exchange *x, struct sent *s, json_t *fields) {
    struct runtime *rt = x->context;
    struct failure why = {0};
    const json_t *items = json_object_get(fields, "items");
    const char *customer_id = json_get_text(fields, "customer_id");
    char id[80], made[32], summary[300];
    view_id("ORD-", made);
    if (!*json_get_text(fields, "order_id")) findings_set(&s->found, fields, "order_id", json_string(made));
    snprintf(id, sizeof id, "%s", json_get_text(fields, "order_id"));
    struct connection *c = store_begin(runtime_core(rt)->store);
    json_t *there = orders_one(c, id), *customer = orders_customer(c, customer_id);
    if (!customer)
        findings_add(&s->found, "customer_id", "there is no customer \"%.60s\"; register it first", customer_id);
    else if (!there)
        holders_check(c, id, items, json_object_get(s->body, "items"), &s->found);
    if (store_state(c) != OK || s->found.out_of_memory) {
        finish(x, c, store_failed(c, &why), &why);
    } else if (json_array_size(s->found.errors) || there) {
        store_rollback(c);
        if (there)
            order_exists(x, s, there, fields);
        else
            order_refuse(
                x, s, customer ? 409 : 422, customer ? "a device is in another order" : "it has no customer", NULL);
    } else {
        snprintf(summary, sizeof summary, "order %s of %s: %zu items", id, customer_id, json_array_size(items));
        verdict v = desk_decide(x, c, "OrderPlaced", id, 1, json_incref(fields), "place an order", summary, &why);
        if (v == OK) order_made(x, c, id);
        finish(x, c, v, &why);
    }
    json_decref(there);
    json_decref(customer);
}

void desk_orders_post(struct exchange *x) {
    struct sent s;
    if (!sent_read(x, &s)) return;
    json_t *fields = s.more ? NULL : order_placed(s.body, &s.found);
    if (s.more)
        order_refuse(x, &s, 200, "", NULL);
    else if (s.found.out_of_memory)
        answer_no_memory(x);
    else if (json_array_size(s.found.errors))
        order_refuse(x, &s, 422, "some of its fields cannot be accepted", NULL);
    else
        order_place(x, &s, fields);
    json_decref(fields);
    sent_free(&s);
}

/* --- Changing and completing one */

static void order_not(struct exchange *x, struct sent *s, json_t *order, int status, const char *detail) {
    if (x->api) {
        errors_say(x, s->found.errors);
        if (order) etag_set(x, order);
        exchange_problem(x, status, "The order was not changed: %s.", detail);
        return;
    }
    if (!order || !json_is_object(order)) {
        exchange_problem(x, status, "The order was not changed: %s.", detail);
        return;
    }
    json_t *data = json_incref(order);
    view_order(data, s->from, s->body, s->found.errors);
    if (status != 422) {
        char notice[300];
        snprintf(notice, sizeof notice, "The order was not changed: %s.", detail);
        page_add_notice(data, notice, NULL);
    }
    form_page(x, status, "order.html", data);
}

/* Whether it may be done to the order as it is; else answered. */
static bool order_may(struct exchange *x, struct sent *s, json_t *order) {
    const char *tags = x->api ? exchange_header(x, "If-Match") : s->version;
    int64_t version = json_integer_value(json_object_get(order, "version"));
    char detail[700], tag[24];
    bool fits = false;
    struct failure why;
    snprintf(tag, sizeof tag, x->api ? "\"%lld\"" : "%lld", (long long)version);
    if (!order) {
        exchange_problem(x, 404, "There is no order \"%.60s\".", exchange_parameter(x, "id"));
    } else if (!tags || !*tags) {
        snprintf(detail, sizeof detail, "say which version you saw, with If-Match: \"%lld\"", (long long)version);
        order_not(x, s, order, 428, detail);
    } else if (x->api && precondition_fits(tags, tag, &fits, &why) != OK) {
        order_not(x, s, order, 400, why.text);
    } else if (x->api ? !fits : strcmp(s->version, tag) != 0) {
        snprintf(
            detail, sizeof detail, "you saw version %.40s, and by now it is \"%lld\"; look at it again", tags,
            (long long)version);
        order_not(x, s, order, 412, detail);
    } else if (!strcmp(json_get_text(order, "state"), "completed")) {
        order_not(x, s, order, 409, "it is completed, and stays as it is");
    } else {
        return true;
    }
    return false;
}

static void order_done(struct exchange *x, struct connection *c, const char *id) {
    char path[200];
    if (!x->api) {
        path_of(x, "orders", id, path);
        exchange_redirect(x, path);
        return;
    }
    json_t *order = orders_one(c, id);
    etag_set(x, order);
    x->data = order_brief(x, order);
    json_decref(order);
}

static bool is_different(const json_t *fields) {
    return json_array_size(json_object_get(fields, "items")) > 0 ||
           json_is_string(json_object_get(fields, "shipment_id"));
}

/* What a command makes of an order: the event's fields, or errors. */
typedef json_t *order_command(struct connection *c, struct sent *s, json_t *order, int *status);

static json_t *change_make(struct connection *c, struct sent *s, json_t *order, int *status) {
    json_t *fields = order_changed(s->body, order, &s->found);
    *status = 422;
    if (!findings_none(&s->found)) return fields;
    *status = 409;
    holders_check(
        c, json_get_text(order, "order_id"), json_object_get(fields, "items"), json_object_get(s->body, "items"),
        &s->found);
    return fields;
}

/* Every line with its device. */
static json_t *complete_make(struct connection *c, struct sent *s, json_t *order, int *status) {
    json_t *items = json_array(), *item;
    size_t i;
    char field[60];
    const char *name;
    (void)c;
    *status = 409;
    json_object_foreach(s->body, name, item) {
        findings_add(&s->found, name, "there is no such field; leave it out");
        *status = 422;
    }
    if (!json_is_string(json_object_get(order, "shipment_id")))
        findings_add(&s->found, "shipment_id", "is not known yet; change the order first");
    json_array_foreach(json_object_get(order, "items"), i, item) {
        snprintf(field, sizeof field, "items.%zu.serial_number", i);
        if (json_is_string(json_object_get(item, "serial_number")))
            findings_append(
                &s->found, items,
                json_pack(
                    "{s:O, s:O}", "line", json_object_get(item, "line"), "serial_number",
                    json_object_get(item, "serial_number")));
        else
            findings_add(
                &s->found, field, "of line %lld is not known yet; change the order first",
                (long long)json_integer_value(json_object_get(item, "line")));
    }
    return findings_have(
        &s->found, json_pack(
                       "{s:O, s:O, s:o}", "order_id", json_object_get(order, "order_id"), "shipment_id",
                       json_object_get(order, "shipment_id"), "items", items));
}

static void command_run(struct exchange *x, struct sent *s, order_command *make, const char *type, const char *action) {
    struct runtime *rt = x->context;
    struct failure why = {0};
    struct connection *c = store_begin(runtime_core(rt)->store);
    const char *id = exchange_parameter(x, "id");
    json_t *order = orders_one(c, id), *fields = NULL;
    int status = 0;
    verdict v;
    if (store_state(c) != OK) {
        finish(x, c, store_failed(c, &why), &why);
    } else if (!order_may(x, s, order)) {
        store_rollback(c);
    } else if (fields = make(c, s, order, &status), store_state(c) != OK || s->found.out_of_memory) {
        finish(x, c, store_failed(c, &why), &why);
    } else if (json_array_size(s->found.errors)) {
        store_rollback(c);
        order_not(x, s, order, status, "see what is in the way of it");
    } else if (!strcmp(type, "OrderChanged") && !is_different(fields)) {
        order_done(x, c, id);
        store_rollback(c);
    } else {
        int64_t version = json_integer_value(json_object_get(order, "version")) + 1;
        char summary[200];
        snprintf(
            summary, sizeof summary, "order %s, now version %lld: %zu lines", id, (long long)version,
            json_array_size(json_object_get(fields, "items")));
        v = desk_decide(x, c, type, id, version, json_incref(fields), action, summary, &why);
        if (v == OK) order_done(x, c, id);
        finish(x, c, v, &why);
    }
    json_decref(order);
    json_decref(fields);
}

void desk_change_post(struct exchange *x) {
    struct sent s;
    if (!sent_read(x, &s)) return;
    command_run(x, &s, change_make, "OrderChanged", "change an order");
    sent_free(&s);
}

void desk_complete_post(struct exchange *x) {
    struct sent s;
    if (!sent_read(x, &s)) return;
    command_run(x, &s, complete_make, "OrderCompleted", "complete an order");
    sent_free(&s);
}
