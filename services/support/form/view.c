#include "support/form/view.h"

#include "support/form/examples.h"
#include "support/request/request.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/pages/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REFUSALS = 20 }; /* so many are on a page: whoever asks again and again must not make it too large to read */

/* "OrderRefunded" of "returns.sales.OrderRefunded". */
static void event_name_add(json_t *object, const char *from) {
    const char *type = json_get_text(object, from), *dot = strrchr(type, '.');
    json_object_set_new(object, "event_name", json_string(dot ? dot + 1 : type));
}

/* "Damaged in transit" of "DAMAGED_IN_TRANSIT". */
static json_t *symbol_words(const char *symbol) {
    struct buffer words = BUFFER(400);
    for (const char *p = symbol; *p; p++) {
        char c = *p == '_' ? ' ' : p > symbol && *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        buffer_bytes(&words, &c, 1);
    }
    json_t *text = json_string(words.data ? words.data : "");
    buffer_free(&words);
    return text;
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

json_t *view_url(const char *path, const char *return_id) {
    return url_of("", path, return_id);
}

static bool is_status(const json_t *one, const char *status) {
    return !strcmp(json_get_text(one, "status"), status);
}

/* What a team has not done for the return yet: handled it, or, once it is cancelled, undone that. */
static bool team_owes(const json_t *one, const json_t *team) {
    const char *done = is_status(one, "cancelled") ? "compensated" : "handled";
    return !is_status(one, "closed") && !json_is_true(json_object_get(team, done));
}

/* Whose turn it is: "sales", "sales and inventory", "sales and 2 more". */
static json_t *owing_text(const json_t *one) {
    const json_t *owing[2] = {NULL};
    json_t *team;
    size_t i, n = 0;
    json_array_foreach(json_object_get(one, "teams"), i, team) {
        if (!team_owes(one, team)) continue;
        if (n < 2) owing[n] = team;
        n++;
    }
    if (n > 2) return json_sprintf("%s and %zu more", json_get_text(owing[0], "team"), n - 1);
    if (n == 2) return json_sprintf("%s and %s", json_get_text(owing[0], "team"), json_get_text(owing[1], "team"));
    return json_string(n ? json_get_text(owing[0], "team") : "the teams");
}

static void state_add(json_t *one) {
    bool is_cancelled = is_status(one, "cancelled"), is_closed = is_status(one, "closed");
    bool undoing = is_cancelled && !json_is_true(json_object_get(one, "compensated"));
    bool waiting = undoing || is_status(one, "requested");
    const char *tone = is_cancelled || is_closed ? "" : "ok";
    json_object_set_new(one, "waiting", json_boolean(waiting));
    json_object_set_new(one, "tone", json_string(waiting ? "wait" : tone));
    json_object_set_new(one, "undoing", undoing ? owing_text(one) : json_null());
    json_object_set_new(one, "cancelled", json_boolean(is_cancelled));
    json_object_set_new(one, "closed", json_boolean(is_closed));
}

/* Of a team that has put the return aside: what to say, and where the letter is. */
static void put_aside_add(json_t *one, json_t *team, const char *site) {
    json_t *aside = json_object_get(team, "put_aside");
    if (!aside) return;
    json_object_set_new(one, "put_aside", json_true());
    if (*site)
        json_object_set_new(
            team, "letter_url",
            json_sprintf(
                "%s/dead-letters#at-%lld-%lld", site,
                (long long)json_integer_value(json_object_get(aside, "partition")),
                (long long)json_integer_value(json_object_get(aside, "offset"))));
}

void view_return(json_t *one, const json_t *urls) {
    json_t *team, *teams = json_object_get(one, "teams");
    const char *id = json_get_text(one, "return_id"), *did = is_status(one, "cancelled") ? "compensated" : "handled";
    size_t i, done = 0;
    state_add(one);
    json_t *request = json_object_get(one, "request");
    json_object_set_new(request, "reason_words", symbol_words(json_get_text(request, "reason_code")));
    json_array_foreach(teams, i, team) {
        done += json_is_true(json_object_get(team, did));
        event_name_add(team, "event_type");
        page_add_moment(team, "at", "moment");
        const char *site = json_get_text(urls, json_get_text(team, "team"));
        put_aside_add(one, team, site);
        if (*site) json_object_set_new(team, "audit_url", url_of(site, "/audit?return_id=", id));
    }
    json_object_set_new(one, "url", url_of("", "/returns/", id));
    json_object_set_new(one, "audit_url", url_of("", "/audit?return_id=", id));
    json_object_set_new(one, "api_url", url_of("", "/api/returns/", id));
    if (json_array_size(teams))
        json_object_set_new(
            one, "progress",
            json_sprintf("%zu of %zu%s", done, json_array_size(teams), is_status(one, "cancelled") ? " undone" : ""));
    page_add_moment(one, "requested_at", "moment");
}

void view_returns(json_t *page, int limit) {
    json_t *one;
    size_t i;
    char before[60];
    json_array_foreach(json_object_get(page, "returns"), i, one) view_return(one, NULL);
    snprintf(before, sizeof before, "/returns?limit=%d&before=", limit);
    if (json_is_string(json_object_get(page, "next")))
        json_object_set_new(page, "older", url_of("", before, json_get_text(page, "next")));
}

/* --- A return's events */

/* Of those whose member is a refused command, all but the newest. Returns how many went. */
static size_t refusals_drop(json_t *list, const char *member) {
    size_t kept = 0, dropped = 0;
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *name = json_get_text(json_array_get(list, i), member), *dot = strrchr(name, '.');
        if (strcmp(dot ? dot + 1 : name, "CommandRejected") != 0 || kept++ < REFUSALS) continue;
        json_array_remove(list, i);
        dropped++;
    }
    return dropped;
}

void view_shorten(json_t *one, json_t *history) {
    size_t dropped = refusals_drop(history, "type");
    (void)refusals_drop(json_object_get(one, "timeline"), "event");
    json_object_set_new(one, "left_out", json_integer((json_int_t)dropped));
    json_object_set_new(one, "events_url", json_sprintf("%s/events", json_get_text(one, "api_url")));
}

static void kcat_add(json_t *event, const char *brokers) {
    json_object_set_new(
        event, "kcat",
        json_sprintf(
            "kcat -C -q -e -c 1 -D '' -b %s -t %s -p %lld -o %lld | od -An -v -tx1", brokers,
            json_get_text(event, "topic"), (long long)json_integer_value(json_object_get(event, "partition")),
            (long long)json_integer_value(json_object_get(event, "offset"))));
}

/* What is no text is shown as hex, and what has no value as nothing. */
static void headers_add(json_t *event) {
    json_t *lines = json_array(), *pair;
    size_t i;
    json_array_foreach(json_object_get(event, "headers"), i, pair) {
        const json_t *name = json_array_get(pair, 0), *value = json_array_get(pair, 1);
        const char *key = json_is_string(name) ? json_string_value(name) : json_get_text(name, "hex");
        const char *text = json_is_string(value) ? json_string_value(value) : json_get_text(value, "hex");
        json_array_append_new(lines, json_pack("{s:s, s:s}", "name", key, "value", text ? text : ""));
    }
    json_object_set_new(event, "header_lines", lines);
}

/* "00 00 00 00 07 …", as od and kcat's readers have it. */
static void record_add(json_t *event) {
    const char *hex = json_get_text(event, "record");
    struct buffer spaced = BUFFER(4 << 20);
    for (const char *p = hex; p[0] && p[1]; p += 2) buffer_format(&spaced, "%s%.2s", p > hex ? " " : "", p);
    json_object_set_new(event, "record_bytes", json_integer((json_int_t)strlen(hex) / 2));
    json_object_set_new(event, "record", spaced.data ? json_string(spaced.data) : json_null());
    buffer_free(&spaced);
}

/* A registry whose address holds a password is not linked to. */
static void schema_add(json_t *event, const char *registry) {
    if (!strchr(registry, '@') && json_is_integer(json_object_get(event, "schema_id")))
        json_object_set_new(
            event, "schema_url",
            json_sprintf(
                "%s/schemas/ids/%lld/versions", registry,
                (long long)json_integer_value(json_object_get(event, "schema_id"))));
}

void view_history(json_t *list, const struct settings *settings, const char *return_id, const json_t *urls) {
    json_t *event;
    size_t i;
    json_array_foreach(list, i, event) {
        const char *site = json_get_text(urls, json_get_text(event, "team"));
        event_name_add(event, "type");
        page_add_moment(event, "at", "moment");
        page_add_moment(event, "recorded_at", "recorded_text");
        kcat_add(event, settings->kafka);
        headers_add(event);
        record_add(event);
        schema_add(event, settings->registry);
        json_object_set_new(event, "audit_url", *site ? url_of(site, "/audit?return_id=", return_id) : json_null());
        char *data = json_dumps(json_object_get(event, "data"), JSON_INDENT(2));
        json_object_set_new(event, "data_text", json_string(data ? data : ""));
        free(data);
    }
}

/* --- What can be done now */

/* A button for each command; the form's key makes one command of however many presses. */
static void commands_add(json_t *one) {
    json_t *buttons = json_array(), *names = json_object_get(one, "commands"), *name;
    char key[UUID_TEXT];
    size_t i;
    json_array_foreach(names, i, name) {
        bool closes = !strcmp(json_string_value(name), "close");
        const char *effect = closes ? "It is finished: nothing may change it any more."
                                    : "Every team undoes what it did for it. This cannot be taken back.";
        json_array_append_new(
            buttons, json_pack(
                         "{s:o, s:s, s:s, s:b}", "action",
                         json_sprintf("%s/%s", json_get_text(one, "url"), json_string_value(name)), "label",
                         closes ? "Close this return" : "Cancel this return", "effect", effect, "plain", closes));
    }
    json_object_set_new(one, "key", json_array_size(buttons) ? json_string(uuid_text(uuid_make(), key)) : json_null());
    json_object_set_new(one, "closable", json_boolean(json_array_size(buttons) > 1));
    json_object_set_new(one, "buttons", buttons);
}

static void next_add(json_t *next, json_t *text, json_t *url) {
    json_array_append_new(next, json_pack("{s:o, s:o}", "text", text, "url", url ? url : json_null()));
}

/* A team that is not done: what is the matter with it. */
static void next_team(json_t *next, const char *team, const json_t *peers) {
    json_t *one, *peer = NULL;
    size_t i;
    json_array_foreach((json_t *)peers, i, one) if (!strcmp(json_get_text(one, "name"), team)) peer = one;
    const char *state = peer ? json_get_text(peer, "state") : "not known", *url = json_get_text(peer, "url");
    if (!strcmp(state, "stopped"))
        next_add(next, json_sprintf("Start %s, which is stopped: ./returns start %s", team, team), NULL);
    else if (!strcmp(state, "quarantining"))
        next_add(next, json_sprintf("Look at what %s has put aside", team), json_sprintf("%s/dead-letters", url));
    else
        next_add(
            next, json_sprintf("Wait for %s (%s)", team, state), *url ? json_sprintf("%s/", url) : json_string("/"));
}

void view_next(json_t *one, const json_t *peers) {
    json_t *next = json_array(), *team;
    size_t i;
    commands_add(one);
    if (!json_is_true(json_object_get(one, "published")))
        next_add(next, json_string("See what support waits for"), json_string("/status"));
    else
        json_array_foreach(json_object_get(one, "teams"), i, team) if (json_object_get(team, "put_aside")) next_add(
            next, json_sprintf("Look at what %s has put aside, and why", json_get_text(team, "team")),
            json_incref(json_object_get(team, "letter_url")));
    else if (team_owes(one, team)) next_team(next, json_get_text(team, "team"), peers);
    json_array_foreach(json_object_get(one, "teams"), i, team) {
        const char *name = json_get_text(team, "event_name");
        size_t n = strlen(name), declined = strlen("Declined");
        if (n > declined && !strcmp(name + n - declined, "Declined"))
            next_add(
                next, json_sprintf("See why %s declined (%s)", json_get_text(team, "team"), name),
                json_incref(json_object_get(team, "audit_url")));
    }
    next_add(next, json_string("Support's audit log of this return"), json_incref(json_object_get(one, "audit_url")));
    next_add(next, json_string("Submit another return"), json_string("/returns/new"));
    next_add(next, json_string("Refresh"), json_incref(json_object_get(one, "url")));
    json_object_set_new(one, "next", next);
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
        const char *label = label_of(json_get_text(error, "field"));
        json_t *item = json_copy(error);
        json_object_set_new(item, "label", json_string(label ? label : json_get_text(error, "field")));
        json_object_set_new(item, "on_form", json_boolean(label));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *choices_of(const json_t *symbols, const char *chosen) {
    json_t *list = json_array();
    const json_t *symbol;
    size_t i;
    json_array_foreach((json_t *)symbols, i, symbol) json_array_append_new(
        list, json_pack(
                  "{s:O, s:o, s:b}", "symbol", symbol, "words", symbol_words(json_string_value(symbol)), "selected",
                  !strcmp(json_string_value(symbol), chosen)));
    return list;
}

/* What a choice is shown as; and all of them, one being chosen. */
static void choice_add(json_t *field, const json_t *reasons, const char *chosen) {
    json_object_set_new(field, "shown", symbol_words(chosen));
    json_object_set_new(field, "value", json_string(chosen));
    json_object_set_new(field, "choices", choices_of(reasons, chosen));
}

static json_t *form_fields(const json_t *typed, const json_t *reasons, const json_t *errors) {
    json_t *list = json_array(), *error;
    size_t i;
    for (const struct request_field *f = request_fields; f->name; f++) {
        const char *value = request_text(typed, f), *wrong = NULL;
        json_array_foreach((json_t *)errors, i, error) if (!strcmp(json_get_text(error, "field"), f->name)) wrong =
            json_get_text(error, "detail");
        if (!value) value = "";
        json_t *field = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:s?, s:b, s:b, s:b, s:s?}", "name", f->name, "label", f->label, "hint", f->hint,
            "value", value, "shown", value, "effect", f->effect, "lines", f->lines, "choice", f->fallback != NULL,
            "line", !f->lines && !f->fallback, "wrong", wrong);
        if (f->fallback) choice_add(field, reasons, *value ? value : f->fallback);
        json_array_append_new(list, field);
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
    bool listed = json_array_size(errors) > 0;
    return json_pack(
        "{s:s, s:o, s:o, s:b, s:b, s:o, s:s}", "heading", "Submit a return", "fields",
        form_fields(typed, reasons, errors), "errors", form_errors(errors), "has_errors", listed, "has_list", listed,
        "examples", form_examples(), "token", *token ? token : uuid_text(uuid_make(), made));
}

json_t *view_review(const json_t *body, const json_t *reasons, const char *token, json_t *subscribers) {
    json_t *team;
    size_t i, n = json_array_size(subscribers);
    json_array_foreach(subscribers, i, team) json_object_set_new(team, "more", json_boolean(i + 1 < n));
    return json_pack(
        "{s:s, s:o, s:O, s:s, s:i, s:b, s:o}", "heading", "Check the return", "fields",
        form_fields(body, reasons, NULL), "cost", json_object_get(body, "cost"), "token", token, "subscribers_n",
        (int)n, "one", n == 1, "subscribers", subscribers);
}
