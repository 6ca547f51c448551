#include "chassis/pages/call.h"

#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/events/by_hand.h"
#include "chassis/events/record.h"
#include "chassis/incoming/drill.h"
#include "chassis/pages/runtime.h"
#include "chassis/web/idempotency.h"

#include <stdio.h>
#include <string.h>

enum { PATIENCE_MS = 5000 };

static const struct handler *handler_find(const struct service *s) {
    for (const struct handler *h = s->handlers; h && h->type; h++)
        if (!strcmp(h->type, s->call.type)) return h;
    return NULL;
}

/* --- What was asked */

/* One entry for each field that is missing or wrong. */
static bool fields_ok(struct exchange *x, const json_t *body, const struct handler *h) {
    _Alignas(max_align_t) char projected[1024];
    const json_t *id = json_object_get(body, "return_id");
    struct failure why;
    if (!json_is_string(id))
        exchange_problem_field(x, "return_id", "is not text of 1 to %d bytes", ID_BYTES_MAX);
    else if (input_id(json_string_value(id), json_string_length(id), &why) != OK)
        exchange_problem_field(x, "return_id", "%s", why.text);
    for (size_t i = 0; h->size <= sizeof projected && i < h->fields_n; i++) {
        const struct field *f = &h->fields[i];
        const struct money *money = (const void *)(projected + f->offset);
        if (project(&(struct written){.json = (json_t *)body}, f, 1, projected, &why) != OK)
            exchange_problem_field(x, f->path, "%s", why.text);
        else if (f->type == TYPE_MONEY && money->minor < 0)
            exchange_problem_field(x, f->path, "is less than 0; write 0 or more");
    }
    const json_t *wrong = exchange_problem_fields(x);
    if (wrong) exchange_problem(x, 400, "Nothing was done: %zu fields are missing or wrong.", json_array_size(wrong));
    return !wrong;
}

/* --- What was done */

/* What the first call of that id was answered. False: that was about another return. */
static bool reply_recall(struct connection *c, const struct record *r, char outcome[40]) {
    struct reply *a = r->reply;
    outcome[0] = '\0';
    for (struct rows first = store_rows(
             c,
             "SELECT outcome, action, summary FROM audit WHERE return_id = ? AND event_id = ? "
             "AND outcome <> 'duplicate' AND outcome <> 'refused' ORDER BY id LIMIT 1",
             value_text(r->event.return_id), value_blob(r->event.id.bytes, 16));
         rows_next(&first);) {
        snprintf(outcome, 40, "%s", rows_text(&first, 0));
        snprintf(a->action, sizeof a->action, "%s", rows_text(&first, 1));
        snprintf(a->summary, sizeof a->summary, "%s", rows_text(&first, 2));
    }
    a->outcome = outcome;
    return *outcome;
}

static void answer(struct exchange *x, struct connection *c, const struct record *r, bool repeated) {
    const struct reply *a = r->reply;
    json_t *said = json_pack(
        "{s:s, s:s, s:s, s:o, s:s?, s:O?, s:b}", "return_id", r->event.return_id, "outcome", a->outcome, "action",
        a->action, "summary", utf8_json(a->summary), "event_type", a->event_type, "fields", a->fields, "repeated",
        repeated);
    if (!said) store_spoil(c, RETRY, "out of memory for the answer");
    if (strcmp(a->outcome, "declined") != 0) {
        x->status = repeated ? 200 : 201;
        x->data = said;
        return;
    }
    exchange_problem(x, 409, "Declined: %s.", a->summary);
    json_members(m, said) exchange_problem_member(x, m.name, json_incref(m.value));
    json_decref(said);
}

static void perform(struct exchange *x, struct record *r) {
    struct runtime *rt = x->context;
    struct failure why = {0}, refusal = {0};
    char outcome[40];
    if (!drill_delay(rt->drill, PATIENCE_MS)) {
        exchange_busy(x, "Nothing was done: the service is paused by a drill, or stops. Send it again.");
        return;
    }
    struct connection *c = store_begin(rt->core.store);
    verdict v = record_apply_asked(&rt->core, c, r, &refusal);
    bool repeated = v == OK && r->reply->outcome && !strcmp(r->reply->outcome, "duplicate");
    if (v == OK && !repeated) by_hand_call(c, r);
    bool same = !repeated || reply_recall(c, r, outcome);
    if (v != OK)
        exchange_problem(x, 422, "Nothing was done: %s.", refusal.text);
    else if (!same)
        exchange_problem(x, 422, "Nothing was done: this Idempotency-Key was used for another return.");
    else if (store_state(c) == OK) /* else there may be nothing to tell, and the commit says why */
        answer(x, c, r, repeated);
    v = exchange_commit(x, c, &why);
    if (v == OK) return;
    exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, v == RETRY ? 503 : 500, "Nothing was done: %s. Send it again.", why.text);
}

static void call_run(struct exchange *x, const json_t *body, const struct handler *h) {
    struct reply said = {0};
    struct record r = {.reply = &said, .has_id = true, .source = "call", .written.json = (json_t *)body};
    const char *return_id = json_get_text(body, "return_id"), *key = exchange_key(x);
    char name[IDEMPOTENCY_KEY_MAX + 20];
    snprintf(r.trace, sizeof r.trace, "%s", x->trace_parent);
    r.event = (struct event){
        .type = h->type,
        .source = r.source,
        .return_id = return_id,
        .version = 1,
        .occurred_at = clock_ms(),
        .trace_parent = r.trace,
        .topic = "",
        .data = body,
        .written = &r.written};
    /* The id under which the call has its one effect. */
    snprintf(name, sizeof name, "call %s", key ? key : return_id);
    if (uuid_named(name, &r.event.id))
        perform(x, &r);
    else
        exchange_busy(x, "Out of memory; send it again.");
    json_decref(said.fields);
}

bool comparison_on(struct exchange *x) {
    struct runtime *rt = x->context;
    if (rt->core.settings->comparison) return true;
    exchange_problem(
        x, 404,
        "Nothing is called here: what is done so is not in the log. To compare that with the events, start %s with "
        "--comparison (RETURNS_COMPARISON=1).",
        rt->core.settings->service);
    return false;
}

static void call_post(struct exchange *x) {
    struct runtime *rt = x->context;
    const struct handler *h = handler_find(rt->core.service);
    if (!comparison_on(x)) return;
    json_auto_t *body = exchange_json_object(x);
    if (!body || !fields_ok(x, body, h)) return;
    if (atomic_fetch_add(&rt->calls_now, 1) < (rt->core.settings->http_threads + 1) / 2)
        call_run(x, body, h);
    else
        exchange_busy(x, "Too many calls are waiting for their answer already; send it again.");
    atomic_fetch_sub(&rt->calls_now, 1);
}

struct resource call_resource(const struct service *service) {
    if (!service->call.api_path || !handler_find(service)) return (struct resource){0};
    return (struct resource){.api_path = service->call.api_path, .post = call_post};
}
