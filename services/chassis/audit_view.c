#include "chassis/audit_line.h"
#include "chassis/page.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_ROWS = 200 };

static const char *const outcomes[] = {"handled",     "declined", "duplicate", "skipped",
                                       "quarantined", "accepted", "refused"};
static const char *const filters[] = {"return_id", "action", "outcome", "since", "until", "before", "limit"};

/* A filter that is left empty in the form is none. */
static const char *filter_text(struct exchange *x, const char *name) {
    const char *text = exchange_query(x, name);
    if (!text || !*text) return NULL;
    if (strlen(text) > 500) exchange_problem_field(x, name, "is longer than 500 bytes; make it shorter");
    return text;
}

int64_t page_number(struct exchange *x, const char *name, int64_t otherwise, int64_t max) {
    const char *text = filter_text(x, name);
    if (!text) return otherwise;
    int64_t n = strlen(text) <= 18 && !text[strspn(text, "0123456789")] ? strtoll(text, NULL, 10) : 0;
    if (n < 1 || n > max)
        exchange_problem_field(x, name, "\"%.60s\" is not a whole number from 1 to %lld", text, (long long)max);
    return n;
}

/* 0: no filter. A moment that does not exist (30 February) does not come back as it was written. */
static int64_t filter_moment(struct exchange *x, const char *name) {
    const char *text = filter_text(x, name);
    char moment[TIME_TEXT + 16], back[TIME_TEXT];
    int64_t ms = 0;
    if (!text) return 0;
    snprintf(
        moment, sizeof moment, "%s%s", strlen(text) < sizeof moment ? text : "",
        strlen(text) == 10 ? "T00:00:00Z" : "");
    bool valid = strlen(moment) >= 20 && time_parse(moment, &ms) && !strncmp(time_text(ms, back), moment, 19);
    if (!valid)
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

static void audit_decorate_rows(json_t *rows) {
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *type = json_string_value(json_object_get(row, "event_type"));
        const char *dot = type ? strrchr(type, '.') : NULL;
        const char *return_id = json_string_value(json_object_get(row, "return_id"));
        struct buffer query = BUFFER(4000);
        buffer_percent(&query, return_id ? return_id : "");
        json_object_set_new(row, "return_query", json_string(query.data ? query.data : ""));
        json_object_set_new(row, "event_name", json_string(dot ? dot + 1 : type ? type : ""));
        page_add_moment(row, "at", "when");
        page_add_tone(row, "outcome");
        buffer_free(&query);
    }
}

/* The same filters; with `before`, the page that goes on below that row. */
static json_t *audit_url(struct exchange *x, const char *path, json_int_t before) {
    struct buffer url = BUFFER(16384);
    char separator = '?';
    buffer_text(&url, path);
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = exchange_query(x, filters[i]);
        if (!value || !*value || (before && !strcmp(filters[i], "before"))) continue;
        buffer_format(&url, "%c%s=", separator, filters[i]);
        buffer_percent(&url, value);
        separator = '&';
    }
    if (before) buffer_format(&url, "%cbefore=%lld", separator, (long long)before);
    json_t *text = json_string(url.data ? url.data : path);
    buffer_free(&url);
    return text;
}

static void audit_decorate_page(struct exchange *x) {
    json_t *filter = json_object(), *choices = json_array(), *next = json_object_get(x->data, "next");
    bool filtered = exchange_problem_fields(x);
    size_t n = json_array_size(json_object_get(x->data, "rows"));
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = exchange_query(x, filters[i]);
        json_object_set_new(filter, filters[i], json_string(value ? value : strcmp(filters[i], "limit") ? "" : "50"));
        filtered |= value && *value && strcmp(filters[i], "before") != 0 && strcmp(filters[i], "limit") != 0;
    }
    const char *chosen = exchange_query(x, "outcome");
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        json_array_append_new(
            choices,
            json_pack("{s:s, s:b}", "outcome", outcomes[i], "selected", chosen && !strcmp(chosen, outcomes[i])));
    audit_decorate_rows(json_object_get(x->data, "rows"));
    json_object_set_new(x->data, "filter", filter);
    json_object_set_new(x->data, "filtered", json_boolean(filtered));
    json_object_set_new(x->data, "outcomes", choices);
    json_object_set_new(x->data, "heading", json_string("Audit log"));
    json_object_set_new(x->data, "caption", json_sprintf("%zu row%s, newest first", n, n == 1 ? "" : "s"));
    json_object_set_new(x->data, "api_url", audit_url(x, "/api/audit", 0));
    json_object_set_new(x->data, "jsonl_url", audit_url(x, "/api/audit.jsonl", 0));
    json_object_set_new(x->data, "csv_url", audit_url(x, "/api/audit.csv", 0));
    if (json_is_integer(next)) json_object_set_new(x->data, "older", audit_url(x, "/audit", json_integer_value(next)));
}

static void audit_refuse(struct exchange *x) {
    if (x->api) {
        exchange_problem(x, 400, "The filter cannot be used.");
        return;
    }
    json_t *bad = json_object(), *error;
    size_t i;
    json_array_foreach((json_t *)exchange_problem_fields(x), i, error)
        json_object_set(bad, json_string_value(json_object_get(error, "field")), json_object_get(error, "detail"));
    x->status = 400;
    x->data = json_pack(
        "{s:[], s:n, s:b, s:O, s:o}", "rows", "next", "has_errors", 1, "errors", exchange_problem_fields(x), "bad",
        bad);
    audit_decorate_page(x);
}

static struct audit_filter filter_read(struct exchange *x, int limit) {
    return (struct audit_filter){
        .return_id = filter_text(x, "return_id"),
        .action = filter_text(x, "action"),
        .outcome = filter_outcome(x),
        .since = filter_moment(x, "since"),
        .until = filter_moment(x, "until"),
        .before = page_number(x, "before", 0, INT64_MAX),
        .limit = (int)page_number(x, "limit", limit, 1000)};
}

void audit_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct audit_filter f = filter_read(x, 50);
    if (exchange_problem_fields(x)) {
        audit_refuse(x);
        return;
    }
    struct connection *reader = store_reader(rt->store);
    x->data = audit_page(reader, &f);
    if (page_reader_ok(x, reader) && !x->api) audit_decorate_page(x);
}

/* --- As a file. No transaction is open while the client is waited for. */

static void audit_stream(
    struct exchange *x, const char *type, void (*head)(struct buffer *out), audit_line *line, const char *file) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->store);
    struct audit_filter f = filter_read(x, 0); /* no limit: all */
    struct buffer lines = BUFFER(STREAM_ROWS * AUDIT_LINE_MAX);
    int64_t after = 0, left = f.limit ? f.limit : INT64_MAX;
    int wanted, n;
    if (exchange_problem_fields(x)) {
        exchange_problem(x, 400, "The filter cannot be used.");
        return;
    }
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
    buffer_free(&lines);
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
    struct connection *reader = store_reader(((struct runtime *)x->context)->store);
    x->data = audit_verify(reader);
    if (!page_reader_ok(x, reader) || x->api) return;
    json_t *broken = json_object_get(x->data, "broken"), *published = json_object_get(x->data, "published");
    json_object_set_new(x->data, "heading", json_string("Is the audit log intact?"));
    json_object_set_new(x->data, "api_url", json_string("/api/audit/verify"));
    json_object_set_new(
        x->data, "any_published", json_boolean(json_integer_value(json_object_get(published, "heads")) > 0));
    if (published) page_add_moment(published, "at", "when");
    if (broken)
        json_object_set_new(x->data, "around", json_integer(json_integer_value(json_object_get(broken, "id")) + 3));
}
