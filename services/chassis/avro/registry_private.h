/* registry_private: what the client of a Schema Registry knows, as its files see it.
 *
 *     registry             starts and stops it, its thread, and what callers ask
 *     registry_tasks       what is asked for and what is kept of it, within bounds
 *     registry_request     a question over HTTP
 *     registry_answer      what an answer means, and whom a failure counts against
 *     registry_references  a schema and those that it refers to
 *
 * The registry's thread holds the lock, except while it waits, reads bytes or calls back. It alone takes tasks away. So
 * every function below is for this thread, which holds the lock, and registry.c's own functions. */
#pragma once

#include "chassis/avro/registry.h"
#include "chassis/base/wait.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stddef.h>

enum {
    ANSWER_MAX = 4 * SCHEMA_BYTES_MAX, /* a schema's text, as JSON within JSON */
    SUBJECT_MAX = 1000,                /* a reference's */
    NO_SUCH_ID = INT32_MAX,
};
#define NEVER INT64_MAX

/* What is asked of the registry: a schema by its id, one that another refers to, a schema's version, the witness, or
 * (in two requests) to register one. */
struct task {
    struct task *next;
    enum step { FETCH, REFERENCE, VERSION, WITNESS, CONFIGURE, REGISTER } step;
    int32_t id; /* FETCH, VERSION, WITNESS: which. REFERENCE: its version. REGISTER: the answer */
    const char
        *subject;     /* REFERENCE: its own. CONFIGURE, REGISTER: to register under. NULL: it is looked up by its id */
    const char *text; /* to register, the caller's. NULL: it is looked up */
    size_t text_n;

    struct failure state; /* OK, RETRY (not yet) or REJECT, and why */
    struct schema *schema;
    int version;           /* VERSION: the answer. 0: in no subject */
    int64_t settled_at;    /* when it became REJECT */
    uint64_t used;         /* when it was asked for last, counted in uses */
    int64_t due_at;        /* the next request. NEVER: one is in flight, or something else must come first */
    int64_t doubted_since; /* 0: it is not */
    int64_t asked_at;      /* the last request */
    int attempts;
    bool unanswered;   /* the last request had no answer */
    int confirmations; /* how often the witness has yet to be answered before its failure counts. 0: none is open */
    json_t *said;      /* what of the answer is needed: of a FETCH while references are missing, of a REFERENCE */
    CURL *easy;        /* NULL: no request is in flight */
    struct buffer answer;
    char reason[300]; /* why the last request failed */
};

struct registry {
    struct registry_options o;
    char *url, *shown;    /* shown: without a password, for people */
    char *login;          /* "user:password", or NULL */
    struct worker worker; /* a wait of its own: curl_multi_wakeup() ends that */
    struct task *tasks;
    uint64_t uses;
    bool news; /* changed() is to be called */
    CURLM *multi;
    unsigned seed;
    struct task *witness;
    bool witness_known; /* it is an id that was given or taken before */
    int lookups;        /* in flight */
};

static inline bool is_lookup(const struct task *t) {
    return t->step <= VERSION;
}

/* --- registry_tasks */

/* NULL: no memory. It is due at once. */
struct task *task_add(struct registry *r, enum step step, int32_t id, const char *subject, const char *reason);
/* What is looked up, asked for again when it was rejected a while ago. must: it is asked for whatever else is waited
 * for. NULL: it is not, or no memory. */
struct task *task_lookup(struct registry *r, enum step step, int32_t id, const char *subject, bool must);
struct task *task_find(const struct registry *r, enum step step, int32_t id, const char *subject); /* NULL: none */
void task_again(struct registry *r, struct task *t);                                               /* asks at once */
/* The next request comes after so long, but not beyond the end of a doubt. why: what callers are told until then. */
void task_wait(struct registry *r, struct task *t, int64_t ms, const char *why);
int64_t task_backoff(struct registry *r, struct task *t); /* between half and all of a delay that doubles */
/* The registry's last word, for now where it is REJECT. */
void task_settle(struct registry *r, struct task *t, const struct failure *state);
void task_free(struct task *t);
/* Lets go of the answers that were used longest ago, until what is kept is within its bounds. Never of `spared`, nor of
 * one whose request is not at its end. */
void tasks_bound(struct registry *r, const struct task *spared);

/* --- registry_request */

bool request_make(struct registry *r, struct task *t); /* false: no memory */
void request_end(struct registry *r, struct task *t);  /* also of one that could not be made */

/* --- registry_answer */

void task_answered(struct registry *r, struct task *t, long status);
/* No usable answer: nothing is known, so it is asked again. */
void task_failed(struct registry *r, struct task *t, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What the registry gave or took is known to it, and is asked for as evidence that it is well. */
void witness_set(struct registry *r, int32_t id);
void task_doubt(struct registry *r, struct task *t); /* from its last request on, unless it is doubted already */

/* --- registry_references */

void schema_answered(struct registry *r, struct task *t, const json_t *answer); /* of a FETCH or a REFERENCE */
void references_changed(struct registry *r);                                    /* one came, or will not */
