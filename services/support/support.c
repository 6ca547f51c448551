/* support takes in returns, tells everybody by one event, and shows what each team made of it. */
#include "board.h"
#include "compare.h"
#include "examples.h"
#include "fold.h"
#include "returns.h"
#include "simulate.h"
#include "snapshot.h"
#include "submit.h"
#include "timeline.h"
#include "traditional.h"
#include "view.h"

#include "chassis/page.h"
#include "chassis/peers.h"
#include "chassis/registry.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT = 50, LIMIT_MAX = 1000 };

static void form_get(struct exchange *x) {
    const char *example = exchange_query(x, "example");
    int number = example && strlen(example) == 1 ? atoi(example) : 0;
    if (example && (number < 1 || number > examples_n)) {
        exchange_problem(x, 404, "There is no example \"%.60s\": they are numbered from 1 to %d.", example, examples_n);
        return;
    }
    json_t *typed = number ? example_body(number) : NULL;
    x->data = view_form(typed, NULL, "");
    json_decref(typed);
}

/* 0: refused. */
static int limit_of(struct exchange *x) {
    const char *text = exchange_query(x, "limit");
    if (!text || !*text) return LIMIT;
    int n = strlen(text) <= 4 && !text[strspn(text, "0123456789")] ? atoi(text) : 0;
    if (n >= 1 && n <= LIMIT_MAX) return n;
    exchange_problem(x, 400, "limit \"%.60s\" is not a whole number from 1 to %d.", text, LIMIT_MAX);
    return 0;
}

static void returns_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->store);
    const char *before = exchange_query(x, "before");
    int limit = limit_of(x);
    if (!limit) return;
    x->data = returns_page(reader, before, limit);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data) {
        exchange_problem(x, 400, "before \"%.60s\" is not the id of a return.", before);
    } else if (!x->api) {
        view_returns(x->data, limit);
        json_object_set_new(x->data, "heading", json_string("Returns"));
        json_object_set_new(x->data, "api_url", json_string("/api/returns"));
    }
}

static void return_view(struct runtime *rt, struct connection *reader, const char *id, json_t *one, json_t *history) {
    json_t *urls = returns_urls(reader), *peers = peers_json(rt->peers);
    view_return(one, urls);
    view_next(one, json_object_get(peers, "peers"));
    view_history(history, rt->settings, id, urls);
    timeline_view(json_object_get(one, "timeline"));
    json_object_set(one, "history", history);
    json_object_set_new(one, "heading", json_sprintf("Return %s", id));
    json_decref(peers);
    json_decref(urls);
}

/* A schema's version is asked for by the way, and null until it is known; a live page shows it then. */
static json_t *history_read(struct runtime *rt, struct connection *reader, const char *id) {
    json_t *history = returns_history(reader, id), *event;
    size_t i;
    json_array_foreach(history, i, event) {
        const json_t *schema = json_object_get(event, "schema_id");
        int version = json_is_integer(schema) ? registry_version(rt->registry, (int32_t)json_integer_value(schema)) : 0;
        json_object_set_new(event, "schema_version", version ? json_integer(version) : json_null());
    }
    return history;
}

static void return_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->store);
    const char *id = exchange_parameter(x, "id");
    json_t *history = history_read(rt, reader, id);
    x->data = returns_one(reader, id);
    if (x->data) json_object_set_new(x->data, "timeline", timeline_read(x->data, history));
    if (page_reader_ok(x, reader)) {
        if (!x->data)
            exchange_problem(x, 404, "There is no return \"%.60s\".", id);
        else if (!x->api)
            return_view(rt, reader, id, x->data, history);
    }
    json_decref(history);
}

/* A team's event may be here before the return itself is. */
static void events_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->store);
    const char *id = exchange_parameter(x, "id");
    json_t *events = history_read(rt, reader, id), *known = json_array_size(events) ? NULL : returns_one(reader, id);
    bool ok = page_reader_ok(x, reader);
    if (ok && (json_array_size(events) || known))
        x->data = json_pack("{s:s, s:O}", "return_id", id, "events", events);
    else if (ok)
        exchange_problem(x, 404, "There is no return \"%.60s\".", id);
    json_decref(events);
    json_decref(known);
}

static const struct resource resources[] = {
    {.path = "/", .api_path = "/api/board", .page = "board.html", .get = board_get, .nav = "Board"},
    {.path = "/returns/new", .api_path = "", .page = "form.html", .get = form_get, .nav = "Submit a return"},
    {.path = "/returns", .page = "returns.html", .get = returns_get, .post = submit_post, .nav = "Returns"},
    {.api_path = "/api/returns/traditional", .post = traditional_post},
    {.path = "/compare", .page = "compare.html", .get = compare_get, .post = compare_post, .nav = "Compare"},
    {.path = "/returns/{id}", .page = "return.html", .get = return_get},
    {.api_path = "/api/returns/{id}/events", .get = events_get},
    {.path = "/simulate", .get = simulate_get, .post = simulate_post},
    {0}};

static void support_stop(struct runtime *rt) {
    compare_stop(rt);
    simulate_stop(rt);
}

const struct service service = {
    .title = "Support",
    .duty = "Takes in returns, and tells every team at once.",
    .subscribes = "*",
    .handlers = fold_handlers,
    .decided = fold_decided,
    .snapshots = &snapshot_returns,
    .kept = "return_private submission snapshot_due passed traditional_return traditional_step",
    .resources = resources,
    .peers = "SELECT team, url FROM team",
    .calls_others = true,
    .watch_subscribers = true,
    .stop = support_stop,
    .subscriber_passed = fold_passed,
};
