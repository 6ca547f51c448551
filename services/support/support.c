/* support takes in returns, tells everybody by one event, and shows what each team made of it. */
#include "support/board.h"
#include "support/form/command.h"
#include "support/form/customers.h"
#include "support/form/examples.h"
#include "support/form/picker.h"
#include "support/form/submit.h"
#include "support/form/view.h"
#include "support/load/simulate.h"
#include "support/reconcile/reconcile_view.h"
#include "support/returns/fold.h"
#include "support/returns/returns.h"
#include "support/returns/snapshot.h"
#include "support/returns/timeline.h"
#include "support/traditional/compare.h"
#include "support/traditional/traditional.h"

#include "chassis/avro/registry.h"
#include "chassis/base/json_get.h"
#include "chassis/fleet/peers.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT = 50 };

static void form_get(struct exchange *x) {
    const char *example = exchange_query(x, "example");
    int number = example && strlen(example) == 1 ? atoi(example) : 0;
    if (example && (number < 1 || number > examples_n)) {
        exchange_problem(x, 404, "There is no example \"%.60s\": they are numbered from 1 to %d.", example, examples_n);
        return;
    }
    json_t *item, *picker = picker_read(x, &item);
    json_auto_t *typed = item;
    if (!picker) return;
    if (!typed && number) typed = example_body(store_reader(runtime_core(x->context)->store), number);
    x->data = view_form(typed, returns_reasons(x->context), NULL, "");
    json_object_set_new(x->data, "picker", picker);
}

static void returns_get(struct exchange *x) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    const char *before = page_query(x, "before");
    struct bound b = bound_now;
    int limit = view_limit(x, LIMIT);
    if (!limit || !page_moment(x, "as_of", &b.at)) return;
    x->data = returns_page(reader, before, limit, &b);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data) {
        exchange_problem(x, 400, "before \"%.60s\" is not the id of a return.", before);
    } else if (!x->api) {
        view_returns(json_object_get(x->data, "returns"));
        json_add(x->data, "{s:s, s:s, s:i}", "heading", "Returns", "api_url", "/api/returns", "limit", limit);
        past_view(x->data, "/returns", &b);
    }
}

static void return_view(struct runtime *rt, struct connection *reader, const struct bound *b, json_t *one) {
    const char *id = json_get_text(one, "return_id");
    json_auto_t *known = peers_json(runtime_peers(rt)), *url = view_url("/returns/", id);
    const json_t *peers = json_object_get(known, "peers");
    json_t *history = json_object_get(one, "history");
    char key[UUID_TEXT];
    view_return(one, peers);
    customers_view_request(reader, json_object_get(one, "request"));
    view_shorten(one, history);
    view_history(history, runtime_core(rt)->settings, peers);
    timeline_view(json_object_get(one, "timeline"));
    json_add(
        one, "{s:o, s:o}", "heading", json_sprintf("Return %s", id), "api_url",
        json_sprintf("/api%s", json_string_value(url)));
    past_view(one, json_string_value(url), b);
    if (json_array_size(json_object_get(one, "commands"))) /* one command of however many presses */
        json_object_set_new(one, "key", json_string(uuid_text(uuid_make(), key)));
}

/* A schema's version is asked for by the way, and null until it is known. A live page shows it then. */
static json_t *history_read(struct runtime *rt, struct connection *reader, const char *id, const struct bound *b) {
    json_t *history = returns_history(reader, id, b);
    json_each(i, event, history) {
        const json_t *schema = json_object_get(event, "schema_id");
        int version = json_is_integer(schema)
                          ? registry_version(runtime_core(rt)->registry, (int32_t)json_integer_value(schema))
                          : 0;
        json_object_set_new(event, "schema_version", version ? json_integer(version) : json_null());
    }
    return history;
}

static void return_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(runtime_core(rt)->store);
    const char *id = exchange_parameter(x, "id");
    struct bound b;
    if (!past_asked(x, &b)) return;
    json_auto_t *history = history_read(rt, reader, id, &b), *one = returns_one(reader, id, &b);
    if (!page_reader_ok(x, reader) || !past_there(x, id, one, &b)) return;
    x->data = json_incref(one);
    json_object_set_new(one, "timeline", timeline_read(one, history, &b));
    if (past_is_now(&b)) {
        json_object_set_new(one, "commands", command_legal(json_get_text(one, "status")));
        if (x->api) page_etag(x, json_get_int(one, "version")); /* the page is another for each moment */
    }
    if (x->api) return;
    json_object_set(one, "history", history);
    return_view(rt, reader, &b, one);
}

/* A team's event may be here before the return itself is. But nothing is known of the past of such a one. */
static void events_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(runtime_core(rt)->store);
    const char *id = exchange_parameter(x, "id");
    struct bound b;
    if (!past_asked(x, &b)) return;
    json_auto_t *events = history_read(rt, reader, id, &b), *one = returns_one(reader, id, &b);
    bool early = !one && json_array_size(events) && past_is_now(&b);
    if (page_reader_ok(x, reader) && (early || past_there(x, id, one, &b)))
        x->data = json_pack("{s:s, s:O}", "return_id", id, "events", events);
}

static const struct resource resources[] = {
    {.path = "/", .api_path = "/api/board", .page = "board.html", .get = board_get, .nav = "Board"},
    {.path = "/returns/new",
     .api_path = "",
     .page = "form.html",
     .get = form_get,
     .query = "example q customer order item before",
     .nav = "Submit a return"},
    {.path = "/returns",
     .page = "returns.html",
     .get = returns_get,
     .post = submit_post,
     .query = "limit before as_of",
     .nav = "Returns",
     .long_read = "as_of"},
    {.api_path = "/api/returns/traditional", .post = traditional_post},
    {.path = "/compare", .page = "compare.html", .get = compare_get, .post = compare_post, .nav = "Compare"},
    {.path = "/reconciliation",
     .page = "reconciliation.html",
     .get = reconcile_get,
     .post = reconcile_post,
     .nav = "Reconciliation"},
    {.path = "/returns/{id}", .page = "return.html", .get = return_get, .query = "as_of version", .long_read = "as_of"},
    {.api_path = "/api/returns/{id}/events", .get = events_get, .query = "as_of version"},
    {.path = "/returns/{id}/cancel", .api_path = "", .get = command_get, .post = command_cancel},
    {.path = "/returns/{id}/close", .api_path = "", .get = command_get, .post = command_close},
    {.api_path = "/api/returns/{id}/cancel", .post = command_cancel},
    {.api_path = "/api/returns/{id}/close", .post = command_close},
    {.path = "/customers",
     .page = "customers.html",
     .get = customers_get,
     .query = "q after limit",
     .nav = "Customers"},
    {.path = "/customers/{id}",
     .page = "customer.html",
     .get = customer_get,
     .query = "before limit",
     .long_read = "limit"},
    {.path = "/orders/{id}", .page = "order.html", .get = order_get},
    {.path = "/simulate", .get = simulate_get, .post = simulate_post},
    {0}};

static void support_stop(struct runtime *rt) {
    compare_stop(rt);
    simulate_stop(rt);
    reconcile_stop(rt);
}

const struct service service = {
    .title = "Support",
    .duty = "Takes in returns, and tells every team at once.",
    .subscribes = "*",
    .fetch_wait_ms = 100,
    .handlers = fold_handlers,
    .decided = fold_decided,
    .snapshots = &snapshot_returns,
    .kept = "return_private submission snapshot_due passed letter traditional_return traditional_step",
    .resources = resources,
    .calls_others = true,
    .watch_subscribers = true,
    .stop = support_stop,
    .put_aside = fold_put_aside,
    .publishes = fold_publishes,
    .subscriber_passed = fold_passed,
};
