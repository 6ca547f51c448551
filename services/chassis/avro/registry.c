#include "chassis/avro/registry_private.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IDLE_MS = 60000,
    LOOKUPS_MAX = 16, /* in flight at once */
};

/* --- The thread */

/* The next task whose request is due, or NULL. *wait_ms is how long until one is. Who was asked for less often goes
 * first, so that ids that hang keep nobody waiting. */
static struct task *task_due(struct registry *r, int *wait_ms) {
    struct task *due = NULL;
    int64_t now = steady_ms(), next = now + IDLE_MS;
    for (struct task *t = r->tasks; t; t = t->next) {
        if (is_lookup(t) && r->lookups >= LOOKUPS_MAX) continue;
        if (t->due_at > now)
            next = t->due_at < next ? t->due_at : next;
        else if (!due || !is_lookup(t) || (is_lookup(due) && t->attempts < due->attempts))
            due = t;
    }
    *wait_ms = (int)(next - now);
    return due;
}

/* Asks for all that is due. Returns how long until something is. */
static int tasks_ask(struct registry *r) {
    int wait_ms;
    for (struct task *t; (t = task_due(r, &wait_ms));) {
        t->asked_at = steady_ms();
        t->due_at = NEVER;
        metric_add(METRIC_registry_requests, 1);
        if (request_make(r, t)) continue;
        request_end(r, t);
        task_wait(r, t, task_backoff(r, t), "out of memory");
    }
    return wait_ms;
}

static void task_done(struct registry *r, struct task *t, CURLcode result) {
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->unanswered = result != CURLE_OK && !t->answer.failed;
    if (t->answer.failed)
        task_failed(r, t, "its answer is larger than %d bytes", (int)ANSWER_MAX);
    else if (result != CURLE_OK)
        task_failed(r, t, "%s", *t->reason ? t->reason : curl_easy_strerror(result));
    else
        task_answered(r, t, status);
    request_end(r, t);
    tasks_bound(r, NULL);
}

static void *registry_run(void *registry) {
    struct registry *r = registry;
    int running, left;
    pthread_mutex_lock(&r->worker.lock);
    while (!r->worker.stopping) {
        int wait_ms = tasks_ask(r);
        bool news = r->news;
        r->news = false;
        pthread_mutex_unlock(&r->worker.lock);
        if (news && r->o.changed) r->o.changed(r->o.context);
        curl_multi_poll(r->multi, NULL, 0, wait_ms, NULL);
        curl_multi_perform(r->multi, &running);
        pthread_mutex_lock(&r->worker.lock);
        for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &left));) {
            struct task *t = NULL;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
            task_done(r, t, m->data.result);
        }
    }
    for (struct task *t = r->tasks; t; t = t->next) request_end(r, t);
    pthread_mutex_unlock(&r->worker.lock);
    return NULL;
}

/* --- Start and stop */

/* http://user:secret@host → http://host */
static char *url_shown(const char *url) {
    char *shown = strdup(url), *host = shown ? strstr(shown, "://") : NULL;
    if (!host) return shown;
    host += 3;
    char *end = host + strcspn(host, "/?#"), *at = memrchr(host, '@', (size_t)(end - host));
    if (at) memmove(host, at + 1, strlen(at + 1) + 1);
    return shown;
}

static void registry_free(struct registry *r) {
    for (struct task *t; (t = r->tasks);) {
        r->tasks = t->next;
        task_free(t);
    }
    if (r->multi) curl_multi_cleanup(r->multi);
    if (r->login) explicit_bzero(r->login, strlen(r->login));
    free(r->login);
    free(r->url);
    free(r->shown);
    free(r);
}

verdict registry_start(struct registry **out, const struct registry_options *o, struct failure *why) {
    *out = NULL;
    if (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0)
        return fail(why, FATAL, "the registry's URL \"%s\" does not begin with http:// or https://", o->url);
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, FATAL, "could not start libcurl");
    struct registry *r = calloc(1, sizeof *r);
    if (!r) return fail(why, RETRY, "could not start the registry's client: out of memory");
    r->o = *o;
    r->url = strdup(o->url);
    r->shown = url_shown(o->url);
    bool kept = !o->user || asprintf(&r->login, "%s:%s", o->user, o->password ? o->password : "") >= 0;
    r->seed = (unsigned)steady_ms() ^ (unsigned)(uintptr_t)r;
    r->multi = curl_multi_init();
    r->witness = task_add(r, WITNESS, NO_SUCH_ID, NULL, "not asked");
    if (r->witness) r->witness->due_at = NEVER;
    if (r->shown) health_set(o->health, "registry", HEALTH_OK, "the schema registry at %s was not asked yet", r->shown);
    if (!kept || !r->url || !r->shown || !r->multi || !r->witness ||
        !worker_start(&r->worker, "registry", registry_run, r)) {
        registry_free(r);
        return fail(why, RETRY, "could not start the registry's client: out of memory or threads");
    }
    *out = r;
    return OK;
}

void registry_stop(struct registry **registry) {
    struct registry *r = *registry;
    if (!r) return;
    *registry = NULL;
    worker_end(&r->worker);
    curl_multi_wakeup(r->multi);
    worker_stop(&r->worker);
    registry_free(r);
    curl_global_cleanup();
}

/* --- What callers ask */

int64_t patience_left(const struct patience *p) {
    if (!p || !p->since) return INT64_MAX;
    int64_t left = p->left_ms - (steady_ms() - p->since);
    return left > 0 ? left : 0;
}

/* True: it has none left for this one. */
static bool patience_use(struct patience *p, const struct task *t) {
    if (!p) return false;
    bool doubted = t->state.kind == RETRY && t->doubted_since;
    if (p->since && !doubted) *p = (struct patience){.left_ms = patience_left(p)};
    if (doubted && !p->since) p->since = steady_ms();
    return doubted && !patience_left(p);
}

verdict
registry_schema(struct registry *r, int32_t id, struct patience *patience, struct schema **out, struct failure *why) {
    lock_auto(&r->worker.lock);
    const struct task *t = task_lookup(r, FETCH, id, NULL, true);
    if (!t) return fail(why, RETRY, "out of memory");
    verdict v = patience_use(patience, t) ? REJECT : t->state.kind;
    if (v != OK) return fail(why, v, "%s", t->state.text);
    *out = schema_share(t->schema);
    return OK;
}

void registry_want(struct registry *r, int32_t id) {
    lock_auto(&r->worker.lock);
    (void)task_lookup(r, FETCH, id, NULL, false);
}

void registry_ask_again(struct registry *r, int32_t id) {
    lock_auto(&r->worker.lock);
    struct task *t = task_find(r, FETCH, id, NULL);
    if (t && t->state.kind == REJECT) task_again(r, t);
}

int registry_version(struct registry *r, int32_t id) {
    lock_auto(&r->worker.lock);
    const struct task *t = task_lookup(r, VERSION, id, NULL, false);
    return t ? t->version : 0;
}

static struct task *task_of_text(const struct registry *r, const char *subject, const char *text) {
    struct task *t = r->tasks;
    while (t && (t->text != text || strcmp(t->subject, subject) != 0)) t = t->next;
    return t;
}

void registry_publish(struct registry *r, const char *subject, const char *text, size_t n) {
    lock_auto(&r->worker.lock);
    struct task *t = task_of_text(r, subject, text) ? NULL : task_add(r, CONFIGURE, 0, subject, "being registered");
    if (!t) return;
    t->text = text;
    t->text_n = n;
}

verdict registry_id(struct registry *r, const char *subject, const char *text, int32_t *id, struct failure *why) {
    lock_auto(&r->worker.lock);
    const struct task *t = task_of_text(r, subject, text);
    if (!t) return fail(why, RETRY, "it was not published");
    if (t->state.kind != OK) return fail(why, t->state.kind, "%s", t->state.text);
    *id = t->id;
    return OK;
}
