#include "chassis/pages/dead_letter_view.h"

#include "chassis/base/ids.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/redrive.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/page.h"
#include "chassis/web/idempotency.h"

#include <stdlib.h>
#include <string.h>

enum { LETTER_WHOLE = 1 << 20 };

static const char *tone_of(const json_t *letter) {
    return strcmp(json_string_value(json_object_get(letter, "state")), "open") ? "ok" : "bad";
}

/* A key that is not text is shown as it is told in JSON: by its bytes. */
static void key_decorate(json_t *letter) {
    json_t *hex = json_object_get(json_object_get(letter, "key"), "hex");
    if (hex) json_object_set_new(letter, "key", json_sprintf("0x%s", json_string_value(hex)));
}

static void letters_decorate(json_t *letters) {
    json_t *letter, *pair;
    size_t i, k;
    json_array_foreach(letters, i, letter) {
        page_add_moment(letter, "at", "when");
        page_add_moment(letter, "said_at", "said_when");
        key_decorate(letter);
        json_object_set_new(letter, "tone", json_string(tone_of(letter)));
        json_object_set_new(letter, "is_open", json_boolean(!strcmp(tone_of(letter), "bad")));
        json_object_set_new(letter, "is_tombstone", json_boolean(json_is_null(json_object_get(letter, "value"))));
        json_t *lines = json_array();
        json_array_foreach(json_object_get(letter, "headers"), k, pair) {
            char *name = json_dumps(json_array_get(pair, 0), JSON_ENCODE_ANY);
            char *value = json_dumps(json_array_get(pair, 1), JSON_ENCODE_ANY);
            json_array_append_new(lines, json_sprintf("%s: %s", name ? name : "", value ? value : ""));
            free(name);
            free(value);
        }
        json_object_set_new(letter, "header_lines", lines);
        json_object_set_new(letter, "has_headers", json_boolean(json_array_size(lines)));
    }
}

void dead_letters_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    int64_t before = page_number(x, "before", 0, INT64_MAX), limit = page_number(x, "limit", 50, 1000);
    if (exchange_problem_fields(x)) {
        exchange_problem(x, 400, "The dead letters cannot be shown so: a number in the address is wrong.");
        return;
    }
    x->data = dead_letter_page(reader, before, (int)limit);
    json_object_set_new(x->data, "open", json_integer(dead_letter_open(reader)));
    if (!page_reader_ok(x, reader) || x->api) return;
    json_t *next = json_object_get(x->data, "next");
    letters_decorate(json_object_get(x->data, "dead_letters"));
    json_object_set_new(x->data, "heading", json_string("Dead letters"));
    json_object_set_new(x->data, "api_url", json_string("/api/dead-letters"));
    if (json_is_integer(next))
        json_object_set_new(
            x->data, "older",
            json_sprintf(
                "/dead-letters?limit=%lld&before=%lld", (long long)limit, (long long)json_integer_value(next)));
}

/* 0: refused. */
static int64_t id_of(struct exchange *x) {
    const char *text = exchange_parameter(x, "id");
    int64_t id = strlen(text) <= 18 && !text[strspn(text, "0123456789")] ? strtoll(text, NULL, 10) : 0;
    if (!id) exchange_problem(x, 404, "There is no dead letter \"%.60s\"; /dead-letters lists them.", text);
    return id;
}

/* A letter may be larger than any page. */
static void letter_send(struct exchange *x, const json_t *one) {
    char *text = json_dumps(one, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    if (!text)
        exchange_problem(x, 503, "There is no memory for the letter; try again.");
    else if (n <= LETTER_WHOLE)
        exchange_send(x, 200, "application/json; charset=utf-8", text, n);
    else if (exchange_stream(x, "application/json; charset=utf-8") && exchange_write(x, text, n))
        exchange_end(x);
    free(text);
}

void dead_letter_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    int64_t id = id_of(x);
    if (!id) return;
    json_t *one = dead_letter_one(reader, id);
    bool read = page_reader_ok(x, reader);
    if (read && one)
        letter_send(x, one);
    else if (read)
        exchange_problem(x, 404, "There is no dead letter %lld; /dead-letters lists them.", (long long)id);
    json_decref(one);
}

static void redrive_refused(struct exchange *x, verdict v, const struct failure *why) {
    if (v == RETRY) exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, v == REJECT ? 404 : 503, "Nothing was redriven: %s.", why->text);
}

static void redrive_all_post(struct exchange *x, const char *actor) {
    struct failure why;
    int64_t after = page_number(x, "after", 0, INT64_MAX);
    if (exchange_problem_fields(x)) {
        exchange_problem(x, 400, "Nothing was redriven: a number in the address is wrong.");
        return;
    }
    struct runtime *rt = x->context;
    verdict v = redrive_all(&rt->core, after, actor, &x->data, &why);
    relay_wake(rt->relay);
    if (v != OK)
        redrive_refused(x, v, &why);
    else if (!x->api)
        exchange_redirect(x, "/dead-letters");
}

/* As JSON, or for a form the way back to the letters. */
static void redrive_answer(void *exchange, json_t *result) {
    struct exchange *x = exchange;
    if (x->api)
        x->data = json_incref(result);
    else
        exchange_redirect(x, "/dead-letters");
}

static verdict redrive_commit(void *exchange, struct connection *c, struct failure *why) {
    return exchange_commit(exchange, c, why);
}

void dead_letter_redrive_post(struct exchange *x) {
    struct runtime *rt = x->context;
    const char *actor = x->api ? "api" : "form";
    json_t *result = NULL;
    struct failure why;
    if (!strcmp(exchange_parameter(x, "id"), "all")) {
        redrive_all_post(x, actor);
        return;
    }
    struct redrive asked = {
        .id = id_of(x),
        .actor = actor,
        .deadline = steady_ms() + REDRIVE_WAIT_MS,
        .answer = redrive_answer,
        .commit = redrive_commit,
        .context = x};
    if (!asked.id) return;
    verdict v = redrive_one(&rt->core, &asked, &result, &why);
    relay_wake(rt->relay);
    if (v != OK) redrive_refused(x, v, &why);
    json_decref(result);
}
