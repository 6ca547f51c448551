#include "desk.h"

#include "desk_view.h"
#include "order_input.h"
#include "orders.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/events/decision.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"
#include "chassis/web/idempotency.h"
#include "chassis/web/precondition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 50, LIMIT_MAX = 1000, PATH = 400 };

static const struct core *core_of(struct exchange *x) {
    return runtime_core(x->context);
}

/* --- Looking */

static struct connection *reader_of(struct exchange *x) {
    return store_reader(core_of(x)->store);
}

/* False: the query is wrong, which was answered. */
static bool limit_ok(struct exchange *x, int *limit) {
    *limit = (int)page_number(x, "limit", LIMIT, LIMIT_MAX);
    if (!exchange_problem_fields(x)) return true;
    exchange_problem(x, 400, "The list was not made: its limit is not a number from 1 to %d.", LIMIT_MAX);
    return false;
}

/* False: it was not, which was answered. The problem is what is said before and after the id. */
static bool was_read(
    struct exchange *x, struct connection *reader, int status, const char *before, const char *id, const char *after) {
    if (!page_reader_ok(x, reader)) return false;
    if (x->data) return true;
    exchange_problem(x, status, "%s \"%.60s\"%s.", before, id, after);
    return false;
}

void desk_customers_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *before = page_query(x, "before");
    int limit;
    if (!limit_ok(x, &limit)) return;
    x->data = orders_customers(reader, before, limit);
    if (was_read(x, reader, 400, "before", before, " is not the id of a customer") && !x->api)
        view_customers(x->data, NULL, NULL);
}

void desk_customer_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *id = exchange_parameter(x, "id");
    json_auto_t *orders = x->api ? NULL : orders_page(reader, id, NULL, LIMIT);
    x->data = orders_customer(reader, id);
    if (was_read(x, reader, 404, "There is no customer", id, "") && !x->api) view_customer(x->data, orders);
}

void desk_orders_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *before = page_query(x, "before"), *customer = page_query(x, "customer");
    int limit;
    if (!limit_ok(x, &limit)) return;
    x->data = orders_page(reader, customer, before, limit);
    if (was_read(x, reader, 400, "before", before, " is not the id of an order") && !x->api)
        view_orders(x->data, customer);
}

void desk_order_new_get(struct exchange *x) {
    json_auto_t *typed = json_pack("{s:s*}", "customer_id", exchange_query(x, "customer"));
    x->data = view_order_new(typed, VIEW_ROWS, NULL);
}

void desk_order_get(struct exchange *x) {
    struct connection *reader = reader_of(x);
    const char *id = exchange_parameter(x, "id");
    int64_t from = page_number(x, "from", 1, INT32_MAX);
    if (!exchange_fields_ok(x, 400, "The order is not shown: from is not the number of a line.")) return;
    x->data = orders_read(reader, id);
    if (!was_read(x, reader, 404, "There is no order", id, "")) return;
    if (x->api)
        page_etag(x, json_get_int(x->data, "version"));
    else
        view_order(x->data, from, NULL, NULL);
}

/* "/api/orders/ORD-1", or what is a page of it */
static const char *path_of(struct exchange *x, const char *kind, const char *id, char out[PATH]) {
    buffer_auto path = BUFFER(PATH);
    buffer_format(&path, "%s/%s/", x->api ? "/api" : "", kind);
    buffer_percent(&path, id);
    snprintf(out, PATH, "%s", path.data ? path.data : "/");
    return out;
}

void desk_back_get(struct exchange *x) {
    char path[PATH];
    exchange_redirect(x, path_of(x, "orders", exchange_parameter(x, "id"), path));
}

/* --- What was sent */

struct sent {
    json_t *body; /* nested, as the API takes it */
    struct findings found;
    int64_t from; /* of a form: the first line that it shows */
    bool more;    /* of a form: give it more rows */
    char version[24];
};
#define sent_auto __attribute__((cleanup(sent_free))) struct sent /* freed at the end of its block */

static void sent_free(struct sent *s) {
    json_decref(s->body);
    json_decref(s->found.errors);
}

static bool form_read(struct exchange *x, struct sent *s) {
    json_auto_t *form = exchange_sent(
        x, SENT_FORM, "Send the form as application/x-www-form-urlencoded, or under /api as JSON.", "Nothing was done");
    if (!form) return false;
    s->more = *json_get_text(form, "more");
    s->from = atoll(json_get_text(form, "from"));
    if (s->from < 1) s->from = 1;
    snprintf(s->version, sizeof s->version, "%s", json_get_text(form, "version"));
    json_object_del(form, "more"); /* neither is about the customer or the order */
    json_object_del(form, "from");
    json_object_del(form, "version");
    s->body = order_nest(form, &s->found);
    return true;
}

/* False: answered. */
static bool sent_read(struct exchange *x, struct sent *s) {
    *s = (struct sent){.found.errors = json_array(), .from = 1};
    if (!x->api) return form_read(x, s);
    s->body = x->body_n ? exchange_json_object(x) : json_object();
    json_each(i, item, json_object_get(s->body, "items")) /* only a form has rows in which nothing was filled in */
        if (json_is_null(item)) findings_add(&s->found, i, NULL, "is null; write an object with its fields");
    return s->body;
}

/* --- Deciding */

/* What becomes of what was sent: an event about `id`, and the answer, which is made in its transaction. */
struct command {
    const char *type, *id, *action;
    int64_t version;
    json_t *fields;
    char summary[500];
    void (*answer)(struct exchange *x, struct connection *c, const char *id);
};

static void answer_failed(struct exchange *x, verdict v, const struct failure *why) {
    if (v == RETRY) exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, v == RETRY ? 503 : 500, "Nothing was stored: %s. Send it again.", why->text);
}

/* True: the database, or want of memory, stands in the way, which was answered. c: ended then. NULL: none. */
static bool failed(struct exchange *x, const struct sent *s, struct connection *c) {
    struct failure why;
    if (!s->found.out_of_memory && (!c || store_state(c) == OK)) return false;
    verdict v = c && store_state(c) != OK ? fail(&why, store_state(c), "%s", store_error(c))
                                          : fail(&why, RETRY, "out of memory");
    if (c) store_rollback(c);
    answer_failed(x, v, &why);
    return true;
}

/* The event, its effect on the tables, its audit row and its answer: all of it, or an answer that says why not. */
static void command_do(struct exchange *x, struct connection *c, const struct command *made) {
    const struct core *core = core_of(x);
    struct failure why;
    struct uuid id;
    char trace[TRACE_ID];
    struct outgoing e = {
        .type = made->type,
        .key = made->id,
        .version = made->version,
        .trace_parent = x->trace_parent,
        .fields = json_incref(made->fields)};
    verdict v = decide(core, c, &e, &id, &why);
    if (v == OK) {
        audit_append(
            c, &(struct audit_row){
                   .action = made->action,
                   .outcome = "accepted",
                   .actor = x->api ? "api" : "form",
                   .event_id = &id,
                   .event_type = outbox_type(core->outbox, made->type),
                   .summary = made->summary,
                   .trace_id = trace_id(x->trace_parent, trace)});
        made->answer(x, c, made->id);
        if (x->api && !x->data) v = fail(&why, RETRY, "out of memory for the answer");
    }
    if (v != OK)
        store_rollback(c);
    else
        v = exchange_commit(x, c, &why);
    if (v == OK)
        relay_wake(runtime_relay(x->context));
    else
        answer_failed(x, v, &why);
}

/* By API. False: a form wants its page again. */
static bool refused(struct exchange *x, const struct sent *s, int status, const char *what, const char *detail) {
    if (!x->api) return false;
    json_each(i, error, s->found.errors)
        exchange_problem_field(x, json_get_text(error, "field"), "%s", json_get_text(error, "detail"));
    exchange_problem(x, status, "The %s: %s.", what, detail);
    return true;
}

/* What became of a form that was not accepted: its page again, with all that was typed. */
static void form_page(struct exchange *x, int status, const char *page, json_t *data) {
    exchange_set_header(x, "Cache-Control", "private, no-cache"); /* for going back to it */
    x->status = status;
    x->page = page;
    json_decref(x->data);
    x->data = data;
}

/* Where there is one of that id: to it, if it is what the form asked for (it was sent twice). False: it is another. */
static bool
same_again(struct exchange *x, const char *path, const json_t *there, const json_t *fields, const char *const *names) {
    for (; *names; names++)
        if (!json_equal(json_object_get(fields, *names), json_object_get(there, *names))) return false;
    if (!x->api) exchange_redirect(x, path);
    return !x->api;
}

/* 201 with where it is. A form is led there. */
static void answer_made(struct exchange *x, const char *kind, const char *id) {
    char path[PATH];
    path_of(x, kind, id, path);
    if (x->api) {
        exchange_set_header(x, "Location", path);
        x->status = 201;
    } else {
        exchange_redirect(x, path);
    }
}

/* The id that was sent, or a new one, which the fields get. */
static void id_have(struct sent *s, json_t *fields, const char *name, const char *prefix, char id[80]) {
    char made[32];
    view_id(prefix, made);
    if (!*json_get_text(fields, name)) findings_set(&s->found, fields, name, json_string(made));
    snprintf(id, 80, "%s", json_get_text(fields, name));
}

/* --- Customers */

/* existing: where the one is that has its id. NULL: there is none. */
static void customer_refuse(struct exchange *x, struct sent *s, int status, const char *detail, const char *existing) {
    if (refused(x, s, status, "customer was not registered", detail)) return;
    json_t *data = orders_customers(reader_of(x), NULL, LIMIT);
    if (existing) json_object_del(s->body, "customer_id"); /* the next one gets a new id */
    view_customers(data, s->body, s->found.errors);
    if (existing) page_add_notice(data, "There is a customer of that id already. Is this another one?", existing);
    form_page(x, status, "customers.html", data);
}

static void customer_made(struct exchange *x, struct connection *c, const char *id) {
    if (x->api) x->data = orders_customer(c, id);
    answer_made(x, "customers", id);
}

static void customer_register(struct exchange *x, struct sent *s, json_t *fields) {
    char id[80], path[PATH], detail[120];
    id_have(s, fields, "customer_id", "C-", id);
    struct connection *c = store_begin(core_of(x)->store);
    json_auto_t *there = orders_customer(c, id);
    if (failed(x, s, c)) return;
    if (there) {
        store_rollback(c);
        static const char *const names[] = {"name", "location", NULL};
        if (same_again(x, path_of(x, "customers", id, path), there, fields, names)) return;
        snprintf(detail, sizeof detail, "there is a customer \"%.60s\" already", id);
        customer_refuse(x, s, 409, detail, path);
        return;
    }
    struct command made = {"CustomerRegistered", id, "register a customer", 1, fields, "", customer_made};
    snprintf(
        made.summary, sizeof made.summary, "%s, %s, %s", id, json_get_text(fields, "name"),
        json_get_text(fields, "location"));
    command_do(x, c, &made);
}

void desk_customers_post(struct exchange *x) {
    sent_auto s;
    if (!sent_read(x, &s)) return;
    json_auto_t *fields = order_customer(s.body, &s.found);
    if (failed(x, &s, NULL)) return;
    if (json_array_size(s.found.errors))
        customer_refuse(x, &s, 422, "some of its fields cannot be accepted", NULL);
    else
        customer_register(x, &s, fields);
}

/* --- Placing an order */

static void order_refuse(struct exchange *x, struct sent *s, int status, const char *detail, const char *existing) {
    if (refused(x, s, status, "order was not placed", detail)) return;
    int n = (int)json_array_size(json_object_get(s->body, "items"));
    if (existing) json_object_del(s->body, "order_id");
    json_t *data = view_order_new(s->body, (n > VIEW_ROWS ? n : VIEW_ROWS) + (s->more ? 5 : 0), s->found.errors);
    if (existing) page_add_notice(data, "There is an order of that id already. Is this another one?", existing);
    form_page(x, status, "order_new.html", data);
}

/* A device is in one order only. Said of the item that was sent with it. */
static void holders_check(
    struct connection *c, const char *order_id, const json_t *items, const json_t *sent_items, struct findings *found) {
    json_each(i, item, items) {
        const char *serial = json_string_value(json_object_get(item, "serial_number"));
        text_auto holder = serial ? orders_holder(c, serial, order_id) : NULL;
        size_t at = json_array_size(sent_items);
        if (!holder) continue;
        json_each(k, sent, sent_items)
            if (k < at && !strcmp(json_get_text(sent, "serial_number"), serial)) at = k;
        findings_add(found, at, "serial_number", "\"%.60s\" is in the order %.60s already", serial, holder);
    }
}

/* For programs: which order it is now, and where. */
static void order_tell(struct exchange *x, struct connection *c, const char *id) {
    json_auto_t *order = orders_one(c, id);
    page_etag(x, json_get_int(order, "version"));
    x->data = json_pack(
        "{s:O, s:O, s:O, s:o}", "order_id", json_object_get(order, "order_id"), "version",
        json_object_get(order, "version"), "state", json_object_get(order, "state"), "page",
        json_sprintf("%s/orders/%s", core_of(x)->settings->public_url, json_get_text(order, "order_id")));
}

static void order_made(struct exchange *x, struct connection *c, const char *id) {
    if (x->api) order_tell(x, c, id);
    answer_made(x, "orders", id);
}

static void order_place(struct exchange *x, struct sent *s, json_t *fields) {
    const json_t *items = json_object_get(fields, "items");
    const char *customer_id = json_get_text(fields, "customer_id");
    char id[80], path[PATH], detail[120];
    id_have(s, fields, "order_id", "ORD-", id);
    struct connection *c = store_begin(core_of(x)->store);
    json_auto_t *there = orders_one(c, id), *customer = orders_customer(c, customer_id);
    if (!customer)
        findings_add(
            &s->found, NO_ITEM, "customer_id", "there is no customer \"%.60s\"; register it first", customer_id);
    else if (!there)
        holders_check(c, id, items, json_object_get(s->body, "items"), &s->found);
    if (failed(x, s, c)) return;
    if (there) {
        store_rollback(c);
        static const char *const names[] = {"items", "customer_id", "shipment_id", NULL};
        if (same_again(x, path_of(x, "orders", id, path), there, fields, names)) return;
        snprintf(detail, sizeof detail, "there is an order \"%.60s\" already", id);
        order_refuse(x, s, 409, detail, path);
    } else if (json_array_size(s->found.errors)) {
        store_rollback(c);
        order_refuse(
            x, s, customer ? 409 : 422, customer ? "a device is in another order" : "it has no customer", NULL);
    } else {
        struct command made = {"OrderPlaced", id, "place an order", 1, fields, "", order_made};
        snprintf(
            made.summary, sizeof made.summary, "order %s of %s: %zu items", id, customer_id, json_array_size(items));
        command_do(x, c, &made);
    }
}

void desk_orders_post(struct exchange *x) {
    sent_auto s;
    if (!sent_read(x, &s)) return;
    json_auto_t *fields = s.more ? NULL : order_placed(s.body, &s.found);
    if (s.more)
        order_refuse(x, &s, 200, "", NULL);
    else if (failed(x, &s, NULL))
        return;
    else if (json_array_size(s.found.errors))
        order_refuse(x, &s, 422, "some of its fields cannot be accepted", NULL);
    else
        order_place(x, &s, fields);
}

/* --- Changing and completing one */

static void order_not(struct exchange *x, struct sent *s, json_t *order, int status, const char *detail) {
    char notice[300];
    if (x->api && order) page_etag(x, json_get_int(order, "version"));
    if (refused(x, s, status, "order was not changed", detail)) return;
    view_order(order, s->from, s->body, s->found.errors);
    snprintf(notice, sizeof notice, "The order was not changed: %s.", detail);
    if (status != 422) page_add_notice(order, notice, NULL);
    form_page(x, status, "order.html", json_incref(order));
}

/* Whether it may be done to the order as it is, or else answered. */
static bool order_may(struct exchange *x, struct sent *s, json_t *order) {
    const char *tags = x->api ? exchange_header(x, "If-Match") : s->version;
    char detail[700], number[24], tag[28];
    bool fits = false;
    struct failure why;
    int status = 409;
    if (!order) {
        exchange_problem(x, 404, "There is no order \"%.60s\".", exchange_parameter(x, "id"));
        return false;
    }
    snprintf(tag, sizeof tag, "\"%s\"", log_number(number, json_get_int(order, "version")));
    snprintf(detail, sizeof detail, "it is completed, and stays as it is");
    if (!tags || !*tags) {
        status = 428;
        snprintf(detail, sizeof detail, "say which version you saw, with If-Match: %s", tag);
    } else if (x->api && precondition_fits(tags, tag, &fits, &why) != OK) {
        status = 400;
        snprintf(detail, sizeof detail, "%s", why.text);
    } else if (x->api ? !fits : strcmp(tags, number) != 0) {
        status = 412;
        snprintf(detail, sizeof detail, "you saw version %.40s, and by now it is %s; look at it again", tags, tag);
    } else if (strcmp(json_get_text(order, "state"), "completed") != 0) {
        return true;
    }
    order_not(x, s, order, status, detail);
    return false;
}

static void order_done(struct exchange *x, struct connection *c, const char *id) {
    char path[PATH];
    if (x->api)
        order_tell(x, c, id);
    else
        exchange_redirect(x, path_of(x, "orders", id, path));
}

/* What a command makes of an order: the event's fields, or errors. */
typedef json_t *order_command(struct connection *c, struct sent *s, json_t *order, int *status);

static json_t *change_make(struct connection *c, struct sent *s, json_t *order, int *status) {
    json_t *fields = order_changed(s->body, order, &s->found);
    *status = findings_none(&s->found) ? 409 : 422;
    if (*status == 409)
        holders_check(
            c, json_get_text(order, "order_id"), json_object_get(fields, "items"), json_object_get(s->body, "items"),
            &s->found);
    return fields;
}

/* Every line with its device. */
static json_t *complete_make(struct connection *c, struct sent *s, json_t *order, int *status) {
    json_t *items = json_array();
    (void)c;
    *status = json_object_size(s->body) ? 422 : 409;
    json_members(m, s->body) findings_add(&s->found, NO_ITEM, m.name, "there is no such field; leave it out");
    if (!json_is_string(json_object_get(order, "shipment_id")))
        findings_add(&s->found, NO_ITEM, "shipment_id", "is not known yet; change the order first");
    json_each(i, item, json_object_get(order, "items")) {
        json_t *serial = json_object_get(item, "serial_number"), *line = json_object_get(item, "line");
        if (json_is_string(serial))
            findings_append(&s->found, items, json_pack("{s:O, s:O}", "line", line, "serial_number", serial));
        else
            findings_add(
                &s->found, i, "serial_number", "of line %lld is not known yet; change the order first",
                (long long)json_integer_value(line));
    }
    return findings_have(
        &s->found, json_pack(
                       "{s:O, s:O, s:o}", "order_id", json_object_get(order, "order_id"), "shipment_id",
                       json_object_get(order, "shipment_id"), "items", items));
}

static void command_run(struct exchange *x, order_command *make, const char *type, const char *action) {
    sent_auto s;
    if (!sent_read(x, &s)) return;
    const char *id = exchange_parameter(x, "id");
    struct connection *c = store_begin(core_of(x)->store);
    json_auto_t *order = orders_one(c, id), *fields = NULL;
    int status;
    if (failed(x, &s, c)) return;
    if (!order_may(x, &s, order)) {
        store_rollback(c);
        return;
    }
    fields = make(c, &s, order, &status);
    if (failed(x, &s, c)) return;
    const json_t *items = json_object_get(fields, "items");
    if (json_array_size(s.found.errors)) {
        store_rollback(c);
        order_not(x, &s, order, status, "see what is in the way of it");
    } else if (
        make == change_make && !json_array_size(items) && !json_is_string(json_object_get(fields, "shipment_id"))) {
        order_done(x, c, id); /* nothing is different */
        store_rollback(c);
    } else {
        struct command made = {type, id, action, json_get_int(order, "version") + 1, fields, "", order_done};
        snprintf(
            made.summary, sizeof made.summary, "order %s, now version %lld: %zu lines", id, (long long)made.version,
            json_array_size(items));
        command_do(x, c, &made);
    }
}

void desk_change_post(struct exchange *x) {
    command_run(x, change_make, "OrderChanged", "change an order");
}

void desk_complete_post(struct exchange *x) {
    command_run(x, complete_make, "OrderCompleted", "complete an order");
}
