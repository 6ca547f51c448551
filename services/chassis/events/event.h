/* event: a record as a handler gets it. */
#pragma once

#include "chassis/base/ids.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct raw;
struct written;

/* A record as it came, decoded by its writer's schema. Lives as long as the handler's call. */
struct event {
    struct uuid id;
    const char *type;      /* full name: "returns.support.RefundRequest" */
    const char *source;    /* the service that owns the topic: "support" */
    const char *key;       /* of the record, as far as it is text, else NULL */
    const char *return_id; /* NULL: it is about something else than a return */
    int64_t version;
    int64_t occurred_at; /* ms */
    int64_t received_at; /* ms: when this service took it up */
    const char *trace_parent;
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t recorded_at; /* ms, when Kafka got it. 0: not known */
    const void *bytes;   /* the record's value: schema id, then Avro */
    size_t bytes_n;
    const struct raw *raw;
    struct written *written; /* what it says, for project() and written_json() */
    const json_t *data;      /* the same, of an event of this service's own (service.decided). NULL in a reaction */
};

/* "RefundRequest" of the full name. */
const char *event_name(const char *type);
/* Its record's headers as JSON text: [["name","text" or {"hex":"…"} or null],…], the caller's. NULL: no memory. */
char *event_headers(const struct event *e);
