/* runtime: a running service with all its parts. For what wires them, and for pages. */
#pragma once

#include "chassis/events/core.h"
#include "chassis/web/http.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A running service: what pages get as exchange.context. All of it may be used from any thread. */
struct runtime {
    struct core core;
    struct relay *relay; /* NULL: it is in memory */
    struct consumer *consumer;
    struct subscribers *subscribers; /* NULL unless watch_subscribers */
    struct letters *letters;         /* NULL unless service->put_aside */
    struct drill *drill;             /* asks for none where drills are not allowed */
    struct audit_check *audit_check;
    struct rates *rates;
    struct peers *peers;
    const struct resource *routes; /* what every service has, routes.h */
    struct http *http;
    struct caller *caller;    /* NULL unless calls_others */
    struct resource calls[2]; /* the service's own call, found after its resources */
    atomic_int calls_now;     /* how many are being answered */
    struct sse *sse;
    struct history *history;
    int64_t started_at;
    bool wired; /* under core.lock: while it is set, news from the registry wakes relay and consumer */
};
