#include "chassis/service/commands.h"

#include "chassis/base/assets.h"
#include "chassis/base/log.h"
#include "chassis/base/process.h"
#include "chassis/base/terminal.h"
#include "chassis/contracts/asyncapi.h"
#include "chassis/contracts/openapi.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/client.h"
#include "chassis/rebuild/rebuild.h"
#include "chassis/service/routes.h"
#include "chassis/service/start.h"
#include "chassis/store/state_text.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STOP_SECONDS = 2 };

/* --- Subcommands */

/* NAME dump FILE.db [--sha]. The program's exit code. */
static int dump_main(const struct service *service, const char *name, int argc, char *argv[]) {
    bool sha = argc == 3 && !strcmp(argv[2], "--sha");
    struct store *s = NULL;
    struct failure why;
    char hash[STATE_TEXT_HASH];
    if (argc < 2 || argc > 3 || (argc == 3 && !sha)) {
        fprintf(stderr, "usage: %s dump FILE.db [--sha]\n", name);
        return 2;
    }
    verdict v = store_open_readonly(&s, argv[1], &why);
    struct connection *c = v == OK ? store_reader(s) : NULL;
    if (c) {
        (void)store_run(c, "BEGIN"); /* one moment */
        json_t *tables = state_text_tables(c, service->kept);
        (void)state_text_rows(c, "main", tables, sha ? NULL : stdout, hash);
        json_decref(tables);
        if (store_state(c) != OK) v = fail(&why, RETRY, "%s", store_error(c));
        (void)store_run(c, "ROLLBACK");
    }
    if (v != OK)
        fprintf(stderr, "%s: %s\n", name, shown(why.text));
    else if (sha)
        puts(hash);
    store_close(&s);
    return v == OK ? 0 : 2;
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
    if (argc > 1 && !strcmp(argv[1], "--openapi")) return openapi_main(service, name, chassis_routes);
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
