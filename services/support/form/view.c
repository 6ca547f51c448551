#include "support/form/view.h"

#include "support/form/examples.h"
#include "support/request/events.h"
#include "support/request/request.h"
#include "support/returns/state.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/pages/page.h"

#include <string.h>

enum {
    REFUSALS = 20, /* so many are on a page: whoever asks again and again must not make it too large to read */
    LIMIT_MAX = 1000
};

json_t *view_url(const char *path, const char *id) {
    buffer_auto url = BUFFER(8000);
    buffer_text(&url, path);
    buffer_percent(&url, id);
    return json_string(url.data ? url.data : "/returns");
}

int view_limit(struct exchange *x, int otherwise) {
    int limit = (int)page_number(x, "limit", otherwise, LIMIT_MAX);
    if (!exchange_problem_fields(x)) return limit;
    exchange_problem(
        x, 400, "limit \"%.60s\" is not a whole number from 1 to %d.", exchange_query(x, "limit"), LIMIT_MAX);
    return 0;
}

/* --- A return */

static bool is_status(const json_t *one, const char *status) {
    return !strcmp(json_get_text(one, "status"), status);
}

/* Whose turn it is: "sales", "sales and inventory", "sales and 2 more". */
static json_t *names_text(const json_t *names) {
    size_t n = json_array_size(names);
    const char *first = json_string_value(json_array_get(names, 0));
    if (n > 2) return json_sprintf("%s and %zu more", first, n - 1);
    if (n == 2) return json_sprintf("%s and %s", first, json_string_value(json_array_get(names, 1)));
    return json_string(n ? first : "the teams");
}

static void team_view(json_t *team, const json_t *peer) {
    json_add(
        team, "{s:O*, s:s, s:b}", "site", json_object_get(peer, "url"), "state",
        peer ? json_get_text(peer, "state") : "not known", "declined",
        state_is_declined(json_get_text(team, "event_type")));
}

void view_return(json_t *one, const json_t *peers) {
    json_t *teams = json_object_get(one, "teams");
    json_auto_t *owing = json_array();
    bool cancelled = is_status(one, "cancelled"),
         undoing = cancelled && !json_is_true(json_object_get(one, "compensated"));
    size_t done = 0, n = json_array_size(teams);
    json_each(i, team, teams) {
        const char *name = json_get_text(team, "team");
        bool is_done = json_is_true(json_object_get(team, cancelled ? "compensated" : "handled"));
        bool owes = !is_done && !is_status(one, "closed");
        done += is_done;
        team_view(team, json_find(peers, "name", name));
        json_object_set_new(team, "owes", json_boolean(owes));
        if (owes) json_array_append_new(owing, json_string(name));
        if (json_object_get(team, "put_aside")) json_object_set_new(one, "has_aside", json_true());
    }
    json_t *progress = n ? json_sprintf("%zu of %zu%s", done, n, cancelled ? " undone" : "") : NULL;
    json_add(
        one, "{s:b, s:o?, s:o*}", "waiting", undoing || is_status(one, "requested"), "undoing",
        undoing ? names_text(owing) : NULL, "progress", progress);
}

void view_returns(json_t *list) {
    json_each(i, one, list) view_return(one, NULL);
}

/* --- A return's events */

/* Of those whose member is a refused command, all but the newest. Returns how many went. */
static size_t refusals_drop(json_t *list, const char *member) {
    size_t kept = 0, all = json_array_size(list);
    for (size_t i = all; i-- > 0;)
        if (!strcmp(state_event_name(json_get_text(json_array_get(list, i), member)), COMMAND_REJECTED) &&
            kept++ >= REFUSALS)
            json_array_remove(list, i);
    return all - json_array_size(list);
}

void view_shorten(json_t *one, json_t *history) {
    (void)refusals_drop(json_object_get(one, "timeline"), "event");
    json_object_set_new(one, "left_out", json_integer((json_int_t)refusals_drop(history, "type")));
}

/* What is no text is shown as hex, and what has no value as nothing. */
static json_t *header_lines(const json_t *headers) {
    json_t *lines = json_array();
    json_each(i, pair, headers) {
        const json_t *name = json_array_get(pair, 0), *value = json_array_get(pair, 1);
        const char *key = json_is_string(name) ? json_string_value(name) : json_get_text(name, "hex");
        const char *text = json_is_string(value) ? json_string_value(value) : json_get_text(value, "hex");
        json_array_append_new(lines, json_pack("{s:s, s:s}", "name", key, "value", text));
    }
    return lines;
}

/* "00 00 00 00 07 …", as od and kcat's readers have it. */
static json_t *spaced(const char *hex) {
    buffer_auto text = BUFFER(4 << 20);
    for (const char *p = hex; p[0] && p[1]; p += 2) buffer_format(&text, "%s%.2s", p > hex ? " " : "", p);
    return text.data ? json_string(text.data) : json_null();
}

/* A registry whose address holds a password is not linked to. */
void view_history(json_t *list, const struct settings *settings, const json_t *peers) {
    const char *registry = strchr(settings->registry, '@') ? NULL : settings->registry;
    json_each(i, event, list) {
        const char *hex = json_get_text(event, "record");
        text_auto data = json_dumps(json_object_get(event, "data"), JSON_INDENT(2));
        json_add(
            event, "{s:s, s:s?, s:o, s:I, s:o, s:s, s:O?}", "kafka", settings->kafka, "registry", registry,
            "header_lines", header_lines(json_object_get(event, "headers")), "record_bytes",
            (json_int_t)strlen(hex) / 2, "record", spaced(hex), "data_text", data ? data : "", "site",
            json_object_get(json_find(peers, "name", json_get_text(event, "team")), "url"));
    }
}

/* --- The form */

static json_t *form_errors(const json_t *errors) {
    json_t *list = json_array();
    json_each(i, error, errors) {
        const struct request_field *f = request_fields;
        while (f->name && strcmp(f->name, json_get_text(error, "field")) != 0) f++;
        json_t *item = json_copy(error);
        if (f->name) json_object_set_new(item, "label", json_string(f->label)); /* else it is none of the form's */
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *choices_of(const json_t *symbols, const char *chosen) {
    json_t *list = json_array();
    json_each(i, symbol, symbols)
        json_array_append_new(
            list, json_pack("{s:O, s:b}", "symbol", symbol, "selected", !strcmp(json_string_value(symbol), chosen)));
    return list;
}

static json_t *form_fields(const json_t *typed, const json_t *reasons, const json_t *errors) {
    json_t *list = json_array();
    for (const struct request_field *f = request_fields; f->name; f++) {
        const char *value = request_text(typed, f);
        const json_t *wrong = json_object_get(json_find(errors, "field", f->name), "detail");
        if (!value || (f->fallback && !*value)) value = f->fallback ? f->fallback : "";
        json_array_append_new(
            list,
            json_pack(
                "{s:s, s:s, s:s, s:s, s:s?, s:b, s:b, s:b, s:O?, s:o}", "name", f->name, "label", f->label, "hint",
                f->hint, "value", value, "effect", f->effect, "lines", f->lines, "choice", f->fallback != NULL, "line",
                !f->lines && !f->fallback, "wrong", wrong, "choices", choices_of(f->fallback ? reasons : NULL, value)));
    }
    return list;
}

static json_t *form_examples(void) {
    json_t *list = json_array();
    for (int i = 0; i < examples_n; i++)
        json_array_append_new(
            list, json_pack(
                      "{s:i, s:s, s:s, s:s}", "number", i + 1, "model", examples[i].model, "lang", examples[i].lang,
                      "language", examples[i].language));
    return list;
}

json_t *view_form(const json_t *typed, const json_t *reasons, const json_t *errors, const char *token) {
    char made[UUID_TEXT];
    return json_pack(
        "{s:s, s:o, s:o, s:b, s:b, s:o, s:s}", "heading", "Submit a return", "fields",
        form_fields(typed, reasons, errors), "errors", form_errors(errors), "has_errors", json_array_size(errors) > 0,
        "has_list", json_array_size(errors) > 0, "examples", form_examples(), "token",
        *token ? token : uuid_text(uuid_make(), made));
}

json_t *view_review(const json_t *body, const json_t *reasons, const char *token, json_t *subscribers) {
    size_t n = json_array_size(subscribers);
    return json_pack(
        "{s:s, s:o, s:O, s:s, s:i, s:b, s:O}", "heading", "Check the return", "fields",
        form_fields(body, reasons, NULL), "cost", json_object_get(body, "cost"), "token", token, "subscribers_n",
        (int)n, "one", n == 1, "subscribers", subscribers);
}
