#include "chassis/service.h"

#include "chassis/assets.h"
#include "chassis/asyncapi.h"
#include "chassis/audit_check.h"
#include "chassis/call.h"
#include "chassis/caller.h"
#include "chassis/consumer.h"
#include "chassis/drill.h"
#include "chassis/dump.h"
#include "chassis/health.h"
#include "chassis/history.h"
#include "chassis/hub.h"
#include "chassis/idempotency.h"
#include "chassis/kafka.h"
#include "chassis/letters.h"
#include "chassis/log.h"
#include "chassis/migrations.h"
#include "chassis/openapi.h"
#include "chassis/peers.h"
#include "chassis/process.h"
#include "chassis/pulse.h"
#include "chassis/rebuild.h"
#include "chassis/registry.h"
#include "chassis/relay.h"
#include "chassis/status.h"
#include "chassis/subscribers.h"
#include "chassis/terminal.h"
#include "chassis/wait.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STOP_SECONDS = 2, BODY_MAX = 64 * 1024, BODY_MS = 5000, HELD_MS = 2000 };

/* --- Starting */

static verdict start_store(struct runtime *rt, struct failure *why) {
    struct migration migrations[MIGRATIONS_MAX];
    char path[DATABASE_PATH];
    settings_database(rt->settings, path);
    size_t n = assets_migrations("chassis", "tables", migrations, 0);
    n = assets_migrations("team", "schema", migrations, n);
    verdict v = (rt->service->in_memory ? store_open_empty : store_open)(&rt->store, path, migrations, n, why);
    if (v == OK) health_set(rt->health, "store", HEALTH_OK, "writes");
    return v;
}

/* The registry has something new, or a new database may begin. */
static void news_came(void *context) {
    struct runtime *rt = context;
    pthread_mutex_lock(&rt->wiring);
    pthread_cond_broadcast(&rt->news);
    if (rt->wired) {
        relay_wake(rt->relay);
        consumer_wake(rt->consumer);
    }
    pthread_mutex_unlock(&rt->wiring);
}

static void set_wired(struct runtime *rt, bool wired) {
    pthread_mutex_lock(&rt->wiring);
    rt->wired = wired;
    pthread_mutex_unlock(&rt->wiring);
    if (wired) news_came(rt); /* what changed before this */
}

static verdict start_registry(struct runtime *rt, struct failure *why) {
    const struct settings *s = rt->settings;
    struct registry_options o = {
        .url = s->registry,
        .user = *s->registry_user ? s->registry_user : NULL,
        .password = *s->registry_password ? s->registry_password : NULL,
        .timeout_ms = (int)s->registry_timeout_ms,
        .unknown_id_ms = (int)s->unknown_id_ms,
        .health = rt->health,
        .changed = news_came,
        .context = rt,
    };
    return registry_start(&rt->registry, &o, why);
}

static verdict start_relay(struct runtime *rt, struct failure *why) {
    struct relay_options o = {
        rt->settings,
        rt->store,
        rt->outbox,
        rt->registry,
        rt->health,
        rt->audit_check,
        .snapshots = rt->service->snapshots,
        .held = &rt->held,
        .end = process_end};
    return relay_start(&rt->relay, &o, why);
}

static verdict start_hub(struct runtime *rt, struct failure *why) {
    return hub_start(&rt->hub, &(struct hub_options){rt->store, .streams = (int)rt->settings->streams}, why);
}

/* Kafka answers in a moment as a rule, for which a request waits. While Kafka is away a newcomer takes orders. */
static bool is_lost(struct runtime *rt) {
    int64_t until = steady_ms() + HELD_MS;
    pthread_mutex_lock(&rt->wiring);
    while (history_asks(rt->history) && wait_until(&rt->news, &rt->wiring, until)) {
    }
    pthread_mutex_unlock(&rt->wiring);
    return history_lost(rt->history);
}

static bool post_begin(struct exchange *x) {
    struct runtime *rt = x->context;
    if (!is_lost(rt)) return idempotency_begin(x);
    exchange_problem(
        x, 503, "Nothing was changed: the database of %s was lost, or is an older copy. To make it whole: ./returns rebuild %s",
        rt->settings->service, rt->settings->service);
    return false;
}

static verdict start_http(struct runtime *rt, struct failure *why) {
    static const struct resource none[] = {{0}};
    rt->calls[0] = call_resource(rt->service);
    const struct resource *tables[] = {
        rt->service->resources ? rt->service->resources : none, rt->calls, status_resources};
    struct http_options o = {
        .host = rt->settings->host,
        .port = (int)rt->settings->port,
        .public_url = rt->settings->public_url,
        .allowed_hosts = rt->settings->allowed_hosts,
        .threads = (int)rt->settings->http_threads,
        .body_max = BODY_MAX,
        .body_ms = BODY_MS,
        .tables = tables,
        .tables_n = 3,
        .context = rt,
        .decorate = status_decorate,
        .begin_post = post_begin,
        .end_post = idempotency_end,
    };
    return http_start(&rt->http, &o, why);
}

static verdict
runtime_open(struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why) {
    *rt = (struct runtime){
        .service = service,
        .settings = settings,
        .started_at = clock_ms(),
        .health = health_new(),
        .drill = drill_new(),
        .idempotency = idempotency_new()};
    pthread_mutex_init(&rt->wiring, NULL);
    wait_init(&rt->news);
    return rt->health && rt->drill && rt->idempotency ? OK : fail(why, RETRY, "out of memory");
}

static void note_type(void *context, const char *type, const char *text, size_t n) {
    (void)text, (void)n;
    *(const char **)context = type;
}

static verdict start_codec(struct runtime *rt, struct failure *why) {
    const struct asset *schemas;
    size_t schemas_n;
    assets_service(&schemas, &schemas_n);
    verdict v = outbox_open(&rt->outbox, schemas, schemas_n, rt->settings->schemas, why);
    const char *published = NULL;
    if (v == OK && rt->service->in_memory) outbox_each(rt->outbox, note_type, &published);
    if (published) v = fail(why, FATAL, "a service in memory publishes nothing, but has a schema: \"%s\"", published);
    return v == OK ? start_registry(rt, why) : v;
}

verdict service_prepare(
    struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why) {
    verdict v = runtime_open(rt, service, settings, why);
    return v == OK ? start_codec(rt, why) : v;
}

verdict
service_start(struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why) {
    verdict v = runtime_open(rt, service, settings, why);
    if (v == OK) v = start_store(rt, why);
    if (v == OK) v = start_codec(rt, why);
    if (v == OK) v = outbox_note(rt->outbox, rt->store, why);
    if (v == OK) v = history_start(&rt->history, rt, news_came, why);
    if (v == OK) v = audit_check_start(&rt->audit_check, rt->store, why); /* the relay publishes what it finds */
    if (v == OK && !service->in_memory) v = start_relay(rt, why);
    if (v == OK && !(rt->pulse = pulse_new())) v = fail(why, RETRY, "out of memory");
    if (v == OK) v = peers_open(&rt->peers, rt, why);
    if (v == OK) v = consumer_start(&rt->consumer, rt, why);
    if (v == OK && service->watch_subscribers) v = subscribers_start(&rt->subscribers, rt, why);
    if (v == OK && service->put_aside) v = letters_start(&rt->letters, rt, why);
    if (v == OK) v = peers_start(rt->peers, why);
    if (v == OK && service->calls_others) v = caller_start(&rt->caller, why);
    if (v == OK) v = start_hub(rt, why);
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
    if (rt->http && rt->service->stop) rt->service->stop(rt);
    http_stop(&rt->http);
    hub_stop(&rt->hub);
    caller_stop(&rt->caller);
    peers_stop(rt->peers);
    letters_stop(&rt->letters);
    subscribers_stop(&rt->subscribers);
    history_stop(&rt->history);
    consumer_stop(&rt->consumer);
    peers_close(&rt->peers);
    pulse_free(&rt->pulse);
    relay_stop(&rt->relay);
    audit_check_stop(&rt->audit_check);
    registry_stop(&rt->registry);
    outbox_close(&rt->outbox);
    store_close(&rt->store);
    idempotency_free(&rt->idempotency);
    drill_free(&rt->drill);
    health_free(&rt->health);
    pthread_cond_destroy(&rt->news);
    pthread_mutex_destroy(&rt->wiring);
}

/* --- main */

static enum log_level level_of(const char *name) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(names[i], name)) return (enum log_level)i;
    return LOG_INFO;
}

/* Nothing is lost by ending at once: what was acknowledged is committed. So a hanging library does not hold up a stop.
 */
static void *watchdog(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "watchdog");
    struct timespec wait = {STOP_SECONDS, 0};
    nanosleep(&wait, NULL);
    log_line(LOG_WARNING, "the orderly stop took too long; ending at once", NULL);
    _exit(process_ended() ? 1 : 0);
}

static void run_until_signal(sigset_t *signals) {
    int signal;
    sigwait(signals, &signal);
    log_line(LOG_INFO, "stopping", "signal", strsignal(signal), NULL);
    pthread_t thread;
    if (!pthread_create(&thread, NULL, watchdog, NULL)) pthread_detach(thread);
}

/* Those that are given, before anything is opened. */
static verdict check_schemas(const struct settings *settings, struct failure *why) {
    const struct asset *schemas;
    size_t n;
    struct outbox *outbox;
    assets_service(&schemas, &n);
    verdict v = outbox_open(&outbox, schemas, n, settings->schemas, why);
    outbox_close(&outbox);
    return v;
}

/* Two with databases of their own would each know half of the events, and publish answers to those of the other. */
static verdict check_instance(const struct service *service, const struct settings *s, struct failure *why) {
    if (service->in_memory || !strcmp(s->instance, "-") || !strcmp(s->instance, s->service)) return OK;
    return fail(
        why, REJECT,
        "instance=\"%s\": %s keeps a database that belongs to one process, so it runs once; leave this setting out, or set it to - for dynamic membership",
        s->instance, s->service);
}

int service_main(const struct service *service, const char *name, int port, int argc, char *argv[]) {
    extern char **environ;
    struct settings settings;
    struct failure why;
    struct runtime rt;
    char number[24];
    log_start(name, LOG_INFO);
    if (argc > 1 && !strcmp(argv[1], "rebuild")) return rebuild_main(service, name, port, argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "dump")) return dump_main(service, name, argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "--asyncapi")) return asyncapi_main(service, name);
    if (argc > 1 && !strcmp(argv[1], "--openapi")) return openapi_main(service, name);
    verdict v = settings_read(&settings, name, port, argc, argv, environ, &why);
    if (v == OK) v = kafka_check(&settings, &why);
    if (v == OK) v = check_instance(service, &settings, &why);
    if (v == OK) v = check_schemas(&settings, &why);
    for (const struct policy *p = service->policies; v == OK && p && p->name; p++)
        v = settings_check_policy(&settings, p->name, p->values, &why);
    if (v != OK) {
        fprintf(stderr, "%s: %s\n", name, shown(why.text));
        settings_free(&settings);
        return 2;
    }
    if (settings.help || settings.table) {
        if (settings.help)
            settings_help(&settings, service->duty);
        else
            settings_table();
        settings_free(&settings);
        return 0;
    }
    log_start(name, level_of(settings.log_level));
    /* All threads inherit the mask; this one alone takes the signals. Neither a peer that hangs up nor a file that
     * may not grow must end the process. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (service_start(&rt, service, &settings, &why) != OK) {
        log_line(LOG_ERROR, "could not start", "reason", why.text, NULL);
        settings_free(&settings);
        return 1;
    }
    log_line(LOG_INFO, "ready", "port", log_number(number, http_port(rt.http)), "namespace", settings.namespace, NULL);
    run_until_signal(&signals);
    service_stop(&rt);
    settings_free(&settings);
    log_line(LOG_INFO, "stopped", NULL);
    return process_ended() ? 1 : 0;
}
