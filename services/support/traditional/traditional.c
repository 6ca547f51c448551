#include "support/traditional/traditional.h"

#include "support/request/request.h"
#include "support/returns/returns.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/settings.h"
#include "chassis/pages/call.h"
#include "chassis/pages/team.h"
#include "chassis/web/caller.h"
#include "chassis/web/idempotency.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 4, CONNECT_MS = 1000, TOTAL_MS = 2000, RETRIES = 2, BACKOFF_MS = 50 };

static const struct step {
    const char *team, *api_path, *done, *never;
} steps[STEPS] = {
    {"sales", "/api/order-refund-requests", "refunded", "never refunded"},
    {"inventory", "/api/shipment-requests", "shipped", "never shipped"},
    {"manufacturing", "/api/disassembly-orders", "queued for disassembly", "never queued for disassembly"},
    {"accounting", "/api/asset-disposals", "charged", "never charged"},
};

struct trial {
    char return_id[RETURN_ID];
    const struct request *request;
    char *body;
    int64_t begun;
    int done;         /* so many steps are */
    json_t *called;   /* each step that was: {"team","status","tries","ms"} */
    char reason[400]; /* why the step after those failed. "" while none did */
};

json_t *traditional_words(int done) {
    buffer_auto words = BUFFER(400);
    for (int i = 0; i < done && i < STEPS; i++) buffer_format(&words, "%s%s", i ? ", " : "", steps[i].done);
    if (done < STEPS) buffer_format(&words, "%s%s", done ? "; " : "", steps[done].never);
    return json_string(words.data ? words.data : "");
}

json_t *traditional_steps(void) {
    json_t *list = json_array();
    for (int i = 0; i < STEPS; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "team", steps[i].team, "api_path", steps[i].api_path));
    return list;
}

/* --- Calling */

/* What identifies each piece, as the event has it. */
static char *body_make(const struct trial *t) {
    const struct request *q = t->request;
    json_auto_t *body = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s}", "return_id", t->return_id, "order_id", q->order_id,
        "model", q->model, "shipment_id", q->shipment_id, "serial_number", q->serial_number, "location", q->location,
        "cost", "amount", q->cost_amount, "currency", q->cost_currency, "reason_code", q->reason_code, "channel",
        "call");
    return json_dumps(body, JSON_COMPACT);
}

static void reason_of(struct trial *t, const struct step *s, const struct heard *h) {
    const char *detail = json_string_value(json_object_get(h->said, "detail"));
    const char *doubt = h->in_doubt ? "; it may have done it all the same" : "";
    if (h->status)
        snprintf(t->reason, sizeof t->reason, "%s answered %d: %.200s", s->team, h->status, detail ? detail : "");
    else
        snprintf(t->reason, sizeof t->reason, "%s did not answer: %.200s%s", s->team, h->why, doubt);
    size_t n = strlen(t->reason);
    if (t->reason[n - 1] == '.') t->reason[n - 1] = '\0'; /* it becomes part of a sentence */
}

/* A customer's data goes only where a setting says, whatever a record says of its sender. */
static bool step_call(struct exchange *x, struct trial *t, int i) {
    int64_t begun = steady_ms();
    struct heard heard = {.why = "the setting call-urls does not say where it is"};
    char site[512], url[700];
    if (*settings_call_url(runtime_core(x->context)->settings, steps[i].team, "", site, sizeof site)) {
        snprintf(url, sizeof url, "%s%s", site, steps[i].api_path);
        struct outcall o = {url, t->body, t->return_id, x->trace_parent, CONNECT_MS, TOTAL_MS, RETRIES, BACKOFF_MS};
        caller_ask(runtime_caller(x->context), &o, &heard);
    }
    bool done = heard.status / 100 == 2;
    const char *status = done ? "done" : heard.in_doubt ? "in doubt" : "failed";
    json_array_append_new(
        t->called, json_pack(
                       "{s:s, s:s, s:i, s:I}", "team", steps[i].team, "status", status, "tries", heard.tries, "ms",
                       (json_int_t)(steady_ms() - begun)));
    if (!done) reason_of(t, &steps[i], &heard);
    json_decref(heard.said);
    return done;
}

static const char *status_of(const struct trial *t) {
    bool begun = t->done > 0 || !strcmp(json_get_text(json_array_get(t->called, 0), "status"), "in doubt");
    return t->done == STEPS ? "done" : begun ? "half done" : "failed";
}

/* --- Keeping and answering */

static void trial_audit(struct exchange *x, struct connection *c, const struct trial *t) {
    char trace[TRACE_ID], summary[800];
    json_auto_t *words = traditional_words(t->done);
    snprintf(
        summary, sizeof summary, "%s: %s%s%s", status_of(t), json_string_value(words), *t->reason ? ": " : "",
        t->reason);
    audit_append(
        c, &(struct audit_row){
               .action = "call the four teams",
               .outcome = t->done == STEPS ? "handled" : "refused",
               .actor = "api",
               .return_id = t->return_id,
               .summary = summary,
               .trace_id = trace_id(x->trace_parent, trace)});
}

static json_t *trial_json(const struct trial *t) {
    return json_pack(
        "{s:s, s:s, s:I, s:O, s:o}", "return_id", t->return_id, "status", status_of(t), "ms",
        (json_int_t)(steady_ms() - t->begun), "steps", t->called, "words", traditional_words(t->done));
}

static void trial_answer(struct exchange *x, const struct trial *t) {
    json_auto_t *said = trial_json(t);
    if (t->done == STEPS) {
        x->status = 201;
        x->data = json_incref(said);
        return;
    }
    exchange_problem(x, 502, "The return is %s (%s), since %s.", status_of(t), json_get_text(said, "words"), t->reason);
    json_members(m, said)
        if (strcmp(m.name, "status") != 0) exchange_problem_member(x, m.name, json_incref(m.value));
    exchange_problem_member(x, "outcome", json_string(status_of(t)));
}

static verdict trial_store(struct exchange *x, const struct trial *t, struct failure *why) {
    struct connection *c = store_begin(runtime_core(x->context)->store);
    (void)store_run(
        c,
        "INSERT INTO traditional_return (return_id, at, customer_id, status, steps_done, failed_team, reason, ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        value_text(t->return_id), value_int(clock_ms()), value_text(t->request->customer_id), value_text(status_of(t)),
        value_int(t->done), value_text(t->done < STEPS ? steps[t->done].team : NULL),
        value_text(*t->reason ? t->reason : NULL), value_int(steady_ms() - t->begun));
    json_each(i, step, t->called)
        (void)store_run(
            c, "INSERT INTO traditional_step (return_id, step, team, status, tries, ms) VALUES (?, ?, ?, ?, ?, ?)",
            value_text(t->return_id), value_int((int64_t)i + 1), value_text(json_get_text(step, "team")),
            value_text(json_get_text(step, "status")), value_int(json_get_int(step, "tries")),
            value_int(json_get_int(step, "ms")));
    trial_audit(x, c, t);
    trial_answer(x, t);
    return exchange_commit(x, c, why);
}

static void handle(struct exchange *x, const struct request *q) {
    json_auto_t *called = json_array();
    struct trial t = {.request = q, .begun = steady_ms(), .called = called};
    struct failure why;
    return_id_make(t.return_id);
    t.body = body_make(&t);
    while (t.body && t.done < STEPS && step_call(x, &t, t.done)) t.done++;
    if (!t.body)
        exchange_problem(x, 503, "Out of memory; nothing was done. Send it again.");
    else if (trial_store(x, &t, &why) != OK)
        exchange_problem(x, 500, "What was done could not be noted: %s.", why.text);
    free(t.body);
}

static void handle_valid(struct exchange *x, const json_t *body) {
    struct request q;
    json_auto_t *errors = request_read(body, returns_reasons(x->context), &q);
    json_each(i, error, errors)
        exchange_problem_field(x, json_get_text(error, "field"), "%s", json_get_text(error, "detail"));
    if (json_array_size(errors))
        exchange_problem(x, 422, "Nobody was called: %zu of the fields cannot be accepted.", json_array_size(errors));
    else
        handle(x, &q);
}

void traditional_post(struct exchange *x) {
    static atomic_int busy;
    json_auto_t *body = comparison_on(x) ? exchange_json_object(x) : NULL;
    if (!body) return;
    if (atomic_fetch_add(&busy, 1) < (runtime_core(x->context)->settings->http_threads + 1) / 2)
        handle_valid(x, body);
    else
        exchange_busy(x, "Nobody was called: too many such returns wait for the teams already.");
    atomic_fetch_sub(&busy, 1);
}
