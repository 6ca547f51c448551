#include "chassis/audit/audit.h"
#include "chassis/audit/audit_check.h"
#include "chassis/audit/audit_line.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/pages/page.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_ROWS = 200, NEWS_MOST = 100, ROWS_USUALLY = 50, FILTER_MAX = 300 };

static const char *const outcomes[] = {"handled",     "declined", "duplicate", "skipped",
                                       "quarantined", "accepted", "refused"};
enum { FILTERS = 9, FILTERS_OF_ROWS = 6 }; /* the rest is about the page */
static const char *const filters[FILTERS] = {"return_id", "action", "outcome", "event_type", "since",
                                             "until",     "limit",  "before",  "seen"};

/* A filter that is left empty in the form is none. */
static const char *filter_text(struct exchange *x, const char *name) {
    const char *text = page_query(x, name);
    if (text && utf8_count(text) > FILTER_MAX)
        exchange_problem_field(x, name, "is longer than %d characters; make it shorter", FILTER_MAX);
    return text;
}

int64_t page_number(struct exchange *x, const char *name, int64_t otherwise, int64_t max) {
    const char *text = filter_text(x, name);
    if (!text) return otherwise;
    int64_t n = page_id(text);
    if (n < 1 || n > max)
        exchange_problem_field(x, name, "\"%.60s\" is not a whole number from 1 to %lld", text, (long long)max);
    return n;
}

/* 0: no filter. */
static int64_t filter_moment(struct exchange *x, const char *name) {
    const char *text = filter_text(x, name);
    char moment[TIME_TEXT + 16] = "";
    int64_t ms = 0;
    if (!text) return 0;
    if (strlen(text) < sizeof moment) snprintf(moment, sizeof moment, strlen(text) == 10 ? "%sT00:00:00Z" : "%s", text);
    if (!time_parse(moment, &ms))
        exchange_problem_field(
            x, name, "\"%.60s\" is not a moment; write 2026-11-21 or 2026-11-21T09:30:00Z (UTC)", text);
    return ms ? ms : -1;
}

static const char *filter_outcome(struct exchange *x) {
    const char *text = filter_text(x, "outcome");
    for (size_t i = 0; text && i < sizeof outcomes / sizeof *outcomes; i++)
        if (!strcmp(text, outcomes[i])) return text;
    if (text)
        exchange_problem_field(
            x, "outcome",
            "\"%.60s\" is not one of handled, declined, duplicate, skipped, quarantined, accepted, refused", text);
    return text;
}

/* The same filters elsewhere. before and seen: 0: without. */
static json_t *audit_url(struct exchange *x, const char *path, int64_t before, int64_t seen) {
    buffer_auto url = BUFFER(16384);
    char separator = '?';
    buffer_text(&url, path);
    for (size_t i = 0; i < FILTERS; i++) {
        int64_t place = !strcmp(filters[i], "before") ? before : !strcmp(filters[i], "seen") ? seen : -1;
        const char *value = page_query(x, filters[i]);
        if (!place || (place < 0 && !value)) continue;
        buffer_format(&url, "%c%s=", separator, filters[i]);
        if (place > 0)
            buffer_format(&url, "%lld", (long long)place);
        else
            buffer_percent(&url, value);
        separator = '&';
    }
    return json_string(url.data ? url.data : path);
}

/* Each once, to choose from while typing. */
static json_t *distinct(const json_t *rows, const char *name) {
    json_auto_t *seen = json_object();
    json_t *all = json_array();
    json_each(i, row, rows) {
        const char *text = json_get_text(row, name);
        if (!*text || json_object_get(seen, text)) continue;
        json_object_set_new(seen, text, json_true());
        json_array_append_new(all, json_string(text));
    }
    return all;
}

static json_t *filter_json(struct exchange *x, bool *filtered) {
    json_t *filter = json_pack("{s:i}", "limit", ROWS_USUALLY);
    for (size_t i = 0; i < FILTERS; i++) {
        const char *value = page_query(x, filters[i]);
        if (value) json_object_set_new(filter, filters[i], json_string(value));
        *filtered |= value && i < FILTERS_OF_ROWS;
    }
    return filter;
}

static json_t *outcomes_json(struct exchange *x) {
    const char *chosen = exchange_query(x, "outcome");
    json_t *choices = json_array();
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        json_array_append_new(
            choices,
            json_pack("{s:s, s:b}", "outcome", outcomes[i], "selected", chosen && !strcmp(chosen, outcomes[i])));
    return choices;
}

/* What the background's last look at the chains found. */
static json_t *chain_json(struct exchange *x) {
    return audit_check_json(((struct runtime *)x->context)->audit_check);
}

/* seen: the newest row when the reader began. 0: now. */
static void audit_decorate_page(struct exchange *x, const struct audit_filter *f, int64_t seen) {
    const json_t *rows = json_object_get(x->data, "rows");
    int64_t before = f->before, next = json_get_int(x->data, "next");
    size_t n = json_array_size(rows);
    bool filtered = exchange_problem_fields(x);
    json_t *filter = filter_json(x, &filtered);
    if (!seen) seen = json_get_int(json_array_get(rows, 0), "id");
    json_add(
        x->data, "{s:o, s:b, s:o, s:o, s:o, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o*}", "filter", filter,
        "filtered", filtered, "outcomes", outcomes_json(x), "actions", distinct(rows, "action"), "event_types",
        distinct(rows, "event_type"), "heading", "Audit log", "caption",
        json_sprintf("%zu row%s, newest first", n, n == 1 ? "" : "s"), "is_newest", !before, "chain", chain_json(x),
        "api_url", audit_url(x, "/api/audit", before, 0), "jsonl_url", audit_url(x, "/api/audit.jsonl", before, 0),
        "csv_url", audit_url(x, "/api/audit.csv", before, 0), "newest_url", audit_url(x, "/audit", 0, 0), "hold_url",
        audit_url(x, "/audit", 0, seen), "older", next ? audit_url(x, "/audit", next, seen) : NULL);
}

/* Rows that came since the reader began: they are offered, not pushed in above what is being read. */
static void audit_add_news(struct exchange *x, const struct audit_filter *f, int64_t seen) {
    if (!seen) return;
    int n = audit_newer(store_reader(((struct runtime *)x->context)->core.store), f, seen, NEWS_MOST);
    if (n)
        json_object_set_new(
            x->data, "news", json_sprintf("%d%s new row%s", n, n == NEWS_MOST ? " or more" : "", n == 1 ? "" : "s"));
}

static void audit_refuse(struct exchange *x) {
    if (x->api) {
        exchange_problem(x, 400, "The filter cannot be used.");
        return;
    }
    json_t *bad = json_object();
    json_each(i, error, exchange_problem_fields(x))
        json_object_set(bad, json_get_text(error, "field"), json_object_get(error, "detail"));
    x->status = 400;
    x->data = json_pack(
        "{s:[], s:n, s:b, s:O, s:o}", "rows", "next", "has_errors", 1, "errors", exchange_problem_fields(x), "bad",
        bad);
    audit_decorate_page(x, &(struct audit_filter){0}, 0);
}

static struct audit_filter filter_read(struct exchange *x, int limit) {
    return (struct audit_filter){
        .return_id = filter_text(x, "return_id"),
        .action = filter_text(x, "action"),
        .outcome = filter_outcome(x),
        .event_type = filter_text(x, "event_type"),
        .since = filter_moment(x, "since"),
        .until = filter_moment(x, "until"),
        .before = page_number(x, "before", 0, INT64_MAX),
        .limit = (int)page_number(x, "limit", limit, 1000)};
}

void audit_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct audit_filter f = filter_read(x, ROWS_USUALLY);
    int64_t seen = page_number(x, "seen", 0, INT64_MAX - 1);
    if (exchange_problem_fields(x)) {
        audit_refuse(x);
        return;
    }
    struct connection *reader = store_reader(rt->core.store);
    if (seen && !f.before) f.before = seen + 1;
    x->data = audit_page(reader, &f);
    if (!x->api) audit_add_news(x, &f, seen);
    if (page_reader_ok(x, reader) && !x->api) audit_decorate_page(x, &f, seen);
}

/* --- One row */

static void audit_one_decorate(struct exchange *x, int64_t id) {
    const struct settings *s = ((struct runtime *)x->context)->core.settings;
    json_t *fields = json_array();
    json_members(m, json_object_get(x->data, "row"))
        if (!json_is_null(m.value))
            json_array_append_new(fields, json_pack("{s:s, s:O}", "name", m.name, "value", m.value));
    json_add(
        x->data, "{s:o, s:o, s:o, s:I, s:o, s:{s:s?, s:s?, s:s?}}", "fields", fields, "heading",
        json_sprintf("Row %lld of the audit log", (long long)id), "api_url",
        json_sprintf("/api/audit/%lld", (long long)id), "around", (json_int_t)id + 25, "chain_state", chain_json(x),
        "at_hand", "kafka", s->kafka, "url", s->public_url, "name", s->service);
}

void audit_one_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    const char *text = exchange_parameter(x, "id");
    int64_t id = page_id(text);
    x->data = id ? audit_one(reader, id) : NULL;
    if (!page_reader_ok(x, reader)) return;
    if (!x->data)
        exchange_problem(
            x, 404, "There is no row \"%.60s\" in this audit log; /audit shows those that there are.", text);
    else if (!x->api)
        audit_one_decorate(x, id);
}

/* --- As a file. No transaction is open while the client is waited for. */

static void audit_stream(
    struct exchange *x, const char *type, void (*head)(struct buffer *out), audit_line *line, const char *file) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    struct audit_filter f = filter_read(x, 0); /* no limit: all */
    buffer_auto lines = BUFFER(STREAM_ROWS * AUDIT_LINE_MAX);
    int64_t after = 0, left = f.limit ? f.limit : INT64_MAX;
    int wanted, n;
    if (!exchange_fields_ok(x, 400, "The filter cannot be used.")) return;
    /* What comes while it is sent is not in it, or a fast writer would keep a slow reader for ever. */
    int64_t end = store_int(reader, 0, "SELECT COALESCE(MAX(id), 0) + 1 FROM audit");
    if (!f.before || f.before > end) f.before = end;
    if (!page_reader_ok(x, reader)) return;
    exchange_set_header(x, "Content-Disposition", file);
    bool going = exchange_stream(x, type);
    if (going && head) head(&lines);
    do {
        wanted = left < STREAM_ROWS ? (int)left : STREAM_ROWS;
        n = going ? audit_export(reader, &f, &after, wanted, line, &lines) : 0;
        left -= n;
        going = going && store_state(reader) == OK && !lines.failed && exchange_write(x, lines.data, lines.length);
        buffer_clear(&lines);
    } while (going && n == wanted && left);
    if (going) exchange_end(x);
}

void audit_jsonl_get(struct exchange *x) {
    audit_stream(x, "application/jsonl; charset=utf-8", NULL, audit_line_json, "attachment; filename=\"audit.jsonl\"");
}

void audit_csv_get(struct exchange *x) {
    audit_stream(
        x, "text/csv; charset=utf-8", audit_line_csv_head, audit_line_csv, "attachment; filename=\"audit.csv\"");
}

/* --- Verified */

void audit_verify_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    x->data = audit_verify(reader);
    if (!page_reader_ok(x, reader) || x->api) return;
    json_add(
        x->data, "{s:s, s:s, s:I}", "heading", "Is the audit log intact?", "api_url", "/api/audit/verify", "around",
        (json_int_t)json_get_int(json_object_get(x->data, "broken"), "id") + 3);
}
