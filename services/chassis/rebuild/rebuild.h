/* rebuild: makes a service's state anew from the topics, in a new database beside the one in use, compares the two, and
 * puts the new one in its place. Nothing is published by it, no consumer group knows of it, and the service serves on
 * until the last step (docs/rebuild.md).
 *
 *     a copy of the database (one moment) ──offsets──▶ replay ─▶ new database ─▶ compare
 *        … the service is stopped …
 *     a copy of it again ──offsets──▶ replay what came since ─▶ compare ─▶ rename
 *
 * Without a database the topics are all there is: each partition is resumed behind what was answered. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"
#include "chassis/events/service.h"

struct rebuild_options {
    bool shadow;        /* only compare */
    bool switch_anyway; /* also when the two differ */
    int64_t most;       /* lines of differences in the report */
    /* The running service has to be stopped now. Whoever asked for the rebuild does it, and it is waited for. */
    void (*caught_up)(void *context);
    void (*progress)(void *context, const char *doing, int64_t done, int64_t all); /* each may be NULL */
    void *context;
};

/* *report is the caller's: {"service","shadow","lost","records","answered","identical","hash","hash_before",
 * "differences" (state_text.h, null:
 * none),"events":{"different","lines"},"rejected":{"n","lines"},"switched","before","older" (than its topics),"left"
 * (events that were decided with a held database, and are taken over),"seconds","waited_ms"}. Not OK: nothing was
 * changed. RETRY: Kafka, the registry, or the service's database cannot be had now. REJECT: the log is not the one that
 * was read, or there is nothing to compare with. */
MUST_CHECK verdict rebuild_run(
    const struct service *service, const struct settings *settings, const struct rebuild_options *options,
    json_t **report, struct failure *why);

/* The subcommand: NAME rebuild [--shadow] [--json] [--lines N] [--switch-anyway] [--ready FILE] [settings]. Exit code:
 * 0 identical, or switched as --switch-anyway asked for, 1 something differs, 2 it could not be done, 3 switched, and
 * records that the service now rejects are in its dead letters. */
int rebuild_main(const struct service *service, const char *name, int port, int argc, char *argv[]);
