#include "statistics.h"

#include "figures.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/moment.h"
#include "chassis/pages/chart.h"
#include "chassis/pages/page.h"

#include <stdio.h>
#include <string.h>

enum { ROWS_ON_PAGE = 12, TEXT_BYTES = 1 << 24, BAR = 1000 };

/* --- What is asked */

static const char *const moments[] = {"since", "until", "as_of"};

static bool moment_asked(struct exchange *x, const char *name, int64_t *ms) {
    const char *text = page_query(x, name);
    if (!text || moment_read(text, ms)) return true;
    exchange_problem_field(
        x, name, "\"%.60s\" is not a moment; write 2026-11-21T09:30:00Z, or 2026-11-21 for the end of that day (UTC)",
        text);
    return false;
}

/* A date alone is the whole day: its first moment where a period begins. */
static bool question_read(struct exchange *x, struct question *q) {
    *q = (struct question){.since = INT64_MIN, .until = INT64_MAX, .as_of = INT64_MAX};
    int64_t *into[] = {&q->since, &q->until, &q->as_of};
    bool good = true;
    for (int d = 0; d < DIMENSIONS; d++) q->words[d] = page_query(x, dimension_names[d]);
    for (int m = 0; m < 3; m++) good = moment_asked(x, moments[m], into[m]) && good;
    const char *since = page_query(x, "since");
    if (good && since && strlen(since) == strlen("2026-11-21")) q->since -= 86399999;
    return good;
}

/* The same question in an address: "?model=…". "" where nothing is asked. The caller's. */
static json_t *question_url(struct exchange *x) {
    buffer_auto url = BUFFER(16384);
    for (int i = 0; i < DIMENSIONS + 3; i++) {
        const char *name = i < DIMENSIONS ? dimension_names[i] : moments[i - DIMENSIONS];
        const char *value = page_query(x, name);
        if (!value) continue;
        buffer_format(&url, "%c%s=", url.length ? '&' : '?', name);
        buffer_percent(&url, value);
    }
    return json_string(url.data ? url.data : "");
}

/* --- As a page */

static const struct {
    const char *label, *title;
} people[DIMENSIONS] = {
    {"Model", "By model"},
    {"Reason", "By reason"},
    {"Channel", "By channel"},
    {"Location", "By location of the device"},
    {"Currency", NULL}};

/* One select for each dimension: {"name","label","options":[{"text","selected"}]}. */
static json_t *filters_page(struct exchange *x, bool *filtered) {
    json_t *filters = json_array();
    for (int d = 0; d < DIMENSIONS; d++) {
        const char *asked = page_query(x, dimension_names[d]);
        json_auto_t *words = figures_words((enum dimension)d);
        json_t *options = json_array();
        bool found = false;
        json_each(i, word, words) {
            bool selected = asked && !strcmp(asked, json_string_value(word));
            found |= selected;
            if (selected || i < 100) /* a page that offers more is none that can be loaded */
                json_array_append_new(options, json_pack("{s:O, s:b}", "text", word, "selected", selected));
        }
        if (asked && !found) json_array_append_new(options, json_pack("{s:s, s:b}", "text", asked, "selected", 1));
        json_array_append_new(
            filters,
            json_pack("{s:s, s:s, s:o}", "name", dimension_names[d], "label", people[d].label, "options", options));
        *filtered |= asked != NULL;
    }
    return filters;
}

/* Adds "bar", how long each one's is. */
static void bars_add(json_t *rows, const char *member) {
    double most = chart_most(rows, member);
    json_each(i, row, rows) {
        double part = most > 0 ? (double)json_get_int(row, member) / most : 0;
        json_object_set_new(row, "bar", json_integer((json_int_t)(part * BAR + 0.5)));
    }
}

/* The first few rows of a table for people, and how many more there are. */
static json_t *table_page(const char *id, const char *title, const char *heading, const json_t *rows) {
    json_t *some = json_array();
    size_t n = json_array_size(rows);
    json_each(i, row, rows)
        if (i < ROWS_ON_PAGE) json_array_append_new(some, json_copy(row));
    bars_add(some, "returns");
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:I}", "id", id, "title", title, "heading", heading, "rows", some, "more",
        (json_int_t)(n > ROWS_ON_PAGE ? n - ROWS_ON_PAGE : 0));
}

static json_t *tables_page(const json_t *data) {
    json_t *tables = json_array();
    for (int d = 0; d < CURRENCY; d++)
        json_array_append_new(
            tables, table_page(
                        dimension_names[d], people[d].title, people[d].label,
                        json_object_get(json_object_get(data, "by"), dimension_names[d])));
    return tables;
}

static json_t *form_page(const struct question *q) {
    const int64_t asked[] = {q->since, q->until, q->as_of};
    char local[3][MOMENT_LOCAL] = {"", "", ""};
    for (int m = 0; m < 3; m++)
        if (asked[m] != INT64_MIN && asked[m] != INT64_MAX) moment_local(asked[m], local[m]);
    return json_pack("{s:s, s:s, s:s}", moments[0], local[0], moments[1], local[1], moments[2], local[2]);
}

static void form_decorate(struct exchange *x, const struct question *q) {
    bool filtered = page_query(x, "since") || page_query(x, "until") || page_query(x, "as_of");
    json_t *filters = filters_page(x, &filtered), *asked = question_url(x);
    json_add(
        x->data, "{s:o, s:o, s:b, s:s, s:o, s:o}", "filters", filters, "form", form_page(q), "open", filtered,
        "heading", "Statistics", "asked", asked, "api_url",
        json_sprintf("/api/statistics%s", json_string_value(asked)));
}

static void statistics_decorate(struct exchange *x, const struct question *q) {
    json_t *hours = json_object_get(x->data, "hours"), *time = json_object_get(x->data, "over_time");
    const json_t *samples = json_object_get(time, "samples");
    double most = chart_most(hours, "returns"), most_then = chart_most(samples, "returns");
    bars_add(json_object_get(x->data, "teams"), "p50_ms");
    json_add(time, "{s:o, s:I}", "path", chart_path(samples, "returns", most_then), "most", (json_int_t)most_then);
    json_add(
        x->data, "{s:o, s:I, s:o, s:o}", "hours_path", chart_path(hours, "returns", most), "hours_most",
        (json_int_t)most, "tables", tables_page(x->data), "cost_table",
        table_page("costs", "Costs by model", "Model", json_object_get(x->data, "costs_by_model")));
    form_decorate(x, q);
}

/* What cannot be asked comes back with what is wrong with it. */
static void refuse(struct exchange *x, const struct question *q) {
    if (x->api || !x->page) {
        exchange_problem(x, 400, "The filter cannot be used.");
        return;
    }
    x->status = 400;
    x->data = json_pack("{s:b, s:O}", "has_errors", 1, "errors", exchange_problem_fields(x));
    form_decorate(x, q);
    json_object_set_new(x->data, "open", json_true());
}

static json_t *answer(const struct question *q) {
    char text[TIME_TEXT];
    json_t *all = figures_answer(q);
    json_object_set_new(all, "as_of", q->as_of == INT64_MAX ? json_null() : json_string(time_text(q->as_of, text)));
    return all;
}

static void statistics_get(struct exchange *x) {
    struct question q;
    if (!question_read(x, &q)) {
        refuse(x, &q);
        return;
    }
    x->data = answer(&q);
    if (!x->api) statistics_decorate(x, &q);
}

/* --- As CSV: table,name,currency,figure,value */

static void line_add(struct buffer *out, const char *table, const char *name, const char *currency, const json_t *row) {
    json_members(figure, (json_t *)row) {
        bool amount = !strcmp(figure.name, "amount");
        if ((!json_is_integer(figure.value) && !amount) || !strcmp(figure.name, "hour")) continue;
        buffer_format(out, "%s,", table);
        buffer_csv(out, name, strlen(name));
        buffer_format(out, ",%s,%s,", currency, figure.name);
        if (amount)
            buffer_format(out, "%s\r\n", json_string_value(figure.value));
        else
            buffer_format(out, "%lld\r\n", (long long)json_integer_value(figure.value));
    }
}

/* name: the member that names each row. */
static void lines_add(struct buffer *out, const char *table, const char *name, const json_t *rows) {
    json_each(i, row, rows) {
        const json_t *named = json_object_get(row, name);
        char number[24];
        line_add(
            out, table,
            json_is_integer(named) ? log_number(number, json_integer_value(named)) : json_get_text(row, name),
            json_get_text(row, "currency"), row);
    }
}

static void csv_get(struct exchange *x) {
    struct question q;
    if (!question_read(x, &q)) {
        exchange_problem(x, 400, "The filter cannot be used.");
        return;
    }
    json_auto_t *data = answer(&q);
    buffer_auto out = BUFFER(TEXT_BYTES);
    buffer_text(&out, "table,name,currency,figure,value\r\n");
    line_add(&out, "all", "", "", data);
    json_members(by, json_object_get(data, "by")) lines_add(&out, by.name, "name", by.value);
    lines_add(&out, "hour", "hour", json_object_get(data, "hours"));
    lines_add(&out, "time", "from", json_object_get(json_object_get(data, "over_time"), "samples"));
    lines_add(&out, "cost", "", json_object_get(data, "costs"));
    lines_add(&out, "cost by model", "model", json_object_get(data, "costs_by_model"));
    lines_add(&out, "team", "team", json_object_get(data, "teams"));
    exchange_set_header(x, "Content-Disposition", "attachment; filename=\"statistics.csv\"");
    exchange_send(x, 200, "text/csv; charset=utf-8", out.data, out.length);
}

#define QUESTION "model reason channel location currency since until as_of"

const struct resource statistics_resources[] = {
    {.path = "/statistics", .page = "statistics.html", .get = statistics_get, .query = QUESTION, .nav = "Statistics"},
    {.api_path = "/api/statistics.csv", .get = csv_get, .query = QUESTION, .long_read = ""},
    {0}};
