#include "support/reconcile/reconcile_view.h"

#include "support/form/view.h"
#include "support/reconcile/reconcile.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"
#include "chassis/web/idempotency.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 50 };

/* One for the process, as there is one support in it. */
static struct {
    pthread_mutex_t lock; /* guards all that follows but the progress */
    pthread_t thread;
    bool started, running, stopping; /* started: the thread has not been joined yet */
    const struct settings *settings;
    json_t *result; /* NULL: none yet; never changed once it is here */
    char error[512];
    struct reconcile_progress progress;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- The thread */

static void *reconcile(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "reconcile");
    struct failure why = {0};
    json_t *result = NULL;
    verdict v = reconcile_run(run.settings, &run.progress, &result, &why);
    pthread_mutex_lock(&run.lock);
    snprintf(run.error, sizeof run.error, "%s", v == OK ? "" : why.text);
    if (v == OK) {
        json_decref(run.result);
        run.result = result;
    }
    run.running = false;
    pthread_mutex_unlock(&run.lock);
    return NULL;
}

static bool run_claim(void) {
    pthread_mutex_lock(&run.lock);
    bool claimed = !run.running && !run.stopping;
    if (claimed) run.running = true;
    pthread_mutex_unlock(&run.lock);
    return claimed;
}

/* What was claimed; or gives it back. */
static void run_start(const struct runtime *rt, bool wanted) {
    pthread_mutex_lock(&run.lock);
    run.running = false;
    if (wanted && !run.stopping) {
        if (run.started) pthread_join(run.thread, NULL); /* it has ended */
        run.settings = runtime_core(rt)->settings;
        run.progress.records = 0;
        run.progress.doing = NULL;
        run.error[0] = '\0';
        run.running = run.started = !pthread_create(&run.thread, NULL, reconcile, NULL);
        if (!run.running) snprintf(run.error, sizeof run.error, "the service has no thread for it");
    }
    pthread_mutex_unlock(&run.lock);
}

void reconcile_stop(struct runtime *rt) {
    (void)rt;
    pthread_mutex_lock(&run.lock);
    bool started = run.started;
    run.stopping = run.progress.stop = true;
    run.started = false;
    pthread_mutex_unlock(&run.lock);
    if (started) pthread_join(run.thread, NULL);
    pthread_mutex_lock(&run.lock);
    json_decref(run.result);
    run.result = NULL;
    run.stopping = run.progress.stop = false;
    pthread_mutex_unlock(&run.lock);
}

/* --- Asking for one */

static json_t *run_json(void) {
    const char *doing = run.progress.doing;
    pthread_mutex_lock(&run.lock);
    json_t *data = json_pack(
        "{s:b, s:s?, s:I, s:s?, s:O?}", "running", run.running, "doing", run.running ? doing : NULL, "records",
        run.running ? (json_int_t)run.progress.records : (json_int_t)0, "error", *run.error ? run.error : NULL,
        "result", run.result);
    pthread_mutex_unlock(&run.lock);
    return data;
}

static verdict start_audit(struct exchange *x, struct failure *why) {
    const struct runtime *rt = x->context;
    struct connection *c = store_begin(runtime_core(rt)->store);
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
    if (!run_claim()) {
        exchange_problem(x, 409, "Nothing was started: a run is under way. /reconciliation says how far it is.");
        return;
    }
    verdict v = start_audit(x, &why);
    run_start(x->context, v == OK);
    if (v != OK) exchange_problem(x, 503, "Nothing was started: %s.", why.text);
}

/* --- The page */

static void team_view(json_t *team) {
    char age[DURATION_TEXT];
    bool fits = json_is_true(json_object_get(team, "fits"));
    int64_t late = json_integer_value(json_object_get(team, "late"));
    page_add_moment(team, "counted_at", "counted");
    json_object_set_new(team, "state", json_string(!fits ? "does not fit" : late ? "late" : "fits"));
    json_object_set_new(team, "tone", json_string(!fits ? "bad" : late ? "wait" : "ok"));
    if (late)
        json_object_set_new(
            team, "age", json_string(duration_text(json_integer_value(json_object_get(team, "oldest_ms")), age)));
}

static void finding_view(json_t *finding) {
    const json_t *partition = json_object_get(finding, "partition"), *offset = json_object_get(finding, "offset");
    const char *id = json_get_text(finding, "return_id");
    if (json_is_integer(offset))
        json_object_set_new(
            finding, "place",
            json_sprintf(
                "[%lld]@%lld", (long long)json_integer_value(partition), (long long)json_integer_value(offset)));
    else if (json_is_integer(partition))
        json_object_set_new(finding, "place", json_sprintf("[%lld]", (long long)json_integer_value(partition)));
    if (*id) json_object_set_new(finding, "url", view_url("/returns/", id));
}

static void types_view(json_t *result) {
    json_t *list = json_array(), *n;
    const char *type;
    json_object_foreach(json_object_get(result, "types"), type, n) {
        const char *dot = strrchr(type, '.');
        json_array_append_new(list, json_pack("{s:s, s:O}", "type", dot ? dot + 1 : type, "n", n));
    }
    json_object_set_new(result, "types", list);
}

static void result_view(json_t *result) {
    json_t *findings = json_object_get(result, "findings"), *one;
    size_t i, all = json_array_size(findings) + (size_t)json_integer_value(json_object_get(result, "more"));
    page_add_moment(result, "at", "moment");
    types_view(result);
    json_array_foreach(json_object_get(result, "teams"), i, one) team_view(one);
    while (json_array_size(findings) > SHOWN) json_array_remove(findings, json_array_size(findings) - 1);
    json_array_foreach(findings, i, one) finding_view(one);
    json_object_set_new(result, "findings_n", json_integer((json_int_t)all));
    json_object_set_new(result, "unlisted", json_integer((json_int_t)(all - json_array_size(findings))));
}

void reconcile_get(struct exchange *x) {
    x->data = run_json();
    if (x->api) return;
    json_t *result = json_deep_copy(json_object_get(x->data, "result"));
    if (json_is_object(result)) result_view(result);
    json_object_set_new(x->data, "result", result);
    json_object_set_new(x->data, "heading", json_string("Reconciliation"));
    json_object_set_new(x->data, "api_url", json_string("/api/reconciliation"));
}
