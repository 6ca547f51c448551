#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/metrics.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/outbox_queue.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/pages/page.h"
#include "chassis/web/sse.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PROBE_BYTES = 1 << 16, METRICS_BYTES = 1 << 20 };

void probe_livez_get(struct exchange *x) {
    exchange_send(x, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

/* Plain text as Kubernetes' own components write it. */
void probe_readyz_get(struct exchange *x) {
    struct runtime *rt = x->context;
    buffer_auto text = BUFFER(PROBE_BYTES);
    bool ready = health_ready(rt->core.health), verbose = exchange_query(x, "verbose");
    json_auto_t *health = health_json(rt->core.health);
    json_each(i, component, verbose ? json_object_get(health, "components") : NULL) {
        const char *state = json_get_text(component, "state"), *says = json_get_text(component, "text");
        buffer_format(
            &text, "[%s]%s %s%s", strcmp(state, "failed") ? "+" : "-", json_get_text(component, "name"), state,
            *says ? ": " : "");
        buffer_shown(&text, says, strlen(says)); /* it may be read on a terminal */
        buffer_text(&text, "\n");
    }
    buffer_text(&text, ready ? "ready\n" : "not ready\n");
    exchange_send(x, ready ? 200 : 503, "text/plain; charset=utf-8", text.data, text.length);
}

static double resident_bytes(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void gauges_partitions(struct buffer *out, struct runtime *rt) {
    int64_t oldest = 0;
    json_auto_t *partitions = page_partitions(rt, &oldest);
    const char *help = "Records of a partition that are not handled yet";
    json_each(i, partition, partitions) {
        char labels[400];
        if (!json_is_integer(json_object_get(partition, "lag"))) continue;
        snprintf(
            labels, sizeof labels, "topic=\"%s\",partition=\"%lld\"", /* Kafka allows no quotes in a topic's name */
            json_get_text(partition, "topic"), json_get_int(partition, "partition"));
        metrics_gauge(out, "returns_consumer_lag", help, labels, (double)json_get_int(partition, "lag"));
        help = NULL;
    }
    metrics_gauge(
        out, "returns_oldest_unhandled_seconds", "Age of the oldest record that is known to be unhandled", NULL,
        (double)oldest / 1000);
}

static void gauges_components(struct buffer *out, struct runtime *rt) {
    json_auto_t *health = health_json(rt->core.health);
    json_each(i, component, json_object_get(health, "components")) {
        char labels[128];
        snprintf(labels, sizeof labels, "component=\"%s\"", json_get_text(component, "name"));
        metrics_gauge(
            out, "returns_component_up", i ? NULL : "1: the component works; 0: it waits or has failed", labels,
            !strcmp(json_get_text(component, "state"), "ok"));
    }
}

void probe_metrics_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->core.store);
    buffer_auto text = BUFFER(METRICS_BYTES);
    metrics_write(&text);
    gauges_partitions(&text, rt);
    gauges_components(&text, rt);
    metrics_gauge(
        &text, "returns_outbox_depth", "Events that were decided and are not published yet", NULL,
        (double)outbox_waiting(reader));
    metrics_gauge(
        &text, "returns_outbox_set_aside", "Events that cannot be published as they are, until somebody acts", NULL,
        (double)set_aside_count(reader));
    metrics_gauge(
        &text, "returns_dead_letters", "Records in quarantine that were not redriven", NULL,
        (double)dead_letter_open(reader));
    metrics_gauge(&text, "returns_streams", "Who watches the audit log live", NULL, sse_watched(rt->sse));
    metrics_gauge(
        &text, "returns_uptime_seconds", "Time since the start", NULL, (double)(clock_ms() - rt->started_at) / 1000);
    metrics_gauge(&text, "process_resident_memory_bytes", "Resident memory", NULL, resident_bytes());
    if (page_reader_ok(x, reader))
        exchange_send(x, 200, "text/plain; version=0.0.4; charset=utf-8", text.data, text.length);
}
