#include "chassis/registry.h"

#include "chassis/health.h"
#include "chassis/ids.h"
#include "chassis/log.h"
#include "chassis/metrics.h"
#include "chassis/refusal.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ANSWER_MAX = 4 * SCHEMA_BYTES_MAX, /* a schema's text, as JSON within JSON */
    BACKOFF_LEAST_MS = 100,
    BACKOFF_MOST_MS = 5000,
    REFUSED_AGAIN_MS = 10000, /* somebody may mend it on the registry's side */
    REJECTED_FOR_MS = 5000,   /* then a new ask is one more try */
    FORGOTTEN_AFTER_MS = 600000,
    IDLE_MS = 60000,
};

/* What is asked of the registry: a schema by its id, its version, or (in two requests) to register one. */
struct task {
    struct task *next;
    enum step { FETCH, VERSION, CONFIGURE, REGISTER } step;
    int32_t id;       /* FETCH, VERSION: which; REGISTER: the answer */
    char *subject;    /* NULL: FETCH and VERSION */
    const char *text; /* to register; the caller's */
    size_t text_n;

    /* The answer, under the registry's lock. */
    struct failure state; /* OK, RETRY (not yet) or REJECT, and why */
    struct schema *schema;
    int version;        /* VERSION: the answer; 0: in no subject */
    int64_t settled_at; /* when it became REJECT */
    int64_t due_at;     /* the next request, unless one is in flight */
    bool in_flight;

    /* The registry's thread alone. */
    int attempts;
    int64_t unknown_since;
    CURL *easy;
    struct curl_slist *headers;
    struct buffer answer;
    char error[CURL_ERROR_SIZE];
};

struct registry {
    struct registry_options o;
    char *url, *shown; /* shown: without a password, for people */
    char *user, *password;
    pthread_t thread;
    pthread_mutex_t lock;
    struct task *tasks;
    bool stopping;
    CURLM *multi;
    unsigned seed;
};

/* --- Requests */

static size_t answer_write(char *bytes, size_t size, size_t n, void *task) {
    struct buffer *answer = &((struct task *)task)->answer;
    buffer_bytes(answer, bytes, size * n);
    return answer->failed ? 0 : size * n; /* less than all ends the request */
}

static void task_url(const struct registry *r, const struct task *t, struct buffer *out) {
    static const char *const paths[] = {[CONFIGURE] = "/config/", [REGISTER] = "/subjects/"};
    buffer_text(out, r->url);
    if (!t->subject) {
        buffer_format(out, t->step == VERSION ? "/schemas/ids/%d/versions" : "/schemas/ids/%d", t->id);
        return;
    }
    buffer_text(out, paths[t->step]);
    buffer_percent(out, t->subject);
    if (t->step == REGISTER) buffer_text(out, "/versions");
}

/* The caller's; NULL: out of memory. */
static char *task_body(const struct task *t) {
    if (t->step == CONFIGURE) return strdup("{\"compatibility\":\"FULL_TRANSITIVE\"}");
    json_t *body = json_pack("{s:s, s:s%}", "schemaType", "AVRO", "schema", t->text, t->text_n);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

static bool headers_add(struct task *t, const char *header) {
    struct curl_slist *all = curl_slist_append(t->headers, header);
    if (all) t->headers = all;
    return all;
}

static bool request_body(struct task *t) {
    if (!t->subject) return true;
    char *body = task_body(t);
    bool made = body && headers_add(t, "Content-Type: application/vnd.schemaregistry.v1+json") &&
                headers_add(t, "Expect:") && !curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, body) &&
                !curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, t->step == CONFIGURE ? "PUT" : "POST");
    free(body);
    return made;
}

static bool request_make(struct registry *r, struct task *t) {
    struct buffer url = BUFFER(8192);
    task_url(r, t, &url);
    t->easy = curl_easy_init();
    bool made = t->easy && !url.failed &&
                headers_add(t, "Accept: application/vnd.schemaregistry.v1+json, application/json") && request_body(t) &&
                !curl_easy_setopt(t->easy, CURLOPT_URL, url.data);
    buffer_free(&url);
    if (!made) return false;
    t->answer = BUFFER(ANSWER_MAX);
    t->error[0] = '\0';
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, answer_write);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)r->o.timeout_ms);
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L); /* a name being looked up must not hold up the end */
    curl_easy_setopt(t->easy, CURLOPT_PROXY, "");      /* nor the environment's proxy get between us */
    curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (r->user) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(t->easy, CURLOPT_USERNAME, r->user);
        curl_easy_setopt(t->easy, CURLOPT_PASSWORD, r->password ? r->password : "");
    }
    return !curl_multi_add_handle(r->multi, t->easy);
}

static void request_end(struct registry *r, struct task *t) {
    if (t->easy) {
        curl_multi_remove_handle(r->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    buffer_free(&t->answer);
    t->easy = NULL;
    t->headers = NULL;
}

/* --- Answers */

/* The task waits for its next request; why is what callers are told until then. */
static void task_wait(struct registry *r, struct task *t, int64_t ms, const struct failure *why) {
    pthread_mutex_lock(&r->lock);
    t->in_flight = false;
    t->due_at = steady_ms() + ms;
    if (t->state.kind == RETRY) t->state = *why; /* a refusal stands until it is taken back */
    pthread_mutex_unlock(&r->lock);
}

/* Between half and all of a delay that doubles. */
static int64_t task_backoff(struct registry *r, struct task *t) {
    int ms = t->attempts < 6 ? BACKOFF_LEAST_MS << t->attempts : BACKOFF_MOST_MS;
    t->attempts++;
    return ms / 2 + (int)((unsigned)rand_r(&r->seed) % (unsigned)(ms / 2 + 1));
}

/* No usable answer: nothing is known, so it is asked again. */
__attribute__((format(printf, 3, 4))) static void
task_failed(struct registry *r, struct task *t, const char *format, ...) {
    char text[300];
    struct failure why;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)!fail(&why, RETRY, "waiting for the schema registry at %s: %s", r->shown, text);
    t->unknown_since = 0; /* one that was away may be a while in knowing again what it knew */
    metric_add(METRIC_registry_failures, 1);
    health_set(r->o.health, "registry", HEALTH_WAITING, "%s", why.text);
    task_wait(r, t, task_backoff(r, t), &why);
}

/* The registry's last word, for now where it is REJECT. */
static void task_settle(struct registry *r, struct task *t, struct schema *schema, const struct failure *state) {
    pthread_mutex_lock(&r->lock);
    bool news = t->state.kind != state->kind || strcmp(t->state.text, state->text) != 0;
    t->state = *state;
    t->schema = schema;
    t->in_flight = false;
    t->settled_at = steady_ms();
    t->due_at = t->subject && state->kind == REJECT ? t->settled_at + REFUSED_AGAIN_MS : INT64_MAX;
    pthread_mutex_unlock(&r->lock);
    t->attempts = 0;
    if (!news) return;
    char id[24];
    const char *done = t->subject ? "schema registered" : t->step == FETCH ? "schema fetched" : "schema version learnt";
    if (state->kind == OK)
        log_line(LOG_INFO, done, "schema_id", log_number(id, t->id), "subject", t->subject, NULL);
    else
        log_line(LOG_ERROR, state->text, "subject", t->subject, NULL);
    if (r->o.changed) r->o.changed(r->o.context);
}

/* What the registry says of its refusal, in its own words, without the Java class that some begin with. */
static const char *answer_message(const struct task *t, const json_t *answer) {
    const char *message = json_string_value(json_object_get(answer, "message"));
    if (!message) message = t->answer.data ? t->answer.data : "";
    const char *exception = strstr(message, "Exception: ");
    if (exception && strcspn(message, " ") > (size_t)(exception - message)) message = exception + strlen("Exception: ");
    return *message ? message : "no reason given";
}

static void fetched(struct registry *r, struct task *t, const json_t *answer) {
    const json_t *text = json_object_get(answer, "schema"), *type = json_object_get(answer, "schemaType");
    if (!json_is_string(text)) {
        task_failed(r, t, "its answer to schema id %d holds no \"schema\"", t->id);
        return;
    }
    struct schema *schema = NULL;
    struct failure state = {0}, why = {.text = "it is no Avro schema"};
    verdict v = REJECT;
    if (!type || (json_is_string(type) && !strcmp(json_string_value(type), "AVRO")))
        v = schema_parse(json_string_value(text), json_string_length(text), &schema, &why);
    if (v != OK) (void)!fail(&state, v, "schema id %d: %s", t->id, why.text);
    if (v == RETRY)
        task_failed(r, t, "%s", state.text);
    else
        task_settle(r, t, schema, &state);
}

/* Registries may lag behind each other, so that an id is there a moment later. */
static void fetch_unknown(struct registry *r, struct task *t) {
    int64_t now = steady_ms();
    if (!t->unknown_since) t->unknown_since = now;
    bool over = now - t->unknown_since >= r->o.unknown_id_ms;
    struct failure why;
    (void)!fail(
        &why, over ? REJECT : RETRY, "the schema registry at %s does not know the schema id %d", r->shown, t->id);
    if (over)
        task_settle(r, t, NULL, &why);
    else
        task_wait(r, t, task_backoff(r, t), &why);
}

static void registered(struct registry *r, struct task *t, const json_t *answer) {
    const json_t *id = json_object_get(answer, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) {
        task_failed(r, t, "its answer to registering \"%s\" holds no \"id\"", t->subject);
        return;
    }
    pthread_mutex_lock(&r->lock);
    t->id = (int32_t)json_integer_value(id);
    pthread_mutex_unlock(&r->lock);
    task_settle(r, t, NULL, &(struct failure){0});
}

static void publish_refused(struct registry *r, struct task *t, long status, const json_t *answer) {
    struct failure why;
    struct buffer reason = BUFFER(4000);
    refusal_write(&reason, answer_message(t, answer), t->text);
    (void)!fail(
        &why, REJECT, "the schema registry refuses the schema of \"%s\" (%ld): %s", t->subject, status,
        reason.data ? reason.data : "out of memory");
    buffer_free(&reason);
    t->step = CONFIGURE;
    task_settle(r, t, NULL, &why);
}

/* [{"subject","version"}]; one that was deleted from its subject, or is in none, has no version. */
static void version_answered(struct registry *r, struct task *t, const json_t *answer) {
    const json_t *version = json_object_get(json_array_get(answer, 0), "version");
    pthread_mutex_lock(&r->lock);
    t->version = (int)json_integer_value(version);
    pthread_mutex_unlock(&r->lock);
    task_settle(r, t, NULL, &(struct failure){0});
}

static bool answer_ok(struct registry *r, struct task *t, const json_t *answer) {
    if (t->step == VERSION) version_answered(r, t, answer);
    if (t->step == VERSION) return true;
    if (!json_is_object(answer)) return false;
    if (t->step == FETCH) {
        fetched(r, t, answer);
    } else if (t->step == REGISTER) {
        registered(r, t, answer);
    } else {
        t->step = REGISTER;
        t->attempts = 0;
        task_wait(r, t, 0, &(struct failure){RETRY, "being registered"});
    }
    return true;
}

/* That something is there already says nothing against the schema: a registry that was just started refuses so what it
 * has not read back yet. */
static bool is_refusal(const struct task *t, long status, const json_t *answer) {
    return t->step == REGISTER && (status == 409 || status == 422) &&
           !strstr(answer_message(t, answer), "already exists");
}

/* The status decides. A 404 is about the schema only if it says so as a registry does: a wrong URL gives one as well,
 * and must not get records quarantined. */
static void task_answered(struct registry *r, struct task *t, long status) {
    json_t *answer = json_loadb(t->answer.data ? t->answer.data : "", t->answer.length, JSON_ALLOW_NUL, NULL);
    json_int_t code = json_integer_value(json_object_get(answer, "error_code"));
    bool missing = status == 404 && !t->subject && (code == 404 || code / 100 == 404);
    bool refused = is_refusal(t, status, answer);
    if (missing || refused || status / 100 == 2)
        health_set(r->o.health, "registry", HEALTH_OK, "the schema registry at %s answers", r->shown);
    if (missing && t->step == VERSION)
        version_answered(r, t, NULL);
    else if (missing)
        fetch_unknown(r, t);
    else if (refused)
        publish_refused(r, t, status, answer);
    else if (status / 100 != 2 || !answer_ok(r, t, answer)) {
        const char *hint = status == 401 || status == 403 ? " (are its user and password right?)"
                           : status == 404                ? " (is its URL right?)"
                                                          : "";
        task_failed(r, t, "it answered %ld%s: %s", status, hint, answer_message(t, answer));
    }
    json_decref(answer);
}

static void task_done(struct registry *r, struct task *t, CURLcode result) {
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->answer.failed)
        task_failed(r, t, "its answer is larger than %d bytes", (int)ANSWER_MAX);
    else if (result != CURLE_OK)
        task_failed(r, t, "%s", *t->error ? t->error : curl_easy_strerror(result));
    else
        task_answered(r, t, status);
    request_end(r, t);
}

/* --- The thread */

/* An id that was rejected and is not asked for any more. Under the lock. */
static bool task_forgotten(const struct task *t, int64_t now) {
    return !t->subject && t->state.kind == REJECT && !t->in_flight && now - t->settled_at > FORGOTTEN_AFTER_MS;
}

static void task_free(struct task *t) {
    free(t->subject);
    schema_free(&t->schema);
    free(t);
}

/* The next task whose request is due, marked as in flight, or NULL; *wait_ms is how long until one is. */
static struct task *task_due(struct registry *r, int *wait_ms) {
    struct task *due = NULL;
    int64_t now = steady_ms(), next = now + IDLE_MS;
    pthread_mutex_lock(&r->lock);
    for (struct task **p = &r->tasks; *p && !due;) {
        struct task *t = *p;
        if (task_forgotten(t, now)) {
            *p = t->next;
            task_free(t);
            continue;
        }
        if (!t->in_flight && t->due_at <= now)
            due = t;
        else if (!t->in_flight && t->due_at < next)
            next = t->due_at;
        p = &t->next;
    }
    if (due) due->in_flight = true;
    pthread_mutex_unlock(&r->lock);
    *wait_ms = (int)(next - now);
    return due;
}

static bool registry_stopping(struct registry *r) {
    pthread_mutex_lock(&r->lock);
    bool stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    return stopping;
}

static void *registry_run(void *registry) {
    struct registry *r = registry;
    pthread_setname_np(pthread_self(), "registry");
    while (!registry_stopping(r)) {
        int wait_ms, running, left;
        for (struct task *t; (t = task_due(r, &wait_ms));) {
            metric_add(METRIC_registry_requests, 1);
            if (request_make(r, t)) continue;
            task_failed(r, t, "out of memory");
            request_end(r, t);
        }
        curl_multi_perform(r->multi, &running);
        bool answered = false;
        for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &left));) {
            struct task *t = NULL;
            CURLcode result = m->data.result; /* m dies with its handle */
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
            task_done(r, t, result);
            answered = true;
        }
        if (!answered) curl_multi_poll(r->multi, NULL, 0, wait_ms, NULL);
    }
    for (struct task *t = r->tasks; t; t = t->next) request_end(r, t);
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
    for (struct task *t = r->tasks, *next; t; t = next) {
        next = t->next;
        task_free(t);
    }
    if (r->multi) curl_multi_cleanup(r->multi);
    pthread_mutex_destroy(&r->lock);
    if (r->password) explicit_bzero(r->password, strlen(r->password));
    free(r->url), free(r->shown), free(r->user), free(r->password);
    free(r);
}

verdict registry_start(struct registry **out, const struct registry_options *o, struct failure *why) {
    *out = NULL;
    if (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0)
        return fail(why, FATAL, "the registry's URL \"%s\" does not begin with http:// or https://", o->url);
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, FATAL, "could not start libcurl");
    struct registry *r = calloc(1, sizeof *r);
    if (!r) return fail(why, RETRY, "could not start the registry's client: out of memory");
    pthread_mutex_init(&r->lock, NULL);
    r->o = *o;
    r->url = strdup(o->url);
    r->shown = url_shown(o->url);
    r->user = o->user ? strdup(o->user) : NULL;
    r->password = o->password ? strdup(o->password) : NULL;
    r->seed = (unsigned)steady_ms() ^ (unsigned)(uintptr_t)r;
    r->multi = curl_multi_init();
    if (r->shown) health_set(o->health, "registry", HEALTH_OK, "the schema registry at %s was not asked yet", r->shown);
    if (!r->url || !r->shown || !r->multi || pthread_create(&r->thread, NULL, registry_run, r)) {
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
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_mutex_unlock(&r->lock);
    curl_multi_wakeup(r->multi);
    pthread_join(r->thread, NULL);
    registry_free(r);
    curl_global_cleanup();
}

/* --- What callers ask; under the lock */

/* Of what is asked for by its id. The step of what is published changes without the lock. */
static struct task *task_find(const struct registry *r, enum step step, int32_t id) {
    for (struct task *t = r->tasks; t; t = t->next)
        if (!t->subject && t->step == step && t->id == id) return t;
    return NULL;
}

static struct task *task_of_text(const struct registry *r, const char *subject, const char *text) {
    for (struct task *t = r->tasks; t; t = t->next)
        if (t->text == text && t->subject && !strcmp(t->subject, subject)) return t;
    return NULL;
}

static struct task *task_add(struct registry *r, const char *reason) {
    struct task *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    (void)!fail(&t->state, RETRY, "%s", reason);
    t->next = r->tasks;
    r->tasks = t;
    return t;
}

verdict registry_schema(struct registry *r, int32_t id, const struct schema **out, struct failure *why) {
    bool wake = false;
    verdict v = RETRY;
    pthread_mutex_lock(&r->lock);
    struct task *t = task_find(r, FETCH, id);
    if (!t && (t = task_add(r, "the schema registry is being asked"))) {
        t->step = FETCH;
        t->id = id;
        wake = true;
    } else if (t && t->state.kind == REJECT && steady_ms() - t->settled_at > REJECTED_FOR_MS) {
        t->state.kind = RETRY;
        t->due_at = 0;
        wake = true;
    }
    if (t) v = t->state.kind;
    if (v == OK)
        *out = t->schema;
    else
        v = fail(why, v, "%s", t ? t->state.text : "out of memory");
    pthread_mutex_unlock(&r->lock);
    if (wake) curl_multi_wakeup(r->multi);
    return v;
}

void registry_ask_again(struct registry *r, int32_t id) {
    pthread_mutex_lock(&r->lock);
    struct task *t = task_find(r, FETCH, id);
    bool wake = t && t->state.kind == REJECT && !t->in_flight;
    if (wake) {
        t->state.kind = RETRY;
        t->due_at = 0;
    }
    pthread_mutex_unlock(&r->lock);
    if (wake) curl_multi_wakeup(r->multi);
}

int registry_version(struct registry *r, int32_t id) {
    pthread_mutex_lock(&r->lock);
    struct task *t = task_find(r, VERSION, id);
    bool wake = !t && (t = task_add(r, "the schema registry is being asked"));
    if (wake) {
        t->step = VERSION;
        t->id = id;
    }
    int version = t ? t->version : 0;
    pthread_mutex_unlock(&r->lock);
    if (wake) curl_multi_wakeup(r->multi);
    return version;
}

void registry_publish(struct registry *r, const char *subject, const char *text, size_t n) {
    char *name = strdup(subject);
    pthread_mutex_lock(&r->lock);
    struct task *t = name && !task_of_text(r, subject, text) ? task_add(r, "being registered") : NULL;
    if (t) {
        t->step = CONFIGURE;
        t->subject = name;
        t->text = text;
        t->text_n = n;
    }
    pthread_mutex_unlock(&r->lock);
    if (t)
        curl_multi_wakeup(r->multi);
    else
        free(name);
}

verdict registry_id(struct registry *r, const char *subject, const char *text, int32_t *id, struct failure *why) {
    verdict v = RETRY;
    pthread_mutex_lock(&r->lock);
    const struct task *t = task_of_text(r, subject, text);
    if (t) v = t->state.kind;
    if (v == OK)
        *id = t->id;
    else
        v = fail(why, v, "%s", t ? t->state.text : "it was not published");
    pthread_mutex_unlock(&r->lock);
    return v;
}
