#include "statistics.h"

#include "figures.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
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

/* The same question at another path: "/api/statistics?model=…". */
static json_t *question_url(struct exchange *x, const char *path) {
    struct buffer url = BUFFER(16384);
    char separator = '?';
    buffer_text(&url, path);
    for (int i = 0; i < DIMENSIONS + 3; i++) {
        const char *name = i < DIMENSIONS ? dimension_names[i] : moments[i - DIMENSIONS];
        const char *value = page_query(x, name);
        if (!value) continue;
        buffer_format(&url, "%c%s=", separator, name);
        buffer_percent(&url, value);
        separator = '&';
    }
    json_t *text = json_string(url.data ? url.data : path);
    buffer_free(&url);
    return text;
}

/* --- As a page */

/* One select for each dimension: {"name","label","options":[{"text","selected"}]}. */
static json_t *filters_page(struct exchange *x, bool *filtered) {
    static const char *const labels[DIMENSIONS] = {"Model", "Reason", "Channel", "Location", "Currency"};
    json_t *filters = json_array(), *word;
    size_t i;
    for (int d = 0; d < DIMENSIONS; d++) {
        const char *asked = page_query(x, dimension_names[d]);
        json_t *words = figures_words((enum dimension)d), *options = json_array();
        bool found = false;
        json_array_foreach(words, i, word) {
            bool selected = asked && !strcmp(asked, json_string_value(word));
            found |= selected;
            if (selected || i < 100) /* a page that offers more is none that can be loaded */
                json_array_append_new(options, json_pack("{s:O, s:b}", "text", word, "selected", selected));
        }
        if (asked && !found) json_array_append_new(options, json_pack("{s:s, s:b}", "text", asked, "selected", 1));
        json_array_append_new(
            filters, json_pack("{s:s, s:s, s:o}", "name", dimension_names[d], "label", labels[d], "options", options));
        *filtered |= asked != NULL;
        json_decref(words);
    }
    return filters;
}

/* Adds "bar", how long each one's is. */
static void bars_add(json_t *rows, const char *member) {
    json_t *row;
    size_t i;
    double most = chart_most(rows, member);
    json_array_foreach(rows, i, row) {
        double part = most > 0 ? (double)json_get_int(row, member) / most : 0;
        json_object_set_new(row, "bar", json_integer((json_int_t)(part * BAR + 0.5)));
    }
}

/* The first few rows of a table for people, and how many more there are. */
static json_t *table_page(const char *id, const char *title, const char *heading, const json_t *rows) {
    json_t *some = json_array(), *row;
    size_t i;
    json_array_foreach((json_t *)rows, i, row) if (i < ROWS_ON_PAGE) json_array_append_new(some, json_copy(row));
    bars_add(some, "returns");
    size_t n = json_array_size(rows);
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o}", "id", id, "title", title, "heading", heading, "rows", some, "more",
        json_integer(n > ROWS_ON_PAGE ? (json_int_t)(n - ROWS_ON_PAGE) : 0));
}

static json_t *tables_page(const json_t *data) {
    static const char *const titles[DIMENSIONS] = {
        "By model", "By reason", "By channel", "By location of the device", ""};
    static const char *const headings[DIMENSIONS] = {"Model", "Reason", "Channel", "Location", ""};
    const json_t *by = json_object_get(data, "by");
    json_t *tables = json_array();
    for (int d = 0; d < CURRENCY; d++)
        json_array_append_new(
            tables, table_page(dimension_names[d], titles[d], headings[d], json_object_get(by, dimension_names[d])));
    return tables;
}

/* "took": in words, and the bar of the half. */
static void teams_decorate(json_t *teams) {
    static const char *const times[][2] = {{"p50_ms", "p50"}, {"p90_ms", "p90"}, {"p99_ms", "p99"}, {"max_ms", "most"}};
    json_t *team;
    size_t i;
    bars_add(teams, "p50_ms");
    json_array_foreach(teams, i, team) for (size_t t = 0; t < 4; t++) {
        char text[DURATION_TEXT];
        const json_t *ms = json_object_get(team, times[t][0]);
        json_object_set_new(
            team, times[t][1], json_string(json_is_null(ms) ? "–" : duration_text(json_integer_value(ms), text)));
    }
}

static void charts_decorate(json_t *data) {
    json_t *hours = json_object_get(data, "hours"), *time = json_object_get(data, "over_time"), *one;
    json_t *samples = json_object_get(time, "samples");
    double most = chart_most(hours, "returns"), most_then = chart_most(samples, "returns");
    char step[DURATION_TEXT];
    size_t i;
    json_object_set_new(data, "hours_path", chart_path(hours, "returns", most));
    json_object_set_new(data, "hours_most", json_integer((json_int_t)most));
    json_object_set_new(time, "path", chart_path(samples, "returns", most_then));
    json_object_set_new(time, "most", json_integer((json_int_t)most_then));
    json_object_set_new(time, "step", json_string(duration_text(json_get_int(time, "step_ms"), step)));
    json_array_foreach(samples, i, one) page_add_moment(one, "from", "text");
    for (i = json_array_size(samples); i-- > 0;) /* the table tells only of when there were some */
        if (!json_get_int(json_array_get(samples, i), "returns")) json_array_remove(samples, i);
}

static void form_decorate(struct exchange *x, const struct question *q) {
    bool filtered = page_query(x, "since") || page_query(x, "until");
    const int64_t asked[] = {q->since, q->until, q->as_of};
    char local[MOMENT_LOCAL];
    json_t *form = json_object();
    json_object_set_new(x->data, "filters", filters_page(x, &filtered));
    for (int m = 0; m < 3; m++) {
        bool good = asked[m] != INT64_MIN && asked[m] != INT64_MAX;
        json_object_set_new(form, moments[m], json_string(good ? moment_local(asked[m], local) : ""));
    }
    json_object_set_new(x->data, "form", form);
    json_object_set_new(x->data, "open", json_boolean(filtered || page_query(x, "as_of")));
    json_object_set_new(x->data, "heading", json_string("Statistics"));
    json_object_set_new(x->data, "url", question_url(x, "/statistics"));
    json_object_set_new(x->data, "api_url", question_url(x, "/api/statistics"));
    json_object_set_new(x->data, "csv_url", question_url(x, "/api/statistics.csv"));
}

static void statistics_decorate(struct exchange *x, const struct question *q) {
    json_object_set_new(x->data, "tables", tables_page(x->data));
    json_object_set_new(
        x->data, "cost_table",
        table_page("costs", "Costs by model", "Model", json_object_get(x->data, "costs_by_model")));
    teams_decorate(json_object_get(x->data, "teams"));
    charts_decorate(x->data);
    form_decorate(x, q);
    if (q->as_of != INT64_MAX) page_add_moment(x->data, "as_of", "as_of_text");
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
    const char *figure;
    json_t *value;
    json_object_foreach((json_t *)row, figure, value) {
        bool amount = !strcmp(figure, "amount");
        if (!json_is_integer(value) && !amount) continue;
        buffer_format(out, "%s,", table);
        buffer_csv(out, name, strlen(name));
        buffer_format(out, ",%s,%s,", currency, figure);
        if (amount)
            buffer_format(out, "%s\r\n", json_string_value(value));
        else
            buffer_format(out, "%lld\r\n", (long long)json_integer_value(value));
    }
}

static void lines_add(struct buffer *out, const char *table, const char *name, const json_t *rows) {
    json_t *row;
    size_t i;
    json_array_foreach((json_t *)rows, i, row) {
        char hour[24];
        snprintf(hour, sizeof hour, "%lld", json_get_int(row, "hour"));
        const char *text = json_object_get(row, "hour") ? hour : json_get_text(row, name);
        json_t *rest = json_copy(row);
        json_object_del(rest, "hour");
        line_add(out, table, text, json_get_text(row, "currency"), rest);
        json_decref(rest);
    }
}

static void csv_get(struct exchange *x) {
    struct question q;
    if (!question_read(x, &q)) {
        exchange_problem(x, 400, "The filter cannot be used.");
        return;
    }
    json_t *data = answer(&q), *rows;
    struct buffer out = BUFFER(TEXT_BYTES);
    const char *name;
    buffer_text(&out, "table,name,currency,figure,value\r\n");
    line_add(&out, "all", "", "", data);
    json_object_foreach(json_object_get(data, "by"), name, rows) lines_add(&out, name, "name", rows);
    lines_add(&out, "hour", "", json_object_get(data, "hours"));
    lines_add(&out, "time", "from", json_object_get(json_object_get(data, "over_time"), "samples"));
    lines_add(&out, "cost", "", json_object_get(data, "costs"));
    lines_add(&out, "cost by model", "model", json_object_get(data, "costs_by_model"));
    lines_add(&out, "team", "team", json_object_get(data, "teams"));
    exchange_set_header(x, "Content-Disposition", "attachment; filename=\"statistics.csv\"");
    exchange_send(x, 200, "text/csv; charset=utf-8", out.data, out.length);
    buffer_free(&out);
    json_decref(data);
}

#define QUESTION "model reason channel location currency since until as_of"

const struct resource statistics_resources[] = {
    {.path = "/statistics", .page = "statistics.html", .get = statistics_get, .query = QUESTION, .nav = "Statistics"},
    {.api_path = "/api/statistics.csv", .get = csv_get, .query = QUESTION, .long_read = ""},
    {0}};
