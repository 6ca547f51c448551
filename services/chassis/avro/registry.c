#include "chassis/avro/registry.h"

#include "chassis/avro/refusal.h"
#include "chassis/base/health.h"
#include "chassis/base/http_request.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"

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
    IDLE_MS = 60000,
    LOOKUPS_MAX = 16,     /* in flight at once */
    WAITING_MAX = 400,    /* lookups without an answer, besides those that hold a record up */
    KEPT_MAX = 1000,      /* answers that are kept, */
    KEPT_BYTES = 1 << 25, /* and what they take */
    SUBJECT_MAX = 1000,   /* a reference's */
    NO_SUCH_ID = INT32_MAX,
};

/* What is asked of the registry: a schema by its id, its version, one that another refers to, the witness, or (in two
 * requests) to register one. */
struct task {
    struct task *next;
    enum step { FETCH, VERSION, CONFIGURE, REGISTER, REFERENCE, WITNESS } step;
    int32_t id;       /* FETCH, VERSION, WITNESS: which; REFERENCE: its version; REGISTER: the answer */
    char *subject;    /* to register under; NULL: it is looked up */
    char *referenced; /* REFERENCE: the subject */
    const char *text; /* to register; the caller's */
    size_t text_n;

    /* The answer, under the registry's lock. */
    struct failure state; /* OK, RETRY (not yet) or REJECT, and why */
    struct schema *schema;
    int version;        /* VERSION: the answer; 0: in no subject */
    int64_t settled_at; /* when it became REJECT */
    uint64_t used;      /* when it was asked for last, counted in uses */
    int64_t due_at;     /* the next request, unless one is in flight */
    bool in_flight;
    int64_t doubted_since; /* 0: it is not */

    /* The registry's thread alone. */
    int attempts;
    int64_t asked_at;
    int confirmations; /* how often the witness has yet to be answered before its failure counts; 0: none is open */
    json_t *said;      /* FETCH that waits for references, REFERENCE: what of the answer is needed */
    bool awaits;       /* FETCH: references are being asked for */
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
    uint64_t uses;
    bool stopping;
    CURLM *multi;
    unsigned seed;
    struct task *witness;
    bool witness_known; /* it is an id that was given or taken before */
    int lookups;        /* in flight */
};

static bool is_lookup(const struct task *t) {
    return t->step == FETCH || t->step == VERSION || t->step == REFERENCE;
}

/* A reader waits for it. */
static bool is_doubtful(const struct task *t) {
    return t->step == FETCH || t->step == REFERENCE;
}

/* Others put new ones before it, and only the registry's thread takes any away. */
static struct task *tasks_first(struct registry *r) {
    pthread_mutex_lock(&r->lock);
    struct task *first = r->tasks;
    pthread_mutex_unlock(&r->lock);
    return first;
}

/* --- What is kept */

static void task_free(struct task *t) {
    free(t->subject);
    free(t->referenced);
    json_decref(t->said);
    schema_free(&t->schema);
    free(t);
}

static size_t task_bytes(const struct task *t) {
    size_t said = json_string_length(json_object_get(t->said, "schema")) +
                  json_array_size(json_object_get(t->said, "references")) * SUBJECT_MAX;
    return sizeof *t + said + (t->schema ? schema_bytes(t->schema) : 0);
}

/* Lets go of the answers that were used longest ago, until what is kept is within its bounds; never of `spared`, nor of
 * one whose request is not at its end. */
static void tasks_bound(struct registry *r, const struct task *spared) {
    pthread_mutex_lock(&r->lock);
    for (;;) {
        size_t n = 0, bytes = 0;
        struct task **oldest = NULL;
        for (struct task **p = &r->tasks; *p; p = &(*p)->next) {
            const struct task *t = *p;
            if (!is_lookup(t) || t->in_flight || t->state.kind == RETRY || t->easy || t == spared) continue;
            n++, bytes += task_bytes(t);
            if (!oldest || t->used < (*oldest)->used) oldest = p;
        }
        if (n <= KEPT_MAX && bytes <= KEPT_BYTES) break;
        struct task *t = *oldest;
        *oldest = t->next;
        task_free(t);
    }
    pthread_mutex_unlock(&r->lock);
}

/* --- Requests */

static void task_url(const struct registry *r, const struct task *t, struct buffer *out) {
    static const char *const paths[] = {[CONFIGURE] = "/config/", [REGISTER] = "/subjects/"};
    buffer_text(out, r->url);
    if (t->step == REFERENCE) {
        buffer_text(out, "/subjects/");
        buffer_percent(out, t->referenced);
        buffer_format(out, "/versions/%d", t->id);
        return;
    }
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
                http_request_set(t->easy, url.data, r->o.timeout_ms, t->headers, &t->answer);
    buffer_free(&url);
    if (!made) return false;
    t->answer = BUFFER(ANSWER_MAX);
    t->error[0] = '\0';
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L); /* a name being looked up must not hold up the end */
    if (r->user) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(t->easy, CURLOPT_USERNAME, r->user);
        curl_easy_setopt(t->easy, CURLOPT_PASSWORD, r->password ? r->password : "");
    }
    return !curl_multi_add_handle(r->multi, t->easy);
}

static void request_end(struct registry *r, struct task *t) {
    if (t->easy && is_lookup(t)) r->lookups--;
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

static bool task_over(const struct registry *r, const struct task *t) {
    return t->doubted_since && steady_ms() - t->doubted_since >= r->o.unknown_id_ms;
}

/* The task waits for its next request, which is not put off beyond the end of a doubt; why is what callers are told
 * until then. */
static void task_wait(struct registry *r, struct task *t, int64_t ms, const struct failure *why) {
    pthread_mutex_lock(&r->lock);
    int64_t now = steady_ms(), left = t->doubted_since + r->o.unknown_id_ms - now;
    if (t->doubted_since && left > 0 && ms > left) ms = left;
    t->in_flight = false;
    t->due_at = now + ms;
    if (t->state.kind == RETRY) t->state = *why; /* a refusal stands until it is taken back */
    pthread_mutex_unlock(&r->lock);
}

/* Between half and all of a delay that doubles. */
static int64_t task_backoff(struct registry *r, struct task *t) {
    int ms = t->attempts < 6 ? BACKOFF_LEAST_MS << t->attempts : BACKOFF_MOST_MS;
    t->attempts++;
    return ms / 2 + (int)((unsigned)rand_r(&r->seed) % (unsigned)(ms / 2 + 1));
}

static void witness_call(struct registry *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->witness->in_flight) r->witness->due_at = 0;
    pthread_mutex_unlock(&r->lock);
}

/* What the registry gave or took is known to it, and is asked for as evidence that it is well. */
static void witness_set(struct registry *r, int32_t id) {
    pthread_mutex_lock(&r->lock);
    if (!r->witness->in_flight) r->witness->id = id, r->witness_known = true;
    pthread_mutex_unlock(&r->lock);
}

/* The registry is away, or not well: what it said of ids before says nothing, as one that was away may be a while in
 * knowing again what it knew. */
static void doubts_end(struct registry *r) {
    pthread_mutex_lock(&r->lock);
    for (struct task *t = r->tasks; t; t = t->next) {
        t->doubted_since = 0;
        if (!t->confirmations) continue;
        t->confirmations = 0;
        t->in_flight = false;
        t->due_at = steady_ms() + task_backoff(r, t);
    }
    pthread_mutex_unlock(&r->lock);
}

/* The registry's last word, for now where it is REJECT. */
static void task_settle(struct registry *r, struct task *t, struct schema *schema, const struct failure *state) {
    pthread_mutex_lock(&r->lock);
    bool news = t->state.kind != state->kind || strcmp(t->state.text, state->text) != 0;
    t->state = *state;
    t->schema = schema;
    t->in_flight = t->awaits = false;
    if (state->kind == OK) t->doubted_since = 0;
    t->settled_at = steady_ms();
    t->due_at = t->subject && state->kind == REJECT ? t->settled_at + REFUSED_AGAIN_MS : INT64_MAX;
    pthread_mutex_unlock(&r->lock);
    t->attempts = 0;
    if (!news || (t->step == VERSION && state->kind == REJECT)) return;
    char id[24];
    const char *done = t->subject           ? "schema registered"
                       : t->step == VERSION ? "schema version learnt"
                                            : "schema fetched";
    if (t->step == REFERENCE) return; /* whoever refers to it says so */
    if (state->kind == OK)
        log_line(LOG_INFO, done, "schema_id", log_number(id, t->id), "subject", t->subject, NULL);
    else
        log_line(LOG_ERROR, state->text, "subject", t->subject, NULL);
    if (r->o.changed) r->o.changed(r->o.context);
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
    metric_add(METRIC_registry_failures, 1);
    if (is_doubtful(t)) { /* it stays in flight until the witness is heard */
        pthread_mutex_lock(&r->lock);
        if (t->state.kind == RETRY && !t->doubted_since) t->state = why;
        pthread_mutex_unlock(&r->lock);
        t->confirmations = 2 + (int)((unsigned)rand_r(&r->seed) % 2);
        witness_call(r);
        return;
    }
    if (t->step == VERSION) { /* whoever wants to know it asks again */
        why.kind = REJECT;
        task_settle(r, t, NULL, &why);
        return;
    }
    health_set(r->o.health, "registry", HEALTH_WAITING, "%s", why.text);
    if (t->step == WITNESS) doubts_end(r);
    task_wait(r, t, t->step == WITNESS ? INT32_MAX : task_backoff(r, t), &why);
}

/* What the registry says of its refusal, in its own words, without the Java class that some begin with. */
static const char *answer_message(const struct task *t, const json_t *answer) {
    const char *message = json_string_value(json_object_get(answer, "message"));
    if (!message) message = t->answer.data ? t->answer.data : "";
    const char *exception = strstr(message, "Exception: ");
    if (exception && strcspn(message, " ") > (size_t)(exception - message)) message = exception + strlen("Exception: ");
    return *message ? message : "no reason given";
}

/* --- Doubts */

static void references_changed(struct registry *r);

/* True: news to whoever waits for it, whose patience may be at its end. */
static bool doubt_begin(struct registry *r, struct task *t) {
    pthread_mutex_lock(&r->lock);
    bool news = !t->doubted_since;
    if (news) t->doubted_since = t->asked_at;
    pthread_mutex_unlock(&r->lock);
    return news;
}

/* The registry answers, and not with this: once that has lasted, it is the last word. */
static void task_doubt(struct registry *r, struct task *t, const char *text) {
    struct failure why;
    bool over = task_over(r, t); /* never by its first answer */
    (void)!fail(&why, over ? REJECT : RETRY, "%s", text);
    if (over) {
        task_settle(r, t, NULL, &why);
        return;
    }
    bool news = doubt_begin(r, t);
    task_wait(r, t, task_backoff(r, t), &why);
    if (news && r->o.changed) r->o.changed(r->o.context);
}

/* Registries may lag behind each other, so that an id is there a moment later. */
static void lookup_unknown(struct registry *r, struct task *t) {
    char text[400];
    if (t->step == FETCH)
        snprintf(text, sizeof text, "the schema registry at %s does not know the schema id %d", r->shown, t->id);
    else
        snprintf(
            text, sizeof text, "the schema registry at %s does not know version %d of \"%.100s\"", r->shown, t->id,
            t->referenced);
    task_doubt(r, t, text);
    if (t->step == REFERENCE) references_changed(r);
}

/* The witness was answered rightly: so what failed before failed by itself. */
static void witness_heard(struct registry *r) {
    bool more = false;
    static const char waiting[] = "waiting for the schema registry at ";
    for (struct task *t = tasks_first(r); t; t = t->next) {
        if (!t->confirmations || --t->confirmations) {
            more |= t->confirmations > 0;
            continue;
        }
        char text[sizeof t->state.text];
        const char *said = t->state.text;
        if (!strncmp(said, waiting, strlen(waiting)) && (said = strstr(said, ": "))) said += 2;
        snprintf(
            text, sizeof text, "the schema registry at %s answers others, and to %s %d: %.300s", r->shown,
            t->step == FETCH ? "schema id" : "a reference's version", t->id, said ? said : "");
        if (strstr(t->state.text, "answers others, and to")) snprintf(text, sizeof text, "%s", t->state.text);
        task_doubt(r, t, text);
    }
    references_changed(r);
    task_wait(r, r->witness, more ? 0 : INT32_MAX, &(struct failure){.kind = RETRY});
}

static void answer_failed(struct registry *r, struct task *t, long status, const json_t *answer) {
    const char *hint = status == 401 || status == 403 ? " (are its user and password right?)"
                       : status == 404                ? " (is its URL right?)"
                                                      : "";
    task_failed(r, t, "it answered %ld%s: %s", status, hint, answer_message(t, answer));
}

static void witness_answered(struct registry *r, struct task *t, bool missing, long status, const json_t *answer) {
    bool given = status / 100 == 2 && json_is_string(json_object_get(answer, "schema"));
    if (r->witness_known ? given : given || missing) {
        health_set(r->o.health, "registry", HEALTH_OK, "the schema registry at %s answers", r->shown);
        witness_heard(r);
    } else if (missing) {
        task_failed(r, t, "it does not know the schema id %d any more", t->id);
    } else {
        answer_failed(r, t, status, answer);
    }
}

/* --- Schemas */

static bool is_avro(const json_t *answer) {
    const json_t *type = json_object_get(answer, "schemaType");
    return !type || json_is_null(type) || (json_is_string(type) && !strcmp(json_string_value(type), "AVRO"));
}

/* Nothing larger is kept, not even until its references are there. */
static verdict answer_readable(const json_t *answer, struct failure *why) {
    size_t n = json_string_length(json_object_get(answer, "schema"));
    if (!is_avro(answer)) return fail(why, REJECT, "it is no Avro schema");
    if (n <= SCHEMA_BYTES_MAX) return OK;
    return fail(why, REJECT, "the schema has %zu bytes; at most %d are read", n, (int)SCHEMA_BYTES_MAX);
}

enum { REFERENCES_MAX = 64, REFERENCES_DEEP = 16 };

/* What is needed of it while references are missing. NULL: out of memory. */
static json_t *answer_keep(const json_t *answer) {
    json_t *references = json_array(), *all = json_object_get(answer, "references");
    for (size_t i = 0; i < json_array_size(all) && i <= REFERENCES_MAX; i++) {
        json_t *one = json_array_get(all, i), *subject = json_object_get(one, "subject"),
               *version = json_object_get(one, "version");
        if (json_string_length(subject) > SUBJECT_MAX || !json_is_string(subject)) subject = NULL;
        if (!json_is_integer(version)) version = NULL;
        one = json_pack("{s:O?, s:O?}", "subject", subject, "version", version);
        if (!one || json_array_append_new(references, one)) {
            json_decref(references);
            return NULL;
        }
    }
    return references ? json_pack("{s:O, s:o}", "schema", json_object_get(answer, "schema"), "references", references)
                      : NULL;
}

static struct task *task_add(struct registry *r, const char *reason);

static struct task *reference_find(struct registry *r, const char *subject, json_int_t version) {
    for (struct task *t = tasks_first(r); t; t = t->next)
        if (t->step == REFERENCE && t->id == version && !strcmp(t->referenced, subject)) return t;
    return NULL;
}

static struct task *reference_add(struct registry *r, const char *subject, json_int_t version) {
    char *name = strdup(subject);
    pthread_mutex_lock(&r->lock);
    struct task *t = name ? task_add(r, "the schema registry is being asked") : NULL;
    if (t) t->step = REFERENCE, t->referenced = name, t->id = (int32_t)version, t->used = ++r->uses;
    pthread_mutex_unlock(&r->lock);
    if (!t) free(name);
    return t;
}

static void reference_again(struct registry *r, struct task *t) {
    pthread_mutex_lock(&r->lock);
    t->state.kind = RETRY;
    t->due_at = 0;
    pthread_mutex_unlock(&r->lock);
}

/* The texts of a schema, each behind those that it refers to. */
struct gathered {
    struct registry *r;
    struct schema_text texts[REFERENCES_MAX + 1];
    const struct task *of[REFERENCES_MAX + 1];
    const struct task *path[REFERENCES_DEEP]; /* from the schema to where the search is */
    size_t n, deep, bytes;
    bool missing, doubted;
};

static verdict references_gather(struct gathered *g, const json_t *answer, struct failure *why);

/* text: NULL while it is missing. */
static verdict reference_take(struct gathered *g, const struct task *t, const json_t *text, struct failure *why) {
    if (g->n == REFERENCES_MAX) return fail(why, REJECT, "it has more than %d references", REFERENCES_MAX);
    g->bytes += json_string_length(text);
    if (g->bytes > SCHEMA_BYTES_MAX)
        return fail(why, REJECT, "its references have more than the %d bytes that are read", (int)SCHEMA_BYTES_MAX);
    g->of[g->n] = t;
    g->texts[g->n++] = (struct schema_text){json_string_value(text), json_string_length(text)};
    return OK;
}

static verdict reference_gather(struct gathered *g, const json_t *reference, struct failure *why) {
    const char *subject = json_string_value(json_object_get(reference, "subject"));
    json_int_t version = json_integer_value(json_object_get(reference, "version"));
    if (!subject || strlen(subject) > SUBJECT_MAX || version < 1 || version > INT32_MAX)
        return fail(why, REJECT, "one of its references names no subject and version");
    struct task *t = reference_find(g->r, subject, version);
    if (!t) t = reference_add(g->r, subject, version);
    if (!t) return fail(why, RETRY, "out of memory");
    for (size_t i = 0; i < g->n; i++)
        if (g->of[i] == t) return OK; /* two refer to it */
    for (size_t i = 0; i < g->deep; i++)
        if (g->path[i] == t) return fail(why, REJECT, "its reference \"%.100s\" refers to itself", subject);
    if (t->state.kind == REJECT && steady_ms() - t->settled_at > REJECTED_FOR_MS) reference_again(g->r, t);
    if (t->state.kind == REJECT) return fail(why, REJECT, "its reference \"%.100s\": %s", subject, t->state.text);
    g->doubted |= t->doubted_since != 0;
    g->missing |= t->state.kind != OK;
    if (t->state.kind != OK) return reference_take(g, t, NULL, why);
    if (g->deep == REFERENCES_DEEP)
        return fail(why, REJECT, "its references are nested deeper than %d", REFERENCES_DEEP);
    g->path[g->deep++] = t;
    verdict v = references_gather(g, t->said, why);
    g->deep--;
    return v == OK ? reference_take(g, t, json_object_get(t->said, "schema"), why) : v;
}

/* Asks for all that are missing before it returns. */
static verdict references_gather(struct gathered *g, const json_t *answer, struct failure *why) {
    const json_t *references = json_object_get(answer, "references"), *one;
    size_t i;
    verdict v = OK;
    if (json_array_size(references) > REFERENCES_MAX)
        return fail(why, REJECT, "it has more than %d references", REFERENCES_MAX);
    json_array_foreach((json_t *)references, i, one) if (v == OK) v = reference_gather(g, one, why);
    return v;
}

/* With all that it refers to, or as soon as that is there. */
static void schema_read(struct registry *r, struct task *t, const json_t *answer) {
    struct gathered g = {.r = r};
    struct schema *schema = NULL;
    struct failure state = {0}, why;
    const json_t *text = json_object_get(answer, "schema");
    verdict v = answer_readable(answer, &why);
    if (v == OK) v = references_gather(&g, answer, &why);
    if (v == OK && g.missing && !t->said && !(t->said = answer_keep(answer))) v = fail(&why, RETRY, "out of memory");
    if (v == OK && g.missing) {
        bool news = g.doubted && doubt_begin(r, t);
        pthread_mutex_lock(&r->lock);
        if (!g.doubted) t->doubted_since = 0;
        t->due_at = INT64_MAX;
        t->in_flight = false;
        t->awaits = true;
        pthread_mutex_unlock(&r->lock);
        if (news && r->o.changed) r->o.changed(r->o.context);
        return;
    }
    g.texts[g.n++] = (struct schema_text){json_string_value(text), json_string_length(text)};
    if (v == OK) v = schema_parse_all(g.texts, g.n, &schema, &why);
    if (v == OK) witness_set(r, t->id);
    if (v == RETRY) {
        t->awaits = false;
        task_wait(r, t, task_backoff(r, t), &why);
        return;
    }
    if (v != OK) (void)!fail(&state, v, "schema id %d: %s", t->id, why.text);
    task_settle(r, t, schema, &state);
}

/* A reference came, or will not. */
static void references_changed(struct registry *r) {
    for (struct task *t = tasks_first(r), *next; t; t = next) {
        next = t->next;
        if (!t->awaits) continue;
        json_t *said = json_incref(t->said);
        schema_read(r, t, said);
        if (!t->awaits) json_decref(t->said), t->said = NULL;
        json_decref(said);
        tasks_bound(r, next);
    }
}

static void fetched(struct registry *r, struct task *t, const json_t *answer) {
    struct failure state = {0};
    if (!json_is_string(json_object_get(answer, "schema"))) {
        task_failed(r, t, "its answer holds no \"schema\"");
    } else if (t->step == FETCH) {
        schema_read(r, t, answer);
    } else {
        json_decref(t->said);
        t->said = NULL;
        if (answer_readable(answer, &state) == OK && !(t->said = answer_keep(answer))) {
            task_wait(r, t, task_backoff(r, t), &(struct failure){RETRY, "out of memory"});
            return;
        }
        task_settle(r, t, NULL, &state);
        references_changed(r);
    }
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
    witness_set(r, t->id);
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
    if (is_doubtful(t)) {
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
    if (t->step == WITNESS) {
        witness_answered(r, t, missing, status, answer);
        json_decref(answer);
        return;
    }
    if (missing || refused || status / 100 == 2)
        health_set(r->o.health, "registry", HEALTH_OK, "the schema registry at %s answers", r->shown);
    if (missing && t->step == VERSION)
        version_answered(r, t, NULL);
    else if (missing)
        lookup_unknown(r, t);
    else if (refused)
        publish_refused(r, t, status, answer);
    else if (status / 100 != 2 || !answer_ok(r, t, answer)) {
        answer_failed(r, t, status, answer);
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
    tasks_bound(r, NULL);
}

/* --- The thread */

/* The next task whose request is due, marked as in flight, or NULL; *wait_ms is how long until one is. Who was asked
 * for less often goes first, so that ids that hang keep nobody waiting. */
static struct task *task_due(struct registry *r, int *wait_ms) {
    struct task *due = NULL;
    int64_t now = steady_ms(), next = now + IDLE_MS;
    pthread_mutex_lock(&r->lock);
    for (struct task *t = r->tasks; t; t = t->next) {
        if (t->in_flight || (is_lookup(t) && r->lookups >= LOOKUPS_MAX)) continue;
        if (t->due_at > now)
            next = t->due_at < next ? t->due_at : next;
        else if (!due || !is_lookup(t) || (is_lookup(due) && t->attempts < due->attempts))
            due = t;
    }
    if (due) due->in_flight = true, due->asked_at = now;
    pthread_mutex_unlock(&r->lock);
    if (due && is_lookup(due)) r->lookups++;
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
            if (!t->easy && is_lookup(t)) r->lookups--;
            request_end(r, t);
            task_wait(r, t, task_backoff(r, t), &(struct failure){RETRY, "out of memory"});
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
    if ((r->witness = task_add(r, "not asked")))
        r->witness->step = WITNESS, r->witness->id = NO_SUCH_ID, r->witness->due_at = INT64_MAX;
    if (r->shown) health_set(o->health, "registry", HEALTH_OK, "the schema registry at %s was not asked yet", r->shown);
    if (!r->url || !r->shown || !r->multi || !r->witness || pthread_create(&r->thread, NULL, registry_run, r)) {
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
        if (!t->subject && !t->referenced && t->step == step && t->id == id) return t;
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

int64_t patience_left(const struct patience *p) {
    if (!p || !p->since) return INT64_MAX;
    int64_t left = p->left_ms - (steady_ms() - p->since);
    return left > 0 ? left : 0;
}

/* True: it has none left for this one. */
static bool patience_use(struct patience *p, const struct task *t) {
    if (!p) return false;
    bool doubted = t->state.kind == RETRY && t->doubted_since;
    if (p->since && !doubted) p->left_ms = patience_left(p), p->since = 0;
    if (doubted && !p->since) p->since = steady_ms();
    return doubted && !patience_left(p);
}

static bool too_many_wait(const struct registry *r) {
    size_t n = 0;
    for (const struct task *t = r->tasks; t; t = t->next) n += is_lookup(t) && t->state.kind == RETRY;
    return n >= WAITING_MAX;
}

/* must: it is asked for whatever else is waited for. NULL: it is not, or no memory. */
static struct task *lookup_of(struct registry *r, enum step step, int32_t id, bool must, bool *wake) {
    struct task *t = task_find(r, step, id);
    *wake = false;
    if (!t && (must || !too_many_wait(r)) && (t = task_add(r, "the schema registry is being asked"))) {
        t->step = step;
        t->id = id;
        *wake = true;
    } else if (t && t->state.kind == REJECT && steady_ms() - t->settled_at > REJECTED_FOR_MS) {
        t->state.kind = RETRY;
        t->due_at = 0;
        *wake = true;
    }
    if (t) t->used = ++r->uses;
    return t;
}

verdict
registry_schema(struct registry *r, int32_t id, struct patience *patience, struct schema **out, struct failure *why) {
    bool wake;
    verdict v = RETRY;
    pthread_mutex_lock(&r->lock);
    const struct task *t = lookup_of(r, FETCH, id, true, &wake);
    if (t) v = patience_use(patience, t) ? REJECT : t->state.kind;
    if (v == OK)
        *out = schema_share(t->schema);
    else
        v = fail(why, v, "%s", t ? t->state.text : "out of memory");
    pthread_mutex_unlock(&r->lock);
    if (wake) curl_multi_wakeup(r->multi);
    return v;
}

void registry_want(struct registry *r, int32_t id) {
    bool wake;
    pthread_mutex_lock(&r->lock);
    (void)lookup_of(r, FETCH, id, false, &wake);
    pthread_mutex_unlock(&r->lock);
    if (wake) curl_multi_wakeup(r->multi);
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
    bool wake;
    pthread_mutex_lock(&r->lock);
    const struct task *t = lookup_of(r, VERSION, id, false, &wake);
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
