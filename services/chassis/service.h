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

#include "chassis/audit.h"
#include "chassis/codec.h"
#include "chassis/failure.h"
#include "chassis/http.h"
#include "chassis/ids.h"
#include "chassis/outbox.h"
#include "chassis/settings.h"
#include "chassis/store.h"

#include <pthread.h>
#include <stdatomic.h>

/* A record as it came, decoded by its writer's schema. Lives as long as the handler's call. */
struct event {
    struct uuid id;
    const char *type;       /* full name: "returns.support.RefundRequest" */
    const char *source;     /* the service that owns the topic: "support" */
    const char *source_url; /* where that service says it is (ce_source); "" unless it is an http or https URL */
    const char *key;        /* of the record, as far as it is text; else NULL */
    const char *return_id;  /* NULL: it is about something else than a return */
    int64_t version;
    int64_t occurred_at; /* ms */
    int64_t received_at; /* ms: when this service took it up */
    const char *trace_parent;
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t recorded_at; /* ms; when Kafka got it; 0: not known */
    const void *bytes;   /* the record's value: schema id, then Avro */
    size_t bytes_n;
    const struct raw *raw;
    const json_t *data;      /* all of it, by the writer's schema */
    struct written *written; /* the same with its types, for project() */
};

/* Its record's headers as JSON text: [["name","text" or {"hex":"…"} or null],…]; the caller's. NULL: no memory. */
char *event_headers(const struct event *e);

/* One event being handled. Everything done through it is committed together, or not at all. */
struct reaction {
    const struct event *event;
    struct connection *store;
    int64_t now; /* ms: the moment of this reaction; its events' occurred_at. The same again when it is replayed, so a
                    handler takes the time from here, never from the clock. A handler that publishes nothing keeps the
                    event's own occurred_at, since nobody knows later when that was */
    struct reaction_private *private;
};

/* Publishes an event of this service in reaction, with the return's id and version, caused_by and trace filled in.
 * fields: json_pack("{s:s}", "order_id", …); the reference is taken. A failure is sticky: the record is quarantined. */
void reaction_emit(struct reaction *r, const char *type, json_t *fields);
/* The same about another return than the event's, which had waited for it. */
void reaction_emit_for(struct reaction *r, const char *return_id, int64_t version, const char *type, json_t *fields);

/* What the audit row of this event says; the last call counts. outcome: "handled" or "declined". */
void reaction_audit(struct reaction *r, const char *outcome, const char *action, const char *summary_format, ...)
    __attribute__((format(printf, 4, 5)));

/* Whether the policy of that name is `value`; the service's declaration says what it is when nothing is set. */
bool reaction_policy_is(const struct reaction *r, const char *name, const char *value);

struct handler {
    const char *type;           /* full name of the event; "*": every other one, and then fields are NULL */
    const struct field *fields; /* the projection: what the handler gets to see */
    size_t fields_n, size;      /* size: of the struct that the fields fill */
    /* OK, or REJECT to quarantine the event with what `why` says. Database errors need no look: they are sticky. */
    verdict (*handle)(struct reaction *r, const void *fields, struct failure *why);
};
#define FIELDS(array, type) (array), sizeof(array) / sizeof *(array), sizeof(type)

/* A table on the service's own page: a title and a query whose column names are the headings. It is asked anew for
 * every look at the page, so it must not read a table that grows without an index that gives it the few rows it shows.
 */
struct view {
    const char *title, *sql;
    const char *money, *moments; /* headings, "Debit Credit": what is hundredths, or milliseconds since 1970; or NULL */
    /* The same columns as they were at a moment, which each ? of it is, ms; NULL: not known of the past. May read much.
     */
    const char *as_of;
};

/* A rule that the setting `policy` may change: "unknown-orders", "decline refund"; the first value is the usual one. */
struct policy {
    const char *name, *values;
};

struct runtime;
/* What the service does when it is called, the traditional way: the handler of that event, for the caller alone. */
struct call {
    const char *api_path; /* "/api/order-refund-requests" */
    const char *type;     /* full name of the event, one of the handlers' */
};

/* What a dead letter says. */
struct put_aside {
    const char *service; /* which could not handle the record */
    int64_t partition, offset, at;
    int64_t answered_at; /* ms: what was published in reaction to it before a rebuild rejected it; 0: nothing was */
    bool redriven;
    const char *reason;
};

struct service {
    const char *title, *duty;
    const char *subscribes;         /* the service whose events it reads; "*": every *.events topic of the namespace */
    const struct handler *handlers; /* ends with {0} */
    const struct view *views;       /* ends with {0}; or NULL */
    const struct policy *policies;  /* ends with {0}; or NULL */
    const struct resource *resources; /* ends with {0}; or NULL. Found before the chassis's own */
    const char *listed_by; /* the service that keeps the list of all (peers.h); NULL: whose events it reads */
    void (*stop)(struct runtime *rt); /* ends threads of its own, before the web server stops; may be NULL */
    struct call call;                 /* call.h; {0}: it cannot be called */
    bool calls_others;                /* runtime.caller is there */
    /* Keeps nothing: each start reads its topics again from the first event. So it publishes nothing, neither events
     * nor dead letters nor the heads of its audit log, which each start writes anew. Until it has read what there was
     * when it started, its health has "replay" as waiting, and the offsets that its group has in Kafka stay where they
     * were: what it had handled before does not count as unhandled again. */
    bool in_memory;
    bool watch_subscribers; /* keeps subscriber_offset: how far each consumer group has read this service's topic; and
                               so the list of all services, for peers.h */
    /* What an event of this service's own, which a person caused, changes in its own tables. Called in the transaction
     * that puts it into the outbox, by whoever decides; and by a rebuild, which knows it from the topic. May be NULL.
     */
    void (*decided)(struct connection *c, const struct event *own);
    const char
        *kept; /* "submission passed": its tables that no topic can give back, so a rebuild keeps them; or NULL */
    const struct snapshot_source *snapshots; /* snapshots.h; NULL: it publishes none */
    /* A record of this service's own topic that a service has put aside, by its dead letter; once or more often each,
     * in a transaction of the chassis's. NULL: nobody reads the letters. */
    void (*put_aside)(struct connection *c, const struct put_aside *letter);
    /* Whether a service of that name has published an event: its group is then waited for. May be NULL. */
    bool (*publishes)(struct connection *c, const char *service);
    /* In the transaction that keeps it: that group was seen to have come there. May be NULL. */
    void (*subscriber_passed)(struct connection *c, const char *team, int64_t partition, int64_t next_offset);
};

/* A running service; what pages get as exchange.context. All of it may be used from any thread. */
struct runtime {
    const struct service *service;
    const struct settings *settings;
    struct store *store;
    struct outbox *outbox;
    struct registry *registry;
    struct health *health;
    struct relay *relay; /* NULL: it is in memory */
    struct consumer *consumer;
    struct subscribers *subscribers; /* NULL unless watch_subscribers */
    struct letters *letters;         /* NULL unless service->put_aside */
    struct drill *drill;             /* asks for none where drills are not allowed */
    struct audit_check *audit_check;
    struct pulse *pulse;
    struct peers *peers;
    struct http *http;
    struct idempotency *idempotency;
    struct caller *caller;    /* NULL unless calls_others */
    struct resource calls[2]; /* the service's own call, found after its resources */
    atomic_int calls_now;     /* how many are being answered */
    struct hub *hub;
    struct history *history;
    atomic_bool held; /* nothing may be handled or published: history.h, which alone clears it */
    int64_t started_at;
    pthread_mutex_t wiring; /* guards `wired`: while it is set, news from the registry wakes relay and consumer */
    bool wired;
    pthread_cond_t news; /* with wiring: the registry has news */
};

/* Opens the database, starts all threads. FATAL or RETRY when the process cannot do its duty at all: the database
 * cannot be opened, the port is taken. Kafka and the registry may be away. Closers in the reverse order: service_stop.
 */
MUST_CHECK verdict
service_start(struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why);
void service_stop(struct runtime *rt); /* also after a start that failed half way */

/* What decodes and encodes, without a database or a thread that reads or publishes; for rebuild.h. service_stop() also
 * after a failure. */
MUST_CHECK verdict service_prepare(
    struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why);

int service_main(const struct service *service, const char *name, int port, int argc, char *argv[]);
