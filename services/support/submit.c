#include "submit.h"

#include "request.h"
#include "returns.h"
#include "view.h"

#include "chassis/relay.h"

#include <stdio.h>

enum { SUMMARY_CHARACTERS = 100 };

/* --- Accepting a return */

static json_t *event_fields(const struct request *q) {
    char amount[32];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}}", "order_id", q->order_id, "model", q->model, "shipment_id",
        q->shipment_id, "serial_number", q->serial_number, "location", q->location, "cost", "amount",
        money_text(q->cost_minor, amount), "currency", q->cost_currency);
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
    struct buffer summary = BUFFER(4000);
    buffer_format(&summary, "%s, item %s: ", q->model, q->serial_number);
    reason_begin(&summary, q->reason);
    if (summary.failed) store_spoil(c, RETRY, "out of memory");
    audit_append(
        c, &(struct audit_row){
               .action = "accept a return",
               .outcome = "accepted",
               .actor = x->api ? "api" : "form",
               .return_id = return_id,
               .event_id = event_id,
               .event_type = "returns.support.RefundRequest",
               .summary = summary.data ? summary.data : "",
               .trace_id = trace_id(x->trace_parent, trace)});
    buffer_free(&summary);
}

/* One transaction: the return, its event, the audit row. REJECT: its item is in the open return *holder (the caller's),
 * or else the event could not be made, which is a mistake in this program. */
static verdict
accept(struct exchange *x, const char *return_id, const struct request *q, json_t **holder, struct failure *why) {
    struct runtime *rt = x->context;
    struct connection *c = store_begin(rt->store);
    struct uuid event_id;
    verdict v = OK;
    *holder = returns_claim(c, q->serial_number, return_id);
    if (*holder) {
        v = fail(why, REJECT, "item %.100s is in an open return already", q->serial_number);
    } else {
        returns_add(c, return_id, q);
        struct outgoing e = {"RefundRequest", return_id, 1, NULL, x->trace_parent, event_fields(q)};
        v = outbox_add(rt->outbox, c, &e, &event_id, why);
    }
    if (v != OK) {
        store_rollback(c);
        return v;
    }
    accept_audit(x, c, return_id, &event_id, q);
    v = store_commit(c, why);
    if (v == OK) relay_wake(rt->relay);
    return v;
}

/* --- Answering a submission */

/* On the form nothing that was typed is lost: the page comes again, whatever is the matter. */
static void form_again(struct exchange *x, int status, const json_t *body, const char *notice, const char *existing) {
    x->status = status;
    x->page = "form.html";
    x->data = view_form(body, exchange_problem_fields(x));
    if (notice) json_object_set_new(x->data, "notice", json_string(notice));
    if (existing) json_object_set_new(x->data, "existing", json_string(existing));
}

static void answer_invalid(struct exchange *x, const json_t *body, const json_t *errors) {
    json_t *error;
    size_t i, n = json_array_size(errors);
    json_array_foreach((json_t *)errors, i, error) exchange_problem_field(
        x, json_string_value(json_object_get(error, "field")), "%s",
        json_string_value(json_object_get(error, "detail")));
    if (x->api)
        exchange_problem(x, 422, "The return was not stored: %zu field%s cannot be accepted.", n, n == 1 ? "" : "s");
    else
        form_again(x, 422, body, NULL, NULL);
}

static void answer_held(struct exchange *x, const json_t *body, const struct request *q, const char *holder) {
    struct buffer url = BUFFER(4000), link = BUFFER(4100);
    buffer_text(&url, x->api ? "/api/returns/" : "/returns/");
    buffer_percent(&url, holder);
    buffer_format(&link, "<%s>; rel=\"related\"", url.data ? url.data : "/returns");
    if (link.data) exchange_set_header(x, "Link", link.data);
    if (x->api) {
        exchange_problem_member(x, "return", json_string(url.data ? url.data : ""));
        exchange_problem(
            x, 409, "Item \"%s\" is in the open return %.60s already; nothing was stored.", q->serial_number, holder);
    } else {
        form_again(x, 409, body, "This item is in an open return already.", url.data);
    }
    buffer_free(&link);
    buffer_free(&url);
}

static void answer_not_stored(struct exchange *x, const json_t *body, verdict v, const struct failure *why) {
    int status = v == RETRY ? 503 : 500;
    if (v == RETRY) exchange_set_header(x, "Retry-After", "1");
    if (x->api)
        exchange_problem(x, status, "The return could not be stored: %s. Send it again.", why->text);
    else
        form_again(x, status, body, "It could not be stored just now. Nothing is lost: send it again.", NULL);
}

static void answer_accepted(struct exchange *x, const char *return_id) {
    struct runtime *rt = x->context;
    char path[64], page[1000];
    snprintf(path, sizeof path, "%s/returns/%s", x->api ? "/api" : "", return_id);
    if (!x->api) {
        exchange_redirect(x, path);
        return;
    }
    snprintf(page, sizeof page, "%s/returns/%s", rt->settings->public_url, return_id);
    exchange_set_header(x, "Location", path);
    x->status = 202;
    x->data =
        json_pack("{s:s, s:i, s:s, s:s}", "return_id", return_id, "version", 1, "status", "requested", "page", page);
}

static void submit(struct exchange *x, const json_t *body) {
    struct request q;
    json_t *errors = request_read(body, &q), *holder = NULL;
    if (json_array_size(errors)) {
        answer_invalid(x, body, errors);
    } else {
        char return_id[RETURN_ID];
        struct failure why = {0};
        return_id_make(return_id);
        verdict v = accept(x, return_id, &q, &holder, &why);
        if (v == OK)
            answer_accepted(x, return_id);
        else if (holder)
            answer_held(x, body, &q, json_string_value(holder));
        else
            answer_not_stored(x, body, v, &why);
    }
    json_decref(holder);
    json_decref(errors);
}

/* NULL: answered. */
static json_t *body_of(struct exchange *x) {
    const char *type = x->api ? "application/json" : "application/x-www-form-urlencoded";
    const char *given = exchange_header(x, "Content-Type");
    json_t *sent = NULL;
    struct failure why;
    if (!exchange_type_is(x, type)) {
        exchange_problem(x, 415, "The content type \"%.60s\" is not read here; send %s.", given ? given : "", type);
        return NULL;
    }
    verdict v = x->api ? exchange_json(x, &sent, &why) : exchange_form(x, &sent, &why);
    if (v != OK) {
        exchange_problem(x, v == REJECT ? 400 : 503, "The return was not stored: %s.", why.text);
        return NULL;
    }
    if (x->api && !json_is_object(sent)) {
        exchange_problem(x, 422, "The return was not stored: the body must be a JSON object with the return's fields.");
        json_decref(sent);
        return NULL;
    }
    if (x->api) return sent;
    json_t *body = request_nest(sent);
    json_decref(sent);
    return body;
}

void submit_post(struct exchange *x) {
    json_t *body = body_of(x);
    if (!body) return;
    submit(x, body);
    json_decref(body);
}
