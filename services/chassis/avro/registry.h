/* registry: a client of a Schema Registry (Confluent's API), which asks on a thread of its own, so that nobody else
 * ever waits for HTTP. Every request has a timeout and a capped answer. Failures are tried again with backoff and
 * jitter, for as long as the service runs. What a schema id stands for never changes, so it is kept. As anybody may
 * write ids into a topic, no more than 1,000 answers, and 32 MiB of them: what was used longest ago is let go, and
 * asked for again when it is wanted. No more than 400 are waited for, and those that hold a record up besides.
 *
 *     consumer ──wants id 7──▶ ┌──────────┐ ──GET /schemas/ids/7──▶ registry
 *     relay ──what id has T?─▶ │ registry │ ──POST /subjects/T/versions──▶
 *                              └──────────┘ ──changed()──▶ whoever waits is woken
 *
 * An id may be answered wrongly for ever: unknown (404), an error, nonsense, too much, or not at all. Is that the
 * registry's trouble, or the id's? A 404 that says so in a registry's own way is about the id. After any other failure
 * the witness is asked: an id that the registry gave or took before or, where there is none, one that nobody has, which
 * must be unknown. Only if the witness is answered rightly twice or three times in a row (how often is left to chance,
 * so that no registry that fails every nth time keeps in step) the failure counts against the id: it is DOUBTED.
 * Whatever the witness is not answered is the registry's trouble: nobody is doubted any more, and all wait, as long as
 * that takes. So an id is rejected after it was doubted for unknown_id_ms without a break, and never while the registry
 * is away.
 *
 * A schema's references are fetched and read with it, at most 64, 16 deep, in a circle never.
 *
 * All functions but start and stop may be called from any thread, and return at once. */
#pragma once

#include "chassis/avro/codec.h"
#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stdint.h>

struct registry;
struct health;

struct registry_options {
    const char *url;                /* "http://127.0.0.1:8081/apis/ccompat/v7". No slash at the end */
    const char *user, *password;    /* basic authentication, or NULL */
    int timeout_ms;                 /* for one request */
    int unknown_id_ms;              /* an id is rejected after it was doubted for so long */
    struct health *health;          /* told as component "registry" */
    void (*changed)(void *context); /* on the registry's thread: an answer below may have changed. May be NULL */
    void *context;
};
MUST_CHECK verdict registry_start(struct registry **out, const struct registry_options *o, struct failure *why);
void registry_stop(struct registry **r); /* within 200 ms even while a request hangs. Accepts NULL */

/* How long one reader still waits for doubted ids, all of them together: for many in a row would else hold it up for
 * unknown_id_ms each. Time while it waits for no doubted id does not count. */
struct patience {
    int64_t left_ms;
    int64_t since; /* steady_ms(). 0: it waits for none now */
};
int64_t patience_left(const struct patience *p); /* INT64_MAX: it is not being used up now */

/* The writer's schema of a record. RETRY: being asked for. REJECT: the id was doubted for unknown_id_ms, or until this
 * reader had no patience left (NULL: it has as much as there is), or what the registry knows cannot be read. *out is
 * the caller's (schema_free()). */
MUST_CHECK verdict
registry_schema(struct registry *r, int32_t id, struct patience *patience, struct schema **out, struct failure *why);

/* Asks for it, so that it is there when it is wanted. Not while too much is waited for. */
void registry_want(struct registry *r, int32_t id);

/* The schema's version in its subject, for people to read. 0: it is being asked for, was not to be had just now, or is
 * in no subject any more. */
int registry_version(struct registry *r, int32_t id);

/* Takes back a rejection of that id: somebody may have registered it since. */
void registry_ask_again(struct registry *r, int32_t id);

/* Sees to it that the text (which must outlive the registry: the file's own bytes) is registered under subject, with
 * FULL_TRANSITIVE set before its first version. Idempotent. A subject may get several texts. They are registered in no
 * order, so who needs one waits for the id of the one before. */
void registry_publish(struct registry *r, const char *subject, const char *text, size_t n);

/* The id under which a published text (that very pointer) is registered. RETRY: not yet. REJECT: the registry refused
 * it as incompatible or unparsable. The text says what it said. */
MUST_CHECK verdict
registry_id(struct registry *r, const char *subject, const char *text, int32_t *id, struct failure *why);
