#include "chassis/service/start.h"

#include "chassis/audit/audit_check.h"
#include "chassis/base/health.h"
#include "chassis/base/process.h"
#include "chassis/base/rates.h"
#include "chassis/base/wait.h"
#include "chassis/events/history.h"
#include "chassis/events/outbox.h"
#include "chassis/fleet/peers.h"
#include "chassis/fleet/subscribers.h"
#include "chassis/incoming/consumer.h"
#include "chassis/incoming/drill.h"
#include "chassis/incoming/letters.h"
#include "chassis/outgoing/relay.h"
#include "chassis/pages/call.h"
#include "chassis/pages/status.h"
#include "chassis/pages/stream_view.h"
#include "chassis/service/routes.h"
#include "chassis/store/migrations.h"
#include "chassis/web/caller.h"
#include "chassis/web/idempotency.h"
#include "chassis/web/sse.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BODY_MAX = 64 * 1024, BODY_MS = 5000, HELD_MS = 2000 };

/* --- Starting */

static verdict start_store(struct runtime *rt, struct failure *why) {
    struct migration migrations[MIGRATIONS_MAX];
    char path[DATABASE_PATH];
    settings_database(rt->core.settings, path);
    size_t n = assets_migrations("chassis", "tables", migrations, 0);
    n = assets_migrations("team", "schema", migrations, n);
    verdict v =
        (rt->core.service->in_memory ? store_open_empty : store_open)(&rt->core.store, path, migrations, n, why);
    if (v == OK) health_set(rt->core.health, "store", HEALTH_OK, "writes");
    return v;
}

/* The registry has something new, or a new database may begin. */
static void news_came(void *context) {
    struct runtime *rt = context;
    pthread_mutex_lock(&rt->core.lock);
    pthread_cond_broadcast(&rt->core.news);
    if (rt->wired) {
        relay_wake(rt->relay);
        consumer_wake(rt->consumer);
    }
    pthread_mutex_unlock(&rt->core.lock);
}

static void set_wired(struct runtime *rt, bool wired) {
    pthread_mutex_lock(&rt->core.lock);
    rt->wired = wired;
    pthread_mutex_unlock(&rt->core.lock);
    if (wired) news_came(rt); /* what changed before this */
}

static verdict start_relay(struct runtime *rt, struct failure *why) {
    struct relay_options o = {
        rt->core.settings,
        rt->core.store,
        rt->core.outbox,
        rt->core.registry,
        rt->core.health,
        rt->audit_check,
        .snapshots = rt->core.service->snapshots,
        .held = &rt->core.held,
        .end = process_end};
    return relay_start(&rt->relay, &o, why);
}

/* Events may wait in the outbox. */
static void wake_relay(void *runtime) {
    relay_wake(((struct runtime *)runtime)->relay);
}

static verdict start_consumer(struct runtime *rt, struct failure *why) {
    struct consumer_options o = {
        .core = &rt->core, .drill = rt->drill, .rates = rt->rates, .committed = wake_relay, .context = rt};
    return consumer_start(&rt->consumer, &o, why);
}

static verdict start_subscribers(struct runtime *rt, struct failure *why) {
    const struct service *s = rt->core.service;
    struct subscribers_options o = {
        rt->core.settings, rt->core.store, rt->core.health, .publishes = s->publishes, .passed = s->subscriber_passed};
    return subscribers_start(&rt->subscribers, &o, why);
}

static json_t *status_of_self(void *runtime, struct connection *reader) {
    return status_json(runtime, reader);
}

static verdict start_peers(struct runtime *rt, struct failure *why) {
    const struct service *s = rt->core.service;
    struct peers_options o = {
        .settings = rt->core.settings,
        .store = rt->core.store,
        .keeps_list = s->watch_subscribers,
        .subscribers = rt->subscribers,
        .keeper = s->listed_by ? s->listed_by : s->subscribes,
        .status = status_of_self,
        .context = rt};
    return peers_start(&rt->peers, &o, why);
}

static verdict start_sse(struct runtime *rt, struct failure *why) {
    struct sse_options o = stream_of_audit(rt->core.store);
    o.streams = (int)rt->core.settings->streams;
    return sse_start(&rt->sse, &o, why);
}

/* Kafka answers in a moment as a rule, for which a request waits. While Kafka is away a newcomer takes orders. */
static bool is_lost(struct runtime *rt) {
    int64_t until = steady_ms() + HELD_MS;
    pthread_mutex_lock(&rt->core.lock);
    while (history_asks(rt->history) && wait_until(&rt->core.news, &rt->core.lock, until)) {
    }
    pthread_mutex_unlock(&rt->core.lock);
    return history_lost(rt->history);
}

static bool post_begin(struct exchange *x) {
    struct runtime *rt = x->context;
    if (!is_lost(rt)) return idempotency_begin(rt->idempotency, x);
    exchange_problem(
        x, 503,
        "Nothing was changed: the database of %s was lost, or is an older copy. To make it whole: ./returns rebuild %s",
        rt->core.settings->service, rt->core.settings->service);
    return false;
}

static void post_end(struct exchange *x) {
    idempotency_end(((struct runtime *)x->context)->idempotency, x);
}

static verdict start_http(struct runtime *rt, struct failure *why) {
    static const struct resource none[] = {{0}};
    rt->calls[0] = call_resource(rt->core.service);
    const struct resource *tables[] = {
        rt->core.service->resources ? rt->core.service->resources : none, rt->calls, rt->routes};
    struct http_options o = {
        .host = rt->core.settings->host,
        .port = (int)rt->core.settings->port,
        .public_url = rt->core.settings->public_url,
        .allowed_hosts = rt->core.settings->allowed_hosts,
        .threads = (int)rt->core.settings->http_threads,
        .body_max = BODY_MAX,
        .body_ms = BODY_MS,
        .tables = tables,
        .tables_n = 3,
        .context = rt,
        .decorate = status_decorate,
        .begin_post = post_begin,
        .end_post = post_end,
    };
    return http_start(&rt->http, &o, why);
}

verdict
service_start(struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why) {
    *rt = (struct runtime){.started_at = clock_ms(), .drill = drill_new(), .routes = chassis_routes};
    verdict v = core_open(&rt->core, service, settings, why);
    if (v == OK && !rt->drill) v = fail(why, RETRY, "out of memory");
    if (v == OK) v = start_store(rt, why);
    if (v == OK && !(rt->idempotency = idempotency_new(rt->core.store))) v = fail(why, RETRY, "out of memory");
    if (v == OK) v = core_start_codec(&rt->core, news_came, rt, why);
    if (v == OK) v = outbox_note(rt->core.outbox, rt->core.store, why);
    if (v == OK) v = history_start(&rt->history, &rt->core, news_came, rt, why);
    if (v == OK) v = audit_check_start(&rt->audit_check, rt->core.store, why); /* the relay publishes what it finds */
    if (v == OK && !service->in_memory) v = start_relay(rt, why);
    if (v == OK && !(rt->rates = rates_new())) v = fail(why, RETRY, "out of memory");
    if (v == OK) v = start_consumer(rt, why);
    if (v == OK && service->watch_subscribers) v = start_subscribers(rt, why);
    if (v == OK && service->put_aside) v = letters_start(&rt->letters, &rt->core, why);
    if (v == OK) v = start_peers(rt, why);
    if (v == OK && service->calls_others) v = caller_start(&rt->caller, why);
    if (v == OK) v = start_sse(rt, why);
    if (v == OK) v = start_http(rt, why);
    if (v == OK)
        set_wired(rt, true);
    else
        service_stop(rt);
    return v;
}

void service_stop(struct runtime *rt) {
    set_wired(rt, false);
    drill_end(rt->drill);
    caller_cut(rt->caller);
    if (rt->http && rt->core.service->stop) rt->core.service->stop(rt);
    http_stop(&rt->http);
    sse_stop(&rt->sse);
    caller_stop(&rt->caller);
    peers_stop(rt->peers);
    letters_stop(&rt->letters);
    subscribers_stop(&rt->subscribers);
    history_stop(&rt->history);
    consumer_stop(&rt->consumer);
    peers_close(&rt->peers);
    rates_free(&rt->rates);
    relay_stop(&rt->relay);
    audit_check_stop(&rt->audit_check);
    core_close(&rt->core);
    idempotency_free(&rt->idempotency);
    drill_free(&rt->drill);
}
