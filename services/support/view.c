#include "view.h"

#include "examples.h"
#include "request.h"

#include "chassis/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* "OrderRefunded" of "returns.sales.OrderRefunded". */
static void event_name_add(json_t *object, const char *from) {
    const char *type = text_of(object, from), *dot = strrchr(type, '.');
    json_object_set_new(object, "event_name", json_string(dot ? dot + 1 : type));
}

static json_t *url_of(const char *site, const char *before, const char *return_id) {
    struct buffer url = BUFFER(8000);
    buffer_text(&url, site);
    buffer_text(&url, before);
    buffer_percent(&url, return_id);
    json_t *text = json_string(url.data ? url.data : "/returns");
    buffer_free(&url);
    return text;
}

void view_return(json_t *one, const json_t *urls) {
    json_t *team, *teams = json_object_get(one, "teams");
    const char *id = text_of(one, "return_id");
    size_t i, done = 0;
    json_array_foreach(teams, i, team) {
        done += json_is_true(json_object_get(team, "handled"));
        event_name_add(team, "event_type");
        page_add_moment(team, "at", "moment");
        const char *site = text_of(urls, text_of(team, "team"));
        if (*site) json_object_set_new(team, "audit_url", url_of(site, "/audit?return_id=", id));
    }
    json_object_set_new(one, "url", url_of("", "/returns/", id));
    json_object_set_new(one, "audit_url", url_of("", "/audit?return_id=", id));
    json_object_set_new(one, "api_url", url_of("", "/api/returns/", id));
    json_object_set_new(one, "waiting", json_boolean(strcmp(text_of(one, "status"), "handled") != 0));
    if (json_array_size(teams))
        json_object_set_new(one, "progress", json_sprintf("%zu of %zu", done, json_array_size(teams)));
    page_add_moment(one, "requested_at", "moment");
}

void view_returns(json_t *page, int limit) {
    json_t *one;
    size_t i;
    char before[60];
    json_array_foreach(json_object_get(page, "returns"), i, one) view_return(one, NULL);
    snprintf(before, sizeof before, "/returns?limit=%d&before=", limit);
    if (json_is_string(json_object_get(page, "next")))
        json_object_set_new(page, "older", url_of("", before, text_of(page, "next")));
}

void view_history(json_t *list) {
    json_t *event;
    size_t i;
    json_array_foreach(list, i, event) {
        event_name_add(event, "type");
        page_add_moment(event, "at", "moment");
        char *data = json_dumps(json_object_get(event, "data"), JSON_INDENT(2));
        json_object_set_new(event, "data_text", json_string(data ? data : ""));
        free(data);
    }
}

void view_subscribers(json_t *list) {
    json_t *team;
    size_t i;
    json_array_foreach(list, i, team) {
        json_int_t behind =
            json_integer_value(json_object_get(team, "of")) - json_integer_value(json_object_get(team, "handled"));
        json_object_set_new(team, "behind", json_integer(behind));
    }
}

/* --- The form */

static const char *label_of(const char *name) {
    for (const struct request_field *f = request_fields; f->name; f++)
        if (!strcmp(f->name, name)) return f->label;
    return NULL;
}

/* A field that is not on the form can be named, but not linked to. */
static json_t *form_errors(const json_t *errors) {
    json_t *list = json_array(), *error;
    size_t i;
    json_array_foreach((json_t *)errors, i, error) {
        const char *label = label_of(text_of(error, "field"));
        json_t *item = json_copy(error);
        json_object_set_new(item, "label", json_string(label ? label : text_of(error, "field")));
        json_object_set_new(item, "on_form", json_boolean(label));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *form_fields(const json_t *typed, const json_t *errors) {
    json_t *list = json_array(), *error;
    size_t i;
    for (const struct request_field *f = request_fields; f->name; f++) {
        const char *value = request_text(typed, f), *wrong = NULL;
        json_array_foreach((json_t *)errors, i, error) if (!strcmp(text_of(error, "field"), f->name)) wrong =
            text_of(error, "detail");
        json_array_append_new(
            list, json_pack(
                      "{s:s, s:s, s:s, s:s, s:s?, s:b, s:s?}", "name", f->name, "label", f->label, "hint", f->hint,
                      "value", value ? value : "", "effect", f->effect, "lines", f->lines, "wrong", wrong));
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

json_t *view_form(const json_t *typed, const json_t *errors, const char *token) {
    char made[UUID_TEXT];
    bool listed = json_array_size(errors) > 0;
    return json_pack(
        "{s:s, s:o, s:o, s:b, s:b, s:o, s:s}", "heading", "Submit a return", "fields", form_fields(typed, errors),
        "errors", form_errors(errors), "has_errors", listed, "has_list", listed, "examples", form_examples(), "token",
        *token ? token : uuid_text(uuid_make(), made));
}

void view_notice(json_t *form, const char *notice, const char *existing) {
    json_object_set_new(form, "has_errors", json_true());
    json_object_set_new(form, "notice", json_string(notice));
    if (existing) json_object_set_new(form, "existing", json_string(existing));
}

json_t *view_review(const json_t *body, const char *token, json_t *subscribers) {
    json_t *team;
    size_t i, n = json_array_size(subscribers);
    json_array_foreach(subscribers, i, team) json_object_set_new(team, "more", json_boolean(i + 1 < n));
    return json_pack(
        "{s:s, s:o, s:O, s:s, s:i, s:b, s:o}", "heading", "Check the return", "fields", form_fields(body, NULL), "cost",
        json_object_get(body, "cost"), "token", token, "subscribers_n", (int)n, "one", n == 1, "subscribers",
        subscribers);
}
