#include "chassis/service/commands.h"

#include "chassis/base/assets.h"
#include "chassis/base/log.h"
#include "chassis/base/process.h"
#include "chassis/base/terminal.h"
#include "chassis/base/wait.h"
#include "chassis/contracts/contracts.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/client.h"
#include "chassis/rebuild/rebuild.h"
#include "chassis/service/routes.h"
#include "chassis/service/start.h"
#include "chassis/store/state_text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STOP_MS = 4000 };

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
    if (v == OK) {
        struct connection *c = store_reader(s);
        (void)store_run(c, "BEGIN"); /* one moment */
        json_auto_t *tables = state_text_tables(c, service->kept);
        (void)state_text_rows(c, "main", tables, sha ? NULL : stdout, hash);
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
    enum log_level level = LOG_ERROR;
    while (level < LOG_DEBUG && strcmp(names[level], name) != 0) level++;
    return level;
}

/* Nothing is lost by ending at once: what was acknowledged is committed. So a hanging library does not hold up a stop.
 */
static void end_at_once(const char *why) {
    log_line(LOG_WARNING, why, NULL);
    _exit(process_ended() ? 1 : 0);
}

static int run_until_signal(struct runtime *rt, const sigset_t *signals) {
    int signal;
    struct limit limit;
    sigwait(signals, &signal);
    log_line(LOG_INFO, "stopping", "signal", strsignal(signal), NULL);
    limit_begin(&limit, STOP_MS, end_at_once, "the orderly stop took too long; ending at once");
    service_stop(rt);
    limit_end(&limit);
    log_line(LOG_INFO, "stopped", NULL);
    return process_ended() ? 1 : 0;
}

/* Two with databases of their own would each know half of the events, and publish answers to those of the other. */
static verdict check_instance(const struct service *service, const struct settings *s, struct failure *why) {
    if (service->in_memory || !strcmp(s->instance, "-") || !strcmp(s->instance, s->service)) return OK;
    return fail(
        why, REJECT,
        "instance=\"%s\": %s keeps a database that belongs to one process, so it runs once; leave this setting out, or set it to - for dynamic membership",
        s->instance, s->service);
}

/* Before anything is opened. */
static verdict check(const struct service *service, const struct settings *settings, struct failure *why) {
    struct outbox *given = NULL;
    verdict v = kafka_check(settings, why);
    if (v == OK) v = check_instance(service, settings, why);
    if (v == OK) v = outbox_open(&given, own_assets, own_assets_n, settings->schemas, why);
    outbox_close(&given);
    for (const struct policy *p = service->policies; v == OK && p && p->name; p++)
        v = settings_check_policy(settings, p->name, p->values, why);
    return v;
}

static int run(const struct service *service, const char *name, int port, int argc, char *argv[]) {
    __attribute__((cleanup(settings_free))) struct settings settings;
    struct failure why;
    struct runtime rt;
    sigset_t signals;
    char number[24];
    if (settings_read(&settings, name, port, argc, argv, environ, &why) != OK ||
        check(service, &settings, &why) != OK) {
        fprintf(stderr, "%s: %s\n", name, shown(why.text));
        return 2;
    }
    if (settings.help) settings_help(&settings, service->duty);
    if (settings.table && !settings.help) settings_table();
    if (settings.help || settings.table) return 0;
    log_start(name, level_of(settings.log_level));
    /* All threads inherit the mask. This one alone takes the signals. Neither a peer that hangs up nor a file that
     * may not grow must end the process. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (service_start(&rt, service, &settings, &why) != OK) {
        log_line(LOG_ERROR, "could not start", "reason", why.text, NULL);
        return 1;
    }
    log_line(LOG_INFO, "ready", "port", log_number(number, http_port(rt.http)), "namespace", settings.namespace, NULL);
    return run_until_signal(&rt, &signals);
}

int service_main(const struct service *service, const char *name, int port, int argc, char *argv[]) {
    const char *verb = argc > 1 ? argv[1] : "";
    log_start(name, LOG_INFO);
    if (!strcmp(verb, "rebuild")) return rebuild_main(service, name, port, argc - 1, argv + 1);
    if (!strcmp(verb, "dump")) return dump_main(service, name, argc - 1, argv + 1);
    if (!strcmp(verb, "--asyncapi") || !strcmp(verb, "--openapi"))
        return contracts_main(service, name, chassis_routes, verb + strlen("--"));
    return run(service, name, port, argc, argv);
}
