#include "support/form/submit.h"

#include "support/form/view.h"
#include "support/request/events.h"
#include "support/request/request.h"
#include "support/returns/orders.h"
#include "support/returns/returns.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/money.h"
#include "chassis/events/decision.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"
#include "chassis/web/idempotency.h"

#include <stdio.h>

enum { SUMMARY_CHARACTERS = 100 };

/* --- Accepting a return */

static const char *channel_of(const struct exchange *x) {
    return x->api ? "api" : "form";
}

static json_t *event_fields(const struct request *q, const char *channel) {
    char amount[32];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s}", "order_id", q->order_id, "model", q->model, "shipment_id",
        q->shipment_id, "serial_number", q->serial_number, "location", q->location, "cost", "amount",
        money_text(q->cost_minor, amount), "currency", q->cost_currency, "reason_code", q->reason_code, "channel",
        channel);
}

/* The beginning of the reason, on one line. */
static void reason_begin(struct buffer *out, const char *reason) {
    const char *p = reason;
    for (int n = 0; *p && (n < SUMMARY_CHARACTERS || (*p & 0xc0) == 0x80); p++) {
        n += (*p & 0xc0) != 0x80;
        buffer_bytes(out, *p == '\n' || *p == '\r' || *p == '\t' ? " " : p, 1);
    }
    if (*p) buffer_text(out, "…");
}

static void accept_audit(
    struct exchange *x, struct connection *c, const char *return_id, const struct uuid *event_id,
    const struct request *q) {
    char trace[TRACE_ID];
    buffer_auto summary = BUFFER(4000);
    buffer_format(&summary, "%s, item %s: ", q->model, q->serial_number);
    reason_begin(&summary, q->reason);
    if (summary.failed) store_spoil(c, RETRY, "out of memory");
    audit_append(
        c, &(struct audit_row){
               .action = "accept a return",
               .outcome = "accepted",
               .actor = channel_of(x),
               .return_id = return_id,
               .event_id = event_id,
               .event_type = SUPPORT_EVENT(REFUND_REQUEST),
               .summary = summary.data ? summary.data : "",
               .trace_id = trace_id(x->trace_parent, trace)});
}

/* What was sent, and what became of it. */
struct submission {
    json_t *body;          /* the return's fields */
    bool review, change;   /* of the form: to look at it before it is sent, or back to the fields */
    char token[UUID_TEXT]; /* of the form. "": a program sent it, which has none */
    struct request request;
    char return_id[RETURN_ID];
    json_t *holder; /* the open return that has the item */
    json_t *sent;   /* of returns_sent(): the return that this form became before */
};

static bool sent_before(struct submission *s, struct connection *c) {
    if (*s->token) s->sent = returns_sent(c, s->token, &s->request);
    return s->sent;
}

static verdict accept_new(struct exchange *x, struct connection *c, struct submission *s, struct failure *why) {
    const struct request *q = &s->request;
    struct uuid event_id;
    return_id_make(s->return_id);
    s->holder = returns_holder(c, q->serial_number);
    if (s->holder) return fail(why, REJECT, "item %.100s is in an open return already", q->serial_number);
    returns_keep(c, s->return_id, q, s->token);
    struct outgoing e = {
        .type = REFUND_REQUEST,
        .return_id = s->return_id,
        .version = 1,
        .trace_parent = x->trace_parent,
        .fields = event_fields(q, channel_of(x))};
    verdict v = decide(runtime_core(x->context), c, &e, &event_id, why);
    if (v == OK) accept_audit(x, c, s->return_id, &event_id, q);
    return v;
}

/* --- Answering a submission */

/* The browser may show this answer again when one goes back to it, rather than ask whether to send the form again. */
static void keep_for_back(struct exchange *x) {
    exchange_set_header(x, "Cache-Control", "private, no-cache");
}

/* On the form nothing that was typed is lost: the page comes again, whatever is the matter. */
static void
form_again(struct exchange *x, int status, const struct submission *s, const char *notice, const char *existing) {
    x->status = status;
    x->page = "form.html";
    x->data = view_form(s->body, returns_reasons(x->context), exchange_problem_fields(x), s->token);
    if (notice) page_add_notice(x->data, notice, existing);
    keep_for_back(x);
}

static void answer_invalid(struct exchange *x, const struct submission *s, const json_t *errors) {
    size_t n = json_array_size(errors);
    json_each(i, error, errors)
        exchange_problem_field(x, json_get_text(error, "field"), "%s", json_get_text(error, "detail"));
    if (x->api)
        exchange_problem(x, 422, "The return was not stored: %zu field%s cannot be accepted.", n, n == 1 ? "" : "s");
    else
        form_again(x, 422, s, NULL, NULL);
}

static void answer_held(struct exchange *x, const struct submission *s) {
    const char *holder = json_string_value(s->holder);
    json_auto_t *url = view_url(x->api ? "/api/returns/" : "/returns/", holder);
    json_auto_t *link = json_sprintf("<%s>; rel=\"related\"", json_string_value(url));
    if (link) exchange_set_header(x, "Link", json_string_value(link));
    if (!x->api) {
        form_again(x, 409, s, "This item is in an open return already.", json_string_value(url));
        return;
    }
    exchange_problem_member(x, "return", json_incref(url));
    exchange_problem(
        x, 409, "Item \"%s\" is in the open return %.60s already; nothing was stored.", s->request.serial_number,
        holder);
}

static void answer_not_stored(struct exchange *x, const struct submission *s, verdict v, const struct failure *why) {
    int status = v == RETRY ? 503 : 500;
    if (v == RETRY) exchange_set_header(x, "Retry-After", "1");
    if (x->api)
        exchange_problem(x, status, "The return could not be stored: %s. Send it again.", why->text);
    else
        form_again(x, status, s, "It could not be stored just now. Nothing is lost: send it again.", NULL);
}

static void answer_accepted(struct exchange *x, const char *return_id) {
    char path[64], page[1000];
    snprintf(path, sizeof path, "%s/returns/%s", x->api ? "/api" : "", return_id);
    if (!x->api) {
        exchange_redirect(x, path);
        return;
    }
    snprintf(page, sizeof page, "%s/returns/%s", runtime_core(x->context)->settings->public_url, return_id);
    exchange_set_header(x, "Location", path);
    page_etag(x, 1);
    x->status = 202;
    x->data =
        json_pack("{s:s, s:i, s:s, s:s}", "return_id", return_id, "version", 1, "status", "requested", "page", page);
}

/* The form was sent before. A double click, or a page sent again, has its return already. Other fields would be lost if
 * they were taken for the same. */
static void answer_sent(struct exchange *x, struct submission *s) {
    const char *earlier = json_string_value(json_object_get(s->sent, "return_id"));
    char url[64];
    snprintf(url, sizeof url, "/returns/%.40s", earlier);
    if (json_is_true(json_object_get(s->sent, "same"))) {
        exchange_redirect(x, url);
        return;
    }
    *s->token = '\0';
    form_again(x, 409, s, "This form was sent before, with other values. If this is another return, send it now.", url);
}

/* Nothing is stored yet. Another return than the one that the token stands for gets a token of its own. */
static void review(struct exchange *x, struct submission *s) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    bool sent = sent_before(s, reader), same = sent && json_is_true(json_object_get(s->sent, "same"));
    s->holder = same ? NULL : returns_holder(reader, s->request.serial_number);
    json_auto_t *subscribers = returns_subscribers(reader), *doubts = orders_doubts(reader, &s->request);
    struct failure why;
    if (store_state(reader) != OK) {
        answer_not_stored(x, s, fail(&why, RETRY, "%s", store_error(reader)), &why);
    } else if (same) {
        answer_sent(x, s);
    } else if (s->holder) {
        answer_held(x, s);
    } else {
        if (sent || !*s->token) uuid_text(uuid_make(), s->token);
        x->page = "review.html";
        x->data = view_review(s->body, returns_reasons(x->context), s->token, subscribers);
        json_add(x->data, "{s:O, s:b}", "doubts", doubts, "doubtful", json_array_size(doubts) > 0);
        keep_for_back(x);
    }
}

/* One transaction: the return, its form's token, its event, the audit row, the answer. OK as well when the form was
 * sent before. REJECT: its item is in an open return, or else the event could not be made, which is a mistake in this
 * program. */
static verdict accept(struct exchange *x, struct submission *s, struct failure *why) {
    struct connection *c = store_begin(runtime_core(x->context)->store);
    verdict v = sent_before(s, c) ? OK : accept_new(x, c, s, why);
    if (v != OK) {
        store_rollback(c);
        return v;
    }
    if (s->sent)
        answer_sent(x, s);
    else
        answer_accepted(x, s->return_id);
    v = exchange_commit(x, c, why);
    if (v == OK) relay_wake(runtime_relay(x->context));
    return v;
}

static void submit(struct exchange *x, struct submission *s) {
    struct failure why = {0};
    verdict v = accept(x, s, &why);
    if (v != OK && s->holder)
        answer_held(x, s);
    else if (v != OK)
        answer_not_stored(x, s, v, &why);
}

/* NULL: answered. */
static json_t *body_of(struct exchange *x) {
    json_auto_t *sent = exchange_sent(x, x->api ? SENT_JSON : SENT_FORM, NULL, "The return was not stored");
    if (sent && !x->api) return request_nest(sent);
    if (json_is_object(sent)) return json_incref(sent);
    if (sent)
        exchange_problem(x, 422, "The return was not stored: the body must be a JSON object with the return's fields.");
    return NULL;
}

static bool is_set(const json_t *body, const char *name) {
    return *json_get_text(body, name);
}

/* Takes out of the body what only the form sends. */
static void form_part_read(struct submission *s) {
    struct uuid token;
    s->review = is_set(s->body, "review");
    s->change = is_set(s->body, "change");
    if (is_set(s->body, "token") && uuid_parse(json_get_text(s->body, "token"), &token)) uuid_text(token, s->token);
    if (*s->token || !is_set(s->body, "token")) json_object_del(s->body, "token"); /* any other is refused as a field */
    json_object_del(s->body, "review");
    json_object_del(s->body, "change");
}

void submit_post(struct exchange *x) {
    struct submission s = {.body = body_of(x)};
    if (!s.body) return;
    if (!x->api) form_part_read(&s);
    json_auto_t *errors = request_read(s.body, returns_reasons(x->context), &s.request);
    if (s.change)
        form_again(x, 200, &s, NULL, NULL);
    else if (json_array_size(errors))
        answer_invalid(x, &s, errors);
    else if (s.review)
        review(x, &s);
    else
        submit(x, &s);
    json_decref(s.body);
    json_decref(s.holder);
    json_decref(s.sent);
}
