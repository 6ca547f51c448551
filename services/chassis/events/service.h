/* service: what a team declares, and what its handlers and pages may call. The chassis owns main().
 *
 *     static const struct field ORDER[] = {FIELD_TEXT(struct order, order_id)};
 *     static verdict file(struct reaction *r, const void *fields, struct failure *why) { … }
 *     static const struct handler handlers[] = {{"returns.support.RefundRequest", ORDER, 1, file}, {0}};
 *     const struct service service = {.title = "Legal", .duty = "Files the claim.", .subscribes = "support",
 *                                     .handlers = handlers};
 *
 * Its name and port are in its line in CMakeLists.txt: service(legal 8005). */
#pragma once

#include "chassis/events/reaction.h"

#include <stdbool.h>
#include <stdint.h>

struct resource;        /* http.h */
struct runtime;         /* what pages get, runtime.h */
struct snapshot_source; /* snapshots.h */

/* A table on the service's own page: a title and a query whose column names are the headings. It is asked anew for
 * every look at the page, so it must not read a table that grows without an index that gives it the few rows it shows.
 */
struct view {
    const char *title, *sql;
    const char *money, *moments; /* headings, "Debit Credit": what is hundredths, or milliseconds since 1970, or NULL */
    /* The same columns as they were at a moment, which each ? of it is, ms. NULL: not known of the past. May read much.
     */
    const char *as_of;
};

/* A rule that the setting `policy` may change: "unknown-orders", "decline refund". The first value is the usual one. */
struct policy {
    const char *name, *values;
};

/* What the service does when it is called, the traditional way: the handler of that event, for the caller alone. */
struct call {
    const char *api_path; /* "/api/order-refund-requests" */
    const char *type;     /* full name of the event, one of the handlers' */
};

/* What a dead letter says. */
struct put_aside {
    const char *service; /* which could not handle the record */
    int64_t partition, offset, at;
    int64_t answered_at; /* ms: what was published in reaction to it before a rebuild rejected it. 0: nothing was */
    bool redriven;
    const char *reason;
};

struct service {
    const char *title, *duty;
    const char *subscribes;         /* the service whose events it reads. "*": every *.events topic of the namespace */
    const struct handler *handlers; /* ends with {0} */
    const struct view *views;       /* ends with {0}, or NULL */
    const struct policy *policies;  /* ends with {0}, or NULL */
    const struct resource *resources; /* ends with {0}, or NULL. Found before the chassis's own */
    /* So many ms Kafka may hold back an event, for others to come along: for who reads many topics, and whom nobody
     * waits for. Else each event is a fetch, and a transaction, of its own. 0: at once. */
    int fetch_wait_ms;
    const char *listed_by; /* the service that keeps the list of all (peers.h). NULL: whose events it reads */
    void (*stop)(struct runtime *rt); /* ends threads of its own, before the web server stops. May be NULL */
    struct call call;                 /* call.h. {0}: it cannot be called */
    bool calls_others;                /* runtime.caller is there */
    /* Keeps nothing: each start reads its topics again from the first event. So it publishes nothing, neither events
     * nor dead letters nor the heads of its audit log, which each start writes anew. Until it has read what there was
     * when it started, its health has "replay" as waiting, and the offsets that its group has in Kafka stay where they
     * were: what it had handled before does not count as unhandled again. */
    bool in_memory;
    bool watch_subscribers; /* keeps subscriber_offset: how far each consumer group has read this service's topic, and
                               so the list of all services, for peers.h */
    /* What an event of this service's own, which a person caused, changes in its own tables. Called in the transaction
     * that puts it into the outbox, by whoever decides, and by a rebuild, which knows it from the topic. May be NULL.
     */
    void (*decided)(struct connection *c, const struct event *own);
    const char
        *kept; /* "submission passed": its tables that no topic can give back, so a rebuild keeps them, or NULL */
    const struct snapshot_source *snapshots; /* snapshots.h. NULL: it publishes none */
    /* A record of this service's own topic that a service has put aside, by its dead letter. Once or more often each,
     * in a transaction of the chassis's. NULL: nobody reads the letters. */
    void (*put_aside)(struct connection *c, const struct put_aside *letter);
    /* Whether a service of that name has published an event: its group is then waited for. May be NULL. */
    bool (*publishes)(struct connection *c, const char *service);
    /* In the transaction that keeps it: that group was seen to have come there. May be NULL. */
    void (*subscriber_passed)(struct connection *c, const char *team, int64_t partition, int64_t next_offset);
};
