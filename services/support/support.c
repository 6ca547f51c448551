/* support takes in returns, tells everybody by one event, and shows what each team made of it. */
#include "compare.h"
#include "returns.h"
#include "simulate.h"
#include "submit.h"
#include "traditional.h"
#include "view.h"

#include "chassis/page.h"

#include <stdlib.h>
#include <string.h>

enum { LATEST = 10, LIMIT = 50, LIMIT_MAX = 1000 };

static void form_get(struct exchange *x) {
    json_t *typed = exchange_query(x, "example") ? view_example() : NULL;
    x->data = view_form(typed, NULL);
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

static void return_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->store);
    const char *id = exchange_parameter(x, "id");
    x->data = returns_one(reader, id);
    if (!page_reader_ok(x, reader)) return;
    if (!x->data) {
        exchange_problem(x, 404, "There is no return \"%.60s\".", id);
    } else if (!x->api) {
        json_t *history = returns_history(reader, id), *urls = returns_urls(reader);
        view_return(x->data, urls);
        json_decref(urls);
        view_history(history);
        json_object_set_new(x->data, "history", history);
        json_object_set_new(x->data, "heading", json_sprintf("Return %s", id));
    }
}

/* A team's event may be here before the return itself is. */
static void events_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->store);
    const char *id = exchange_parameter(x, "id");
    json_t *events = returns_history(reader, id), *known = json_array_size(events) ? NULL : returns_one(reader, id);
    bool ok = page_reader_ok(x, reader);
    if (ok && (json_array_size(events) || known))
        x->data = json_pack("{s:s, s:O}", "return_id", id, "events", events);
    else if (ok)
        exchange_problem(x, 404, "There is no return \"%.60s\".", id);
    json_decref(events);
    json_decref(known);
}

static void board_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->store);
    char topic[400];
    settings_scoped(rt->settings, "support.events", topic, sizeof topic);
    x->data = returns_page(reader, NULL, LATEST);
    json_t *subscribers = returns_subscribers(reader, topic);
    view_subscribers(subscribers);
    view_returns(x->data, LATEST);
    json_object_set_new(x->data, "subscribers", subscribers);
    json_object_set_new(x->data, "heading", json_string("Who reacts to a return"));
    json_object_set_new(x->data, "simulate", simulate_view(x));
    (void)page_reader_ok(x, reader);
}

static const struct resource resources[] = {
    {.path = "/", .api_path = "", .page = "board.html", .get = board_get, .nav = "Board"},
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
    .handlers = returns_handlers,
    .resources = resources,
    .calls_others = true,
    .watch_subscribers = true,
    .stop = support_stop,
};
