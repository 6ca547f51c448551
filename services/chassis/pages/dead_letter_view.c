#include "chassis/pages/dead_letter_view.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/redrive.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/page.h"
#include "chassis/web/idempotency.h"

#include <string.h>

enum { LETTER_WHOLE = 1 << 20 };

static void letters_decorate(const json_t *letters) {
    json_each(i, letter, letters) {
        json_t *lines = json_array();
        json_each(k, pair, json_object_get(letter, "headers")) {
            text_auto name = json_dumps(json_array_get(pair, 0), JSON_ENCODE_ANY);
            text_auto value = json_dumps(json_array_get(pair, 1), JSON_ENCODE_ANY);
            json_array_append_new(lines, json_sprintf("%s: %s", name ? name : "", value ? value : ""));
        }
        json_add(
            letter, "{s:b, s:b, s:o}", "is_tombstone", json_is_null(json_object_get(letter, "value")), "has_headers",
            json_array_size(lines) > 0, "header_lines", lines);
    }
}

void dead_letters_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    int64_t before = page_number(x, "before", 0, INT64_MAX), limit = page_number(x, "limit", 50, 1000);
    if (!exchange_fields_ok(x, 400, "The dead letters cannot be shown so: a number in the address is wrong.")) return;
    x->data = dead_letter_page(reader, before, (int)limit);
    json_object_set_new(x->data, "open", json_integer(dead_letter_open(reader)));
    if (!page_reader_ok(x, reader) || x->api) return;
    long long next = json_get_int(x->data, "next");
    letters_decorate(json_object_get(x->data, "dead_letters"));
    json_add(
        x->data, "{s:s, s:s, s:o*}", "heading", "Dead letters", "api_url", "/api/dead-letters", "older",
        next ? json_sprintf("/dead-letters?limit=%lld&before=%lld", (long long)limit, next) : NULL);
}

/* 0: refused. */
static int64_t id_of(struct exchange *x) {
    const char *text = exchange_parameter(x, "id");
    int64_t id = page_id(text);
    if (!id) exchange_problem(x, 404, "There is no dead letter \"%.60s\"; /dead-letters lists them.", text);
    return id;
}

/* A letter may be larger than any page. */
static void letter_send(struct exchange *x, const json_t *one) {
    text_auto text = json_dumps(one, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    if (!text)
        exchange_problem(x, 503, "There is no memory for the letter; try again.");
    else if (n <= LETTER_WHOLE)
        exchange_send(x, 200, "application/json; charset=utf-8", text, n);
    else if (exchange_stream(x, "application/json; charset=utf-8") && exchange_write(x, text, n))
        exchange_end(x);
}

void dead_letter_get(struct exchange *x) {
    struct connection *reader = store_reader(((struct runtime *)x->context)->core.store);
    int64_t id = id_of(x);
    if (!id) return;
    json_auto_t *one = dead_letter_one(reader, id);
    if (!page_reader_ok(x, reader)) return;
    if (one)
        letter_send(x, one);
    else
        exchange_problem(x, 404, "There is no dead letter %lld; /dead-letters lists them.", (long long)id);
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

/* One, or "all" that are open. */
void dead_letter_redrive_post(struct exchange *x) {
    struct runtime *rt = x->context;
    bool all = !strcmp(exchange_parameter(x, "id"), "all");
    int64_t after = all ? page_number(x, "after", 0, INT64_MAX) : 0;
    json_auto_t *result = NULL;
    struct failure why;
    if (!exchange_fields_ok(x, 400, "Nothing was redriven: a number in the address is wrong.")) return;
    struct redrive asked = {
        .id = all ? 0 : id_of(x),
        .actor = x->api ? "api" : "form",
        .deadline = steady_ms() + REDRIVE_WAIT_MS,
        .answer = redrive_answer,
        .commit = redrive_commit,
        .context = x};
    if (!all && !asked.id) return;
    verdict v =
        all ? redrive_all(&rt->core, after, asked.actor, &result, &why) : redrive_one(&rt->core, &asked, &result, &why);
    relay_wake(rt->relay);
    if (v == OK && all) redrive_answer(x, result);
    if (v == OK) return;
    if (v == RETRY) exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, v == REJECT ? 404 : 503, "Nothing was redriven: %s.", why.text);
}
