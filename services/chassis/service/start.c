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
    if (v != OK) return v;
    health_set(rt->core.health, "store", HEALTH_OK, "writes");
    rt->core.answered =
        store_int(store_reader(rt->core.store), 1, "SELECT EXISTS (SELECT 1 FROM dead_letter WHERE answered_at > 0)");
    return OK;
}

/* The registry has something new, or a new database may begin. */
static void news_came(void *context) {
    struct runtime *rt = context;
    lock_auto(&rt->core.lock);
    pthread_cond_broadcast(&rt->core.news);
    if (!rt->wired) return;
    relay_wake(rt->relay);
    consumer_wake(rt->consumer);
}

static void set_wired(struct runtime *rt, bool wired) {
    pthread_mutex_lock(&rt->core.lock);
    rt->wired = wired;
    pthread_mutex_unlock(&rt->core.lock);
    if (wired) news_came(rt); /* what changed before this */
}

/* Events may wait in the outbox. */
static void wake_relay(void *runtime) {
    relay_wake(((struct runtime *)runtime)->relay);
}

static json_t *status_of_self(void *runtime, struct connection *reader) {
    return status_json(runtime, reader);
}

/* Kafka answers in a moment as a rule, for which a request waits. While Kafka is away a newcomer takes orders. */
static bool is_lost(struct runtime *rt) {
    int64_t until = steady_ms() + HELD_MS;
    lock_auto(&rt->core.lock);
    while (history_asks(rt->history) && wait_until(&rt->core.news, &rt->core.lock, until)) continue;
    return history_lost(rt->history);
}

static bool post_begin(struct exchange *x) {
    struct runtime *rt = x->context;
    if (!is_lost(rt)) return idempotency_begin(rt->core.store, x);
    exchange_problem(
        x, 503,
        "Nothing was changed: the database of %s was lost, or is an older copy. To make it whole: ./returns rebuild %s",
        rt->core.settings->service, rt->core.settings->service);
    return false;
}

static void post_end(struct exchange *x) {
    idempotency_end(((struct runtime *)x->context)->core.store, x);
}

/* What reads and writes the topics. */
static verdict start_events(struct runtime *rt, struct failure *why) {
    struct core *core = &rt->core;
    const struct service *s = core->service;
    verdict v = audit_check_start(&rt->audit_check, core->store, why); /* the relay publishes what it finds */
    if (v == OK && !s->in_memory)
        v = relay_start(
            &rt->relay,
            &(struct relay_options){
                core->settings, core->store, core->outbox, core->registry, core->health, rt->audit_check,
                .snapshots = s->snapshots, .held = &core->held, .end = process_end},
            why);
    if (v == OK && !(rt->rates = rates_new())) v = fail(why, RETRY, "out of memory");
    if (v == OK)
        v = consumer_start(
            &rt->consumer,
            &(struct consumer_options){
                .core = core, .drill = rt->drill, .rates = rt->rates, .committed = wake_relay, .context = rt},
            why);
    if (v == OK && s->watch_subscribers)
        v = subscribers_start(
            &rt->subscribers,
            &(struct subscribers_options){
                core->settings, core->store, core->health, .publishes = s->publishes, .passed = s->subscriber_passed},
            why);
    if (v == OK && s->put_aside) v = letters_start(&rt->letters, core, why);
    return v;
}

static verdict start_web(struct runtime *rt, struct failure *why) {
    const struct settings *settings = rt->core.settings;
    const struct service *s = rt->core.service;
    struct sse_options sse = stream_of_audit(rt->core.store);
    rt->calls[0] = call_resource(s);
    sse.streams = (int)settings->streams;
    verdict v = peers_start(
        &rt->peers,
        &(struct peers_options){
            .settings = settings,
            .store = rt->core.store,
            .keeps_list = s->watch_subscribers,
            .subscribers = rt->subscribers,
            .keeper = s->listed_by ? s->listed_by : s->subscribes,
            .status = status_of_self,
            .context = rt},
        why);
    if (v == OK && s->calls_others) v = caller_start(&rt->caller, why);
    if (v == OK) v = sse_start(&rt->sse, &sse, why);
    if (v == OK)
        v = http_start(
            &rt->http,
            &(struct http_options){
                .host = settings->host,
                .port = (int)settings->port,
                .public_url = settings->public_url,
                .allowed_hosts = settings->allowed_hosts,
                .threads = (int)settings->http_threads,
                .body_max = BODY_MAX,
                .body_ms = BODY_MS,
                .tables = {s->resources, rt->calls, rt->routes},
                .context = rt,
                .decorate = status_decorate,
                .begin_post = post_begin,
                .end_post = post_end},
            why);
    return v;
}

verdict
service_start(struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why) {
    *rt = (struct runtime){.started_at = clock_ms(), .drill = drill_new(), .routes = chassis_routes};
    verdict v = core_open(&rt->core, service, settings, why);
    if (v == OK && !rt->drill) v = fail(why, RETRY, "out of memory");
    if (v == OK) v = start_store(rt, why);
    if (v == OK) v = core_start_codec(&rt->core, news_came, rt, why);
    if (v == OK) v = outbox_note(rt->core.outbox, rt->core.store, why);
    if (v == OK) v = history_start(&rt->history, &rt->core, news_came, rt, why);
    if (v == OK) v = start_events(rt, why);
    if (v == OK) v = start_web(rt, why);
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
    drill_free(&rt->drill);
}
