/* registry: a client of a Schema Registry (Confluent's API), which asks on a thread of its own, so that nobody else
 * ever waits for HTTP. Every request has a timeout and a capped answer; failures are tried again with backoff and
 * jitter, for as long as the service runs. What a schema id stands for never changes, so it is kept for ever.
 *
 *     consumer ──wants id 7──▶ ┌──────────┐ ──GET /schemas/ids/7──▶ registry
 *     relay ──what id has T?─▶ │ registry │ ──POST /subjects/T/versions──▶
 *                              └──────────┘ ──changed()──▶ whoever waits is woken
 *
 * All functions but start and stop may be called from any thread, and return at once. */
#pragma once

#include "chassis/codec.h"
#include "chassis/failure.h"

#include <stdbool.h>
#include <stdint.h>

struct registry;
struct health;

struct registry_options {
    const char *url;             /* "http://127.0.0.1:8081/apis/ccompat/v7"; no slash at the end */
    const char *user, *password; /* basic authentication, or NULL */
    int timeout_ms;              /* for one request */
    int unknown_id_ms;     /* an id is rejected after the registry has kept saying for so long that it has it not */
    struct health *health; /* told as component "registry" */
    void (*changed)(void *context); /* on the registry's thread: an answer below may have changed; may be NULL */
    void *context;
};
MUST_CHECK verdict registry_start(struct registry **out, const struct registry_options *o, struct failure *why);
void registry_stop(struct registry **r); /* within 200 ms even while a request hangs; accepts NULL */

/* The writer's schema of a record. RETRY: being asked for. REJECT: the registry does not know the id (for
 * unknown_id_ms), or what it knows cannot be read. *out lives as long as the registry. */
MUST_CHECK verdict registry_schema(struct registry *r, int32_t id, const struct schema **out, struct failure *why);

/* The schema's version in its subject, for people to read; 0: it is being asked for, or is in no subject any more. */
int registry_version(struct registry *r, int32_t id);

/* Takes back a rejection of that id: somebody may have registered it since. */
void registry_ask_again(struct registry *r, int32_t id);

/* Sees to it that the text (which must outlive the registry; the file's own bytes) is registered under subject, with
 * FULL_TRANSITIVE set before its first version. Idempotent. A subject may get several texts; they are registered in no
 * order, so who needs one waits for the id of the one before. */
void registry_publish(struct registry *r, const char *subject, const char *text, size_t n);

/* The id under which a published text (that very pointer) is registered. RETRY: not yet. REJECT: the registry refused
 * it as incompatible or unparsable; the text says what it said. */
MUST_CHECK verdict
registry_id(struct registry *r, const char *subject, const char *text, int32_t *id, struct failure *why);
