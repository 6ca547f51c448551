#include "support/reconcile/reconcile_view.h"

#include "support/load/job.h"
#include "support/reconcile/reconcile.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/base/wait.h"
#include "chassis/pages/team.h"
#include "chassis/web/idempotency.h"

#include <stdio.h>

enum { SHOWN = 50 };

/* One for the process, as there is one support in it. */
static void reconcile(void);
static struct job job = JOB("reconcile", reconcile); /* its lock guards all that follows but the progress */
static struct {
    const struct settings *settings;
    json_t *result; /* NULL: none yet. Never changed once it is here */
    char error[512];
    struct reconcile_progress progress;
} run = {.progress.stop = &job.stopping};

/* --- The thread */

static void reconcile(void) {
    struct failure why = {0};
    json_t *result = NULL;
    verdict v = reconcile_run(run.settings, &run.progress, &result, &why);
    lock_auto(&job.lock);
    snprintf(run.error, sizeof run.error, "%s", v == OK ? "" : why.text);
    if (v != OK) return;
    json_decref(run.result);
    run.result = result;
}

void reconcile_stop(struct runtime *rt) {
    job_stop(&job, rt);
    lock_auto(&job.lock);
    json_decref(run.result);
    run.result = NULL;
}

/* --- Asking for one */

static json_t *run_json(void) {
    const char *doing = run.progress.doing;
    lock_auto(&job.lock);
    return json_pack(
        "{s:b, s:s?, s:I, s:s?, s:O?}", "running", job.running, "doing", job.running ? doing : NULL, "records",
        job.running ? (json_int_t)run.progress.records : (json_int_t)0, "error", *run.error ? run.error : NULL,
        "result", run.result);
}

static void run_clear(const struct settings *settings, const char *error) {
    lock_auto(&job.lock);
    run.settings = settings;
    run.progress.records = 0;
    run.progress.doing = NULL;
    snprintf(run.error, sizeof run.error, "%s", error);
}

static verdict start_audit(struct exchange *x, struct failure *why) {
    struct connection *c = store_begin(runtime_core(x->context)->store);
    char trace[TRACE_ID];
    audit_append(
        c, &(struct audit_row){
               .action = "reconcile",
               .outcome = "accepted",
               .actor = x->api ? "api" : "form",
               .summary = "what was published with what each team did",
               .trace_id = trace_id(x->trace_parent, trace)});
    if (x->api)
        x->status = 202, x->data = run_json();
    else
        exchange_redirect(x, "/reconciliation");
    return exchange_commit(x, c, why);
}

void reconcile_post(struct exchange *x) {
    struct failure why;
    if (!job_claim(&job, x->context)) {
        exchange_problem(x, 409, "Nothing was started: a run is under way. /reconciliation says how far it is.");
        return;
    }
    run_clear(runtime_core(x->context)->settings, "");
    verdict v = start_audit(x, &why);
    if (v != OK) exchange_problem(x, 503, "Nothing was started: %s.", why.text);
    if (!job_start(&job, v == OK) && v == OK)
        run_clear(runtime_core(x->context)->settings, "the service has no thread for it");
}

/* --- The page */

static void team_view(json_t *team) {
    bool fits = json_is_true(json_object_get(team, "fits")), late = json_get_int(team, "late");
    json_add(
        team, "{s:s, s:s}", "state",
        !fits  ? "does not fit"
        : late ? "late"
               : "fits",
        "tone",
        !fits  ? "bad"
        : late ? "wait"
               : "ok");
}

/* Offset 0 is a place as well. */
static void finding_view(json_t *finding) {
    long long partition = json_get_int(finding, "partition"), offset = json_get_int(finding, "offset");
    bool has_offset = json_is_integer(json_object_get(finding, "offset"));
    if (!json_is_integer(json_object_get(finding, "partition"))) return;
    json_object_set_new(
        finding, "place",
        has_offset ? json_sprintf("[%lld]@%lld", partition, offset) : json_sprintf("[%lld]", partition));
}

static json_t *types_json(const json_t *types) {
    json_t *list = json_array();
    json_members(m, (json_t *)types) json_array_append_new(list, json_pack("{s:s, s:O}", "type", m.name, "n", m.value));
    return list;
}

static void result_view(json_t *result) {
    json_t *findings = json_object_get(result, "findings");
    json_int_t all = (json_int_t)json_array_size(findings) + json_get_int(result, "more");
    json_each(i, team, json_object_get(result, "teams")) team_view(team);
    while (json_array_size(findings) > SHOWN) json_array_remove(findings, json_array_size(findings) - 1);
    json_each(i, finding, findings) finding_view(finding);
    json_add(
        result, "{s:o, s:I, s:I}", "types", types_json(json_object_get(result, "types")), "findings_n", all, "unlisted",
        all - (json_int_t)json_array_size(findings));
}

void reconcile_get(struct exchange *x) {
    x->data = run_json();
    if (x->api) return;
    json_t *result = json_deep_copy(json_object_get(x->data, "result"));
    if (json_is_object(result)) result_view(result);
    json_add(
        x->data, "{s:o?, s:s, s:s}", "result", result, "heading", "Reconciliation", "api_url", "/api/reconciliation");
}
