/* health: what each component of this process waits for, in words that say what to do. Read by the status page, /readyz
 * and the metrics. Written by the components themselves. Any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct health;

enum health_state {
    HEALTH_OK,      /* works */
    HEALTH_WAITING, /* waits for something outside, goes on by itself: the service stays ready */
    HEALTH_FAILED,  /* cannot do its duty (no room on the disk, schema refused): somebody must act */
};

struct health *health_new(void);
void health_free(struct health **h);

/* component: a string literal ("kafka", "registry", "store", "schemas"). The text is copied. A change of state is
 * logged. */
void health_set(struct health *h, const char *component, enum health_state state, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* {"state":"up"|"waiting"|"failed","components":[{"name","state","text","since"}],"waiting_for":["…"]}. The caller's.
 */
json_t *health_json(struct health *h);
bool health_ready(struct health *h); /* no component has failed but those of the outside: Kafka, registry, schemas, what
                                        is published */
