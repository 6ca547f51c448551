#include "chassis/pages/views.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/moment.h"
#include "chassis/base/money.h"
#include "chassis/pages/page.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 50, PLACES_MAX = 32, SQL_MAX = 65536 };

/* --- Data */

static bool is_among(const char *name, const char *names) {
    size_t n = strlen(name);
    for (const char *p = names; p && n && (p = strstr(p, name)); p += n)
        if ((p == names || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static json_t *cell_json(const struct view *view, const char *name, json_t *cell) {
    char text[32], moment[TIME_TEXT];
    if (json_is_integer(cell) && is_among(name, view->money))
        return json_string(money_text(json_integer_value(cell), text));
    if (json_is_integer(cell) && is_among(name, view->moments))
        return json_string(time_text(json_integer_value(cell), moment));
    return json_incref(cell);
}

/* Each ? in the query is the moment. */
static size_t places_fill(const char *sql, const int64_t *as_of, struct value values[PLACES_MAX + 1]) {
    size_t n = 0;
    for (const char *p = sql; as_of && (p = strchr(p, '?')) && n < PLACES_MAX; p++) values[++n] = value_int(*as_of);
    return n;
}

/* The names come from the statement, so that an empty table has its headings too. */
static void view_read(
    struct connection *reader, const struct view *view, const char *sql, const int64_t *as_of, json_t *columns,
    json_t *lines) {
    struct value values[PLACES_MAX + 1];
    struct buffer some = BUFFER(SQL_MAX);
    size_t i, n = places_fill(sql, as_of, values);
    const char *name;
    json_t *row, *cell;
    struct rows r = store_rows_values(reader, sql, values, n);
    for (int c = 0; r.statement && c < rows_columns(&r); c++)
        json_array_append_new(columns, json_string(rows_name(&r, c)));
    rows_close(&r);
    buffer_format(&some, "SELECT * FROM (%s) AS v LIMIT %d", sql, ROWS_MAX);
    json_t *rows = store_json_values(reader, some.data ? some.data : "", values, n);
    json_array_foreach(rows, i, row) {
        json_t *line = json_array();
        json_object_foreach(row, name, cell) json_array_append_new(line, cell_json(view, name, cell));
        json_array_append_new(lines, line);
    }
    json_decref(rows);
    buffer_free(&some);
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

/* --- When something changed, by the audit log */

static const char *const changing[] = {"handled", "declined", "accepted"}; /* outcomes; of others nothing came */

/* 0: there was none. */
static int64_t changed_before(struct connection *reader, int64_t moment) {
    int64_t latest = 0;
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++) {
        int64_t at = audit_moment_before(reader, changing[i], moment);
        if (at > latest) latest = at;
    }
    return latest;
}

static int64_t changed_after(struct connection *reader, int64_t moment) {
    int64_t earliest = 0;
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++) {
        int64_t at = audit_moment_after(reader, changing[i], moment);
        if (at && (!earliest || at < earliest)) earliest = at;
    }
    return earliest;
}

/* --- The page */

static json_t *cell_page(const json_t *cell, const json_t *column) {
    const char *text = json_string_value(cell);
    char digit = text ? text[strspn(text, "-0123456789")] : '\0';
    bool moment = text && strlen(text) == TIME_TEXT - 1 && text[10] == 'T' && text[TIME_TEXT - 2] == 'Z';
    bool number = json_is_integer(cell) || (text && digit == '.' && !text[strspn(text, "-.0123456789")]);
    json_t *page = json_pack("{s:b, s:O, s:O}", "is_number", number, "text", cell, "label", column);
    if (moment) page_add_moment(page, "text", "text");
    return page;
}

/* A heading stands over its column as the cells below it do. */
static json_t *heads_page(const json_t *columns, const json_t *first) {
    json_t *heads = json_array(), *column;
    size_t i;
    json_array_foreach((json_t *)columns, i, column) {
        bool is_number = json_is_true(json_object_get(json_array_get(first, i), "is_number"));
        json_array_append_new(heads, json_pack("{s:O, s:b}", "text", column, "is_number", is_number));
    }
    return heads;
}

void views_decorate(json_t *data) {
    json_t *view, *line, *views = json_object_get(data, "views");
    size_t i, k, m;
    json_array_foreach(views, i, view) {
        json_t *rows = json_array(), *columns = json_object_get(view, "columns");
        json_array_foreach(json_object_get(view, "rows"), k, line) {
            json_t *cells = json_array(), *cell;
            json_array_foreach(line, m, cell) json_array_append_new(cells, cell_page(cell, json_array_get(columns, m)));
            json_array_append_new(rows, cells);
        }
        json_object_set_new(view, "heads", heads_page(columns, json_array_get(rows, 0)));
        json_object_set_new(view, "number", json_integer((json_int_t)i + 1));
        json_object_set_new(view, "width", json_integer((json_int_t)json_array_size(columns)));
        json_object_set_new(view, "lines", rows);
    }
    json_object_set_new(data, "has_views", json_boolean(json_array_size(views)));
}

static json_t *moment_or_null(int64_t ms) {
    char text[TIME_TEXT];
    return ms ? json_string(time_text(ms, text)) : json_null();
}

static json_t *url_or_null(const json_t *data, const char *name) {
    const char *at = json_get_text(data, name);
    return *at ? json_sprintf("/state?as_of=%s", at) : json_null();
}

static void state_decorate(json_t *data, int64_t as_of) {
    char local[MOMENT_LOCAL] = "";
    bool now = as_of == INT64_MAX;
    views_decorate(data);
    page_add_moment(data, "as_of", "as_of_text");
    page_add_moment(data, "previous", "previous_text");
    page_add_moment(data, "next", "next_text");
    json_object_set_new(data, "heading", json_string("State"));
    json_object_set_new(
        data, "api_url", json_sprintf("/api/state%s%s", now ? "" : "?as_of=", json_get_text(data, "as_of")));
    json_object_set_new(
        data, "when", json_pack("{s:s, s:s}", "url", "/state", "value", now ? "" : moment_local(as_of, local)));
    json_object_set_new(data, "previous_url", url_or_null(data, "previous"));
    json_object_set_new(data, "next_url", url_or_null(data, "next"));
    if (!now)
        json_object_set_new(
            data, "past",
            json_pack(
                "{s:o, s:s}", "title", json_sprintf("As of %s", json_get_text(data, "as_of_text")), "now_url",
                "/state"));
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
        now ? json_null() : moment_or_null(as_of), "previous", moment_or_null(changed_before(reader, as_of)), "next",
        now ? json_null() : moment_or_null(changed_after(reader, as_of)), "views",
        views_json(reader, rt->core.service->views, now ? NULL : &as_of));
    (void)store_run(reader, "COMMIT");
    if (page_reader_ok(x, reader) && !x->api) state_decorate(x->data, as_of);
}
