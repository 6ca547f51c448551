#include "chassis/status.h"

#include "chassis/dead_letter.h"
#include "chassis/health.h"
#include "chassis/log_accept.h"
#include "chassis/page.h"

#include <stdio.h>
#include <string.h>

enum { VIEW_ROWS = 50 };

static const char *duration_text(int64_t ms, char out[32]) {
    if (ms < 10000)
        snprintf(out, 32, "%.1f s", (double)ms / 1000);
    else if (ms < 120000)
        snprintf(out, 32, "%lld s", (long long)ms / 1000);
    else if (ms < 7200000)
        snprintf(out, 32, "%lld min", (long long)ms / 60000);
    else
        snprintf(out, 32, "%lld h", (long long)ms / 3600000);
    return out;
}

/* --- /api/status */

static json_t *outcomes_json(struct connection *reader) {
    json_t *outcomes = json_object();
    for (struct rows r = store_rows(reader, "SELECT outcome, n FROM tally ORDER BY outcome"); rows_next(&r);)
        json_object_set_new(outcomes, rows_text(&r, 0), json_integer(rows_int(&r, 1)));
    return outcomes;
}

static json_t *outbox_json(struct connection *reader) {
    json_int_t depth = 0, oldest = 0;
    for (struct rows r = store_rows(reader, "SELECT COUNT(*), MIN(occurred_at) FROM outbox WHERE sent_at IS NULL");
         rows_next(&r);) {
        depth = rows_int(&r, 0);
        oldest = depth ? clock_ms() - rows_int(&r, 1) : 0;
    }
    return json_pack("{s:I, s:I}", "depth", depth, "oldest_ms", oldest < 0 ? (json_int_t)0 : oldest);
}

/* The names come from the statement, so that an empty table has its headings too. */
static json_t *view_json(struct connection *reader, const struct view *view) {
    char sql[4096];
    json_t *columns = json_array(), *lines = json_array(), *row, *cell;
    const char *name;
    size_t i;
    struct rows r = store_rows_values(reader, view->sql, NULL, 0);
    for (int c = 0; r.statement && c < rows_columns(&r); c++)
        json_array_append_new(columns, json_string(rows_name(&r, c)));
    rows_close(&r);
    snprintf(sql, sizeof sql, "SELECT * FROM (%s) AS v LIMIT %d", view->sql, VIEW_ROWS);
    json_t *rows = store_json_values(reader, sql, NULL, 0);
    json_array_foreach(rows, i, row) {
        json_t *line = json_array();
        json_object_foreach(row, name, cell) json_array_append(line, cell);
        json_array_append_new(lines, line);
    }
    json_decref(rows);
    return json_pack("{s:s, s:o, s:o}", "title", view->title, "columns", columns, "rows", lines);
}

static json_t *views_json(struct connection *reader, const struct view *views) {
    json_t *all = json_array();
    for (const struct view *v = views; v && v->title; v++) json_array_append_new(all, view_json(reader, v));
    return all;
}

static void status_decorate_components(json_t *data) {
    json_t *components = json_object_get(data, "components"), *failed = json_array(), *component;
    size_t i;
    json_array_foreach(components, i, component) {
        page_add_moment(component, "since", "since_text");
        page_add_tone(component, "state");
        const char *state = json_string_value(json_object_get(component, "state"));
        if (state && !strcmp(state, "failed")) json_array_append(failed, component);
    }
    json_object_set_new(data, "is_waiting", json_boolean(json_array_size(json_object_get(data, "waiting_for"))));
    json_object_set_new(data, "has_failed", json_boolean(json_array_size(failed)));
    json_object_set_new(data, "failed", failed);
}

/* The lag of all partitions, and a dash where Kafka has not told an end yet. */
static void status_decorate_partitions(json_t *data) {
    json_t *partition;
    json_int_t lag = 0;
    bool known = true;
    size_t i;
    json_array_foreach(json_object_get(data, "partitions"), i, partition) {
        lag += json_integer_value(json_object_get(partition, "lag"));
        if (json_is_integer(json_object_get(partition, "lag"))) continue;
        known = false;
        json_object_set_new(partition, "lag", json_string("–"));
        json_object_set_new(partition, "end", json_string("–"));
    }
    json_object_set_new(data, "lag", known && i ? json_integer(lag) : json_string("–"));
}

static void status_decorate_page(json_t *data) {
    json_t *cards = json_array(), *view, *n;
    const char *outcome;
    char age[32];
    int64_t oldest = json_integer_value(json_object_get(data, "oldest_unhandled_ms"));
    size_t i;
    status_decorate_components(data);
    status_decorate_partitions(data);
    json_object_foreach(json_object_get(data, "outcomes"), outcome, n) if (strcmp(outcome, "quarantined") != 0)
        json_array_append_new(cards, json_pack("{s:s, s:O}", "outcome", outcome, "n", n));
    json_array_foreach(json_object_get(data, "views"), i, view) {
        json_object_set_new(view, "number", json_integer((json_int_t)i + 1));
        json_object_set_new(view, "width", json_integer((json_int_t)json_array_size(json_object_get(view, "columns"))));
    }
    json_object_set_new(data, "outcome_cards", cards);
    json_object_set_new(data, "heading", json_string("Status"));
    json_object_set_new(data, "api_url", json_string("/api/status"));
    json_object_set_new(data, "oldest_text", json_string(oldest ? duration_text(oldest, age) : "none"));
    page_add_moment(data, "started_at", "started_text");
    page_add_tone(data, "state");
}

static void status_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->store);
    char started[TIME_TEXT];
    int64_t oldest = 0;
    json_t *health = health_json(rt->health), *partitions = page_partitions(rt, &oldest);
    (void)store_run(reader, "BEGIN"); /* all numbers from one moment */
    x->data = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:o}", "service", rt->settings->service, "title", rt->service->title,
        "duty", rt->service->duty, "started_at", time_text(rt->started_at, started), "partitions", partitions,
        "outcomes", outcomes_json(reader), "outbox", outbox_json(reader), "oldest_unhandled_ms", (json_int_t)oldest,
        "views", views_json(reader, rt->service->views));
    json_object_set_new(
        x->data, "dead_letters",
        json_integer(store_int(reader, 0, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'")));
    (void)store_run(reader, "COMMIT");
    json_object_update(x->data, health);
    json_decref(health);
    if (page_reader_ok(x, reader) && !x->api) status_decorate_page(x->data);
}

/* --- The pages that every service has */

/* /status is for a service that has a start page of its own. */
const struct resource status_resources[] = {
    {.path = "/", .api_path = "/api/status", .page = "status.html", .get = status_get, .nav = "Status"},
    {.path = "/status", .api_path = "", .page = "status.html", .get = status_get, .nav = "Status"},
    {.path = "/audit", .page = "audit.html", .get = audit_get, .nav = "Audit log"},
    {.path = "/dead-letters", .page = "dead_letters.html", .get = dead_letters_get, .nav = "Dead letters"},
    {.api_path = "/api/dead-letters/{id}", .get = dead_letter_get},
    {.path = "/dead-letters/{id}/redrive", .post = dead_letter_redrive_post},
    {.api_path = "/api/log/accept", .post = log_accept_post},
    {.path = "/audit/verify", .page = "verify.html", .get = audit_verify_get},
    {.api_path = "/api/audit.jsonl", .get = audit_jsonl_get},
    {.api_path = "/api/audit.csv", .get = audit_csv_get},
    {.path = "/livez", .api_path = "", .get = probe_livez_get},
    {.path = "/readyz", .api_path = "", .get = probe_readyz_get},
    {.path = "/metrics", .api_path = "", .get = probe_metrics_get},
    {.path = "/assets/{name}", .api_path = "", .get = page_asset_get},
    {.api_path = "/api/stream", .get = hub_get},
    {0}};
