#include "chassis/pages/views.h"

#include "chassis/audit/audit.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/moment.h"
#include "chassis/base/money.h"
#include "chassis/pages/page.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 50, PLACES_MAX = 32, SQL_MAX = 65536 };

/* --- Data */

static json_t *cell_json(const struct view *view, const char *name, json_t *cell) {
    char text[32];
    if (json_is_integer(cell) && word_in(name, view->money))
        return json_string(money_text(json_integer_value(cell), text));
    bool moment = json_is_integer(cell) && word_in(name, view->moments);
    return moment ? time_json(json_integer_value(cell)) : json_incref(cell);
}

/* The names come from the statement, so that an empty table has its headings too. Each ? in it is the moment. */
static void view_read(
    struct connection *reader, const struct view *view, const char *sql, const int64_t *as_of, json_t *columns,
    json_t *lines) {
    struct value values[PLACES_MAX + 1];
    buffer_auto some = BUFFER(SQL_MAX);
    size_t n = 0;
    for (const char *p = sql; as_of && (p = strchr(p, '?')) && n < PLACES_MAX; p++) values[++n] = value_int(*as_of);
    struct rows r = store_rows_values(reader, sql, values, n);
    for (int c = 0; r.statement && c < rows_columns(&r); c++)
        json_array_append_new(columns, json_string(rows_name(&r, c)));
    rows_close(&r);
    buffer_format(&some, "SELECT * FROM (%s) AS v LIMIT %d", sql, ROWS_MAX);
    json_auto_t *rows = store_json_values(reader, some.data ? some.data : "", values, n);
    json_each(i, row, rows) {
        json_t *line = json_array();
        json_members(m, row) json_array_append_new(line, cell_json(view, m.name, m.value));
        json_array_append_new(lines, line);
    }
}

json_t *views_json(struct connection *reader, const struct view *views, const int64_t *as_of) {
    json_t *all = json_array();
    for (const struct view *v = views; v && v->title; v++) {
        const char *sql = as_of ? v->as_of : v->sql;
        json_t *columns = json_array(), *lines = json_array();
        if (sql) view_read(reader, v, sql, as_of, columns, lines);
        json_array_append_new(
            all,
            json_pack(
                "{s:s, s:b, s:o, s:o}", "title", v->title, "known", sql != NULL, "columns", columns, "rows", lines));
    }
    return all;
}

/* When something changed, by the audit log. null: nothing did. The latest before a moment, or the first after it. */
static json_t *changed_json(struct connection *reader, int64_t moment, bool after) {
    static const char *const changing[] = {"handled", "declined", "accepted"}; /* outcomes. Of others nothing came */
    int64_t next = 0;
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++) {
        int64_t at =
            after ? audit_moment_after(reader, changing[i], moment) : audit_moment_before(reader, changing[i], moment);
        if (at && (!next || (after ? at < next : at > next))) next = at;
    }
    return next ? time_json(next) : json_null();
}

/* --- The page */

static json_t *cell_page(const json_t *cell, const json_t *column) {
    const char *text = json_string_value(cell);
    char digit = text ? text[strspn(text, "-0123456789")] : '\0';
    bool moment = text && strlen(text) == TIME_TEXT - 1 && text[10] == 'T' && text[TIME_TEXT - 2] == 'Z';
    bool number = json_is_integer(cell) || (text && digit == '.' && !text[strspn(text, "-.0123456789")]);
    return json_pack("{s:b, s:b, s:O, s:O}", "is_number", number, "is_moment", moment, "text", cell, "label", column);
}

void views_decorate(json_t *data) {
    json_t *views = json_object_get(data, "views");
    json_each(i, view, views) {
        json_t *lines = json_array(), *heads = json_array(), *columns = json_object_get(view, "columns");
        json_each(k, line, json_object_get(view, "rows")) {
            json_t *cells = json_array();
            json_each(m, cell, line) json_array_append_new(cells, cell_page(cell, json_array_get(columns, m)));
            json_array_append_new(lines, cells);
        }
        /* A heading stands over its column as the cells below it do. */
        json_each(c, column, columns) {
            const json_t *below = json_array_get(json_array_get(lines, 0), c);
            bool is_number = json_is_true(json_object_get(below, "is_number"));
            json_array_append_new(heads, json_pack("{s:O, s:b}", "text", column, "is_number", is_number));
        }
        json_add(
            view, "{s:o, s:I, s:I, s:o}", "heads", heads, "number", (json_int_t)i + 1, "width",
            (json_int_t)json_array_size(columns), "lines", lines);
    }
    json_object_set_new(data, "has_views", json_boolean(json_array_size(views)));
}

static json_t *url_of(const json_t *data, const char *name) {
    const char *at = json_get_text(data, name);
    return *at ? json_sprintf("/state?as_of=%s", at) : NULL;
}

static void state_decorate(json_t *data, int64_t as_of) {
    char local[MOMENT_LOCAL] = "";
    bool now = as_of == INT64_MAX;
    const char *at = json_get_text(data, "as_of");
    views_decorate(data);
    json_add(
        data, "{s:s, s:o, s:{s:s, s:s}, s:o*, s:o*, s:o*}", "heading", "State", "api_url",
        json_sprintf("/api/state%s%s", now ? "" : "?as_of=", at), "when", "url", "/state", "value",
        now ? "" : moment_local(as_of, local), "previous_url", url_of(data, "previous"), "next_url",
        url_of(data, "next"), "past", now ? NULL : json_pack("{s:s, s:s}", "then", at, "now_url", "/state"));
}

void views_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->core.store);
    int64_t as_of = INT64_MAX;
    if (!page_moment(x, "as_of", &as_of)) return;
    bool now = as_of == INT64_MAX;
    (void)store_run(reader, "BEGIN");
    x->data = json_pack(
        "{s:s, s:o, s:o, s:o, s:o}", "service", rt->core.settings->service, "as_of",
        now ? json_null() : time_json(as_of), "previous", changed_json(reader, as_of, false), "next",
        now ? json_null() : changed_json(reader, as_of, true), "views",
        views_json(reader, rt->core.service->views, now ? NULL : &as_of));
    (void)store_run(reader, "COMMIT");
    if (page_reader_ok(x, reader) && !x->api) state_decorate(x->data, as_of);
}
