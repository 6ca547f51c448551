#include "support/form/command.h"

#include "support/form/view.h"
#include "support/request/events.h"
#include "support/returns/returns.h"

#include "chassis/audit/audit.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/events/decision.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"
#include "chassis/web/idempotency.h"
#include "chassis/web/precondition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BY_MAX = 64, REFUSALS_KEPT = 100 };           /* of each version of a return */
static const int64_t VERSION_MAX = INT64_C(1) << 53; /* what JSON's readers can count */

struct command {
    const char *name, *type, *event, *to, *action;
};
static const struct command cancel = {"cancel", "CancelReturn", REFUND_CANCELLED, "cancelled", "cancel a return"};
static const struct command closing = {"close", "CloseReturn", RETURN_CLOSED, "closed", "close a return"};

/* may: the commands that a return of that status takes. Every other is refused, and why. */
static const struct {
    const char *name, *may, *refusal;
} statuses[] = {
    {"requested", "cancel", "not every subscriber has handled it yet"},
    {"handled", "cancel close", "it is handled"},
    {"cancelled", "", "it is cancelled, and nothing may change it any more"},
    {"closed", "", "it is closed, and nothing may change it any more"}};

/* Why the command is refused while a return has that status. NULL: it is not. */
static const char *refusal_of(const char *status, const struct command *k) {
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (!strcmp(statuses[i].name, status)) return word_in(k->name, statuses[i].may) ? NULL : statuses[i].refusal;
    return "its state forbids it";
}

json_t *command_legal(const char *status) {
    return json_pack(
        "[s*, s*]", refusal_of(status, &cancel) ? NULL : cancel.name,
        refusal_of(status, &closing) ? NULL : closing.name);
}

/* --- What is asked for */

struct order {
    const struct command *command;
    const char *return_id;
    char by[BY_MAX + 1];
    struct buffer *if_match; /* without it: what the header or the form's version says */
    json_t *one;             /* of returns_then(), in the transaction */
    char refusal[400];       /* "": it is accepted */
    bool kept;               /* its refusal is: it is an event, and in the audit log */
    struct uuid event_id;
};

static void by_read(struct exchange *x, struct order *o, const json_t *by) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *text = json_string_value(by);
    size_t n = json_string_length(by);
    bool given = by && (x->api || !text || *text);
    if (given && (n < 1 || n > BY_MAX || strspn(text, allowed) != n))
        exchange_problem_field(
            x, "by",
            "\"%.80s\" is not 1 to %d of the characters A-Z a-z 0-9 . _ -; give the id of who asks for it, not a name.",
            text ? text : "", BY_MAX);
    else
        snprintf(o->by, sizeof o->by, "%s", given ? text : x->api ? "api" : "form");
}

/* The form's version is what a program says by If-Match. False: it was answered. */
static bool precondition_read(struct exchange *x, struct order *o, const json_t *version) {
    struct failure why;
    const char *text = json_string_value(version);
    bool given = x->api ? exchange_header_list(x, "If-Match", o->if_match) : text != NULL, fits;
    if (!x->api && text) buffer_format(o->if_match, "\"%.60s\"", text);
    if (!given)
        exchange_problem(
            x, 428, "Nothing was changed: say by %s which version of the return this is meant for.",
            x->api ? "If-Match, with the ETag that GET answers," : "the field version");
    else if (o->if_match->failed)
        exchange_problem(x, 400, "Nothing was changed: If-Match is too long.");
    else if (precondition_fits(o->if_match->data, "\"\"", &fits, &why) != OK)
        exchange_problem(x, 400, "Nothing was changed: %s.", why.text);
    else
        return true;
    return false;
}

static bool is_known(const struct exchange *x, const char *name) {
    return !strcmp(name, "by") || (!x->api && (!strcmp(name, "version") || !strcmp(name, "idempotency_key")));
}

static bool order_read(struct exchange *x, struct order *o) {
    json_auto_t *body = !x->body_n ? json_object()
                        : x->api   ? exchange_json_object(x)
                                   : exchange_sent(x, SENT_FORM, NULL, "Nothing was changed");
    if (!body) return false;
    json_members(m, body)
        if (!is_known(x, m.name)) exchange_problem_field(x, m.name, "There is no such field; remove it.");
    by_read(x, o, json_object_get(body, "by"));
    return exchange_fields_ok(x, 422, "Nothing was changed: what was sent cannot be accepted.") &&
           precondition_read(x, o, json_object_get(body, "version"));
}

/* The one version that it was meant for. 0: any, or none that can be counted. */
static int64_t version_meant(const struct order *o) {
    const char *p = o->if_match->data + strspn(o->if_match->data, " \t");
    size_t n = *p == '"' ? strspn(p + 1, "0123456789") : 0;
    bool alone = n >= 1 && n <= 15 && p[n + 1] == '"' && !p[n + 2 + strspn(p + n + 2, " \t")];
    return alone ? atoll(p + 1) : 0;
}

/* --- Deciding, in the transaction */

static int64_t version_of(const struct order *o) {
    return json_integer_value(json_object_get(o->one, "version"));
}

/* A refusal leaves the version as it is. */
static int64_t version_after(const struct order *o) {
    return version_of(o) + !*o->refusal;
}

/* Returns the status of the answer, and fills o->refusal. */
static int judge(struct order *o) {
    const char *status = json_get_text(o->one, "status");
    int64_t version = version_of(o), meant = version_meant(o);
    struct failure why;
    char tag[32];
    bool fits;
    snprintf(tag, sizeof tag, "\"%lld\"", (long long)version);
    if (precondition_fits(o->if_match->data, tag, &fits, &why) != OK || !fits) {
        char said[60] = "another version";
        if (meant) snprintf(said, sizeof said, "version %lld", (long long)meant);
        snprintf(
            o->refusal, sizeof o->refusal, "it was meant for %s of the return, which is at version %lld", said,
            (long long)version);
        return 412;
    }
    const char *refusal = refusal_of(status, o->command);
    if (refusal)
        snprintf(o->refusal, sizeof o->refusal, "%s", refusal);
    else if (version >= VERSION_MAX)
        snprintf(o->refusal, sizeof o->refusal, "its version, %lld, cannot be counted any further", (long long)version);
    return *o->refusal ? 409 : 200;
}

static json_t *event_fields(const struct order *o) {
    int64_t meant = version_meant(o);
    if (!*o->refusal) return json_pack("{s:s}", "by", o->by);
    return json_pack(
        "{s:s, s:s, s:o, s:s}", "by", o->by, "command", o->command->type, "expected_version",
        meant ? json_integer(meant) : json_null(), "reason", o->refusal);
}

static void order_audit(struct exchange *x, struct connection *c, const struct order *o, const struct outgoing *e) {
    char trace[TRACE_ID], summary[600], type[80];
    snprintf(type, sizeof type, SUPPORT_EVENT("%s"), e->type);
    if (*o->refusal)
        snprintf(summary, sizeof summary, "by %s, refused: %s", o->by, o->refusal);
    else
        snprintf(
            summary, sizeof summary, "by %s, at version %lld: %s, now %s", o->by, (long long)version_of(o),
            json_get_text(o->one, "status"), o->command->to);
    audit_append(
        c, &(struct audit_row){
               .action = o->command->action,
               .outcome = *o->refusal ? "refused" : "accepted",
               .actor = x->api ? "api" : "form",
               .return_id = o->return_id,
               .event_id = &o->event_id,
               .event_type = type,
               .summary = summary,
               .trace_id = trace_id(x->trace_parent, trace)});
}

/* --- Answering */

static void answer_refused(struct exchange *x, const struct order *o, int status, json_t *page) {
    exchange_problem_member(x, "return_id", json_string(o->return_id));
    exchange_problem_member(x, "version", json_integer(version_of(o)));
    exchange_problem_member(x, "return_status", json_incref(json_object_get(o->one, "status")));
    if (x->api) exchange_problem_member(x, "page", json_incref(page));
    exchange_problem(
        x, status,
        "The return was not %s: %s. Its status is %s, and it is at version %lld, as before. This refusal is %s.",
        o->command->to, o->refusal, json_get_text(o->one, "status"), (long long)version_of(o),
        o->kept ? "kept in its history" : "not kept: so many of this version are kept already");
}

static void answer(struct exchange *x, const struct order *o, int status) {
    json_int_t version = version_after(o);
    json_auto_t *path = view_url("/returns/", o->return_id);
    json_auto_t *page = json_sprintf("%s%s", runtime_core(x->context)->settings->public_url, json_string_value(path));
    page_etag(x, version);
    if (*o->refusal)
        answer_refused(x, o, status, page);
    else if (!x->api)
        exchange_redirect(x, json_string_value(path));
    else
        x->data = json_pack(
            "{s:s, s:I, s:s, s:s, s:O}", "return_id", o->return_id, "version", version, "status", o->command->to, "by",
            o->by, "page", page);
}

static void answer_unknown(struct exchange *x, const struct order *o) {
    exchange_problem(x, 404, "There is no return \"%.60s\".", o->return_id);
}

static void answer_not_stored(struct exchange *x, const struct failure *why) {
    json_decref(x->data);
    x->data = NULL;
    if (why->kind == RETRY) exchange_set_header(x, "Retry-After", "1");
    exchange_problem(
        x, why->kind == RETRY ? 503 : 500, "Nothing was changed, since it could not be stored: %s. Send it again.",
        why->text);
}

/* --- All of it */

static int64_t refusals_kept(struct connection *c, const struct order *o) {
    return store_int(
        c, 0, "SELECT COUNT(*) FROM return_version WHERE return_id = ? AND version = ? AND type = ?",
        value_text(o->return_id), value_int(version_of(o)), value_text(SUPPORT_EVENT(COMMAND_REJECTED)));
}

static verdict decide_order(struct exchange *x, struct connection *c, struct order *o, struct failure *why) {
    int status = judge(o);
    o->kept = *o->refusal && refusals_kept(c, o) < REFUSALS_KEPT;
    if (!*o->refusal || o->kept) {
        struct outgoing e = {
            .type = *o->refusal ? COMMAND_REJECTED : o->command->event,
            .return_id = o->return_id,
            .version = version_after(o),
            .trace_parent = x->trace_parent,
            .fields = event_fields(o)};
        verdict v = decide(runtime_core(x->context), c, &e, &o->event_id, why);
        if (v != OK) return v;
        order_audit(x, c, o, &e);
    }
    answer(x, o, status);
    return OK;
}

static void order_run(struct exchange *x, struct order *o) {
    struct runtime *rt = x->context;
    struct failure why = {0};
    struct connection *c = store_begin(runtime_core(rt)->store);
    o->one = returns_then(c, o->return_id, &bound_now);
    verdict v = store_state(c) == OK ? OK : fail(&why, store_state(c), "%s", store_error(c));
    if (v == OK && o->one) v = decide_order(x, c, o, &why);
    if (v == OK && o->one)
        v = exchange_commit(x, c, &why);
    else
        store_rollback(c);
    if (v != OK)
        answer_not_stored(x, &why);
    else if (o->one)
        relay_wake(runtime_relay(rt));
    else
        answer_unknown(x, o);
}

static bool is_there(struct exchange *x, const struct order *o) {
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    struct value id = value_text(o->return_id);
    bool there = store_int(reader, 0, "SELECT COUNT(*) FROM return_request WHERE return_id = ?", id);
    if (!page_reader_ok(x, reader)) return false;
    if (!there) answer_unknown(x, o);
    return there;
}

static void command_post(struct exchange *x, const struct command *k) {
    buffer_auto if_match = BUFFER(8192);
    struct order o = {.command = k, .return_id = exchange_parameter(x, "id"), .if_match = &if_match};
    if (!is_there(x, &o)) return;
    if (!x->api) { /* for people, a refusal has a heading, and leads back */
        exchange_problem_member(x, "heading", json_sprintf("The return was not %s", k->to));
        exchange_problem_member(x, "page", view_url("/returns/", o.return_id));
    }
    if (order_read(x, &o)) order_run(x, &o);
    json_decref(o.one);
}

void command_get(struct exchange *x) {
    json_auto_t *path = view_url("/returns/", exchange_parameter(x, "id"));
    exchange_redirect(x, json_string_value(path));
}

void command_cancel(struct exchange *x) {
    command_post(x, &cancel);
}

void command_close(struct exchange *x) {
    command_post(x, &closing);
}
