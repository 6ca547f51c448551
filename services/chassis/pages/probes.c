#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/metrics.h"
#include "chassis/events/dead_letter.h"
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
    struct buffer text = BUFFER(PROBE_BYTES);
    bool ready = health_ready(rt->core.health);
    json_t *health = health_json(rt->core.health), *component;
    size_t i;
    json_array_foreach(json_object_get(health, "components"), i, component) {
        const char *name, *state, *says;
        if (!exchange_query(x, "verbose") ||
            json_unpack(component, "{s:s, s:s, s:s}", "name", &name, "state", &state, "text", &says))
            continue;
        buffer_format(&text, "[%s]%s %s%s", strcmp(state, "failed") ? "+" : "-", name, state, *says ? ": " : "");
        buffer_shown(&text, says, strlen(says)); /* it may be read on a terminal */
        buffer_text(&text, "\n");
    }
    buffer_text(&text, ready ? "ready\n" : "not ready\n");
    exchange_send(x, ready ? 200 : 503, "text/plain; charset=utf-8", text.data, text.length);
    json_decref(health);
    buffer_free(&text);
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
    json_t *partitions = page_partitions(rt, &oldest), *partition;
    const char *help = "Records of a partition that are not handled yet";
    size_t i;
    json_array_foreach(partitions, i, partition) {
        json_t *lag = json_object_get(partition, "lag");
        char labels[400];
        if (!json_is_integer(lag)) continue;
        snprintf(
            labels, sizeof labels, "topic=\"%s\",partition=\"%lld\"", /* Kafka allows no quotes in a topic's name */
            json_string_value(json_object_get(partition, "topic")),
            (long long)json_integer_value(json_object_get(partition, "partition")));
        metrics_gauge(out, "returns_consumer_lag", help, labels, (double)json_integer_value(lag));
        help = NULL;
    }
    json_decref(partitions);
    metrics_gauge(
        out, "returns_oldest_unhandled_seconds", "Age of the oldest record that is known to be unhandled", NULL,
        (double)oldest / 1000);
}

static void gauges_components(struct buffer *out, struct runtime *rt) {
    json_t *health = health_json(rt->core.health), *component;
    const char *help = "1: the component works; 0: it waits or has failed";
    size_t i;
    json_array_foreach(json_object_get(health, "components"), i, component) {
        char labels[128];
        const char *state = json_string_value(json_object_get(component, "state"));
        snprintf(labels, sizeof labels, "component=\"%s\"", json_string_value(json_object_get(component, "name")));
        metrics_gauge(out, "returns_component_up", help, labels, state && !strcmp(state, "ok"));
        help = NULL;
    }
    json_decref(health);
}

void probe_metrics_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->core.store);
    struct buffer text = BUFFER(METRICS_BYTES);
    metrics_write(&text);
    gauges_partitions(&text, rt);
    gauges_components(&text, rt);
    metrics_gauge(
        &text, "returns_outbox_depth", "Events that were decided and are not published yet", NULL,
        (double)store_int(reader, 0, "SELECT n FROM pile WHERE name = 'waiting'"));
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
    buffer_free(&text);
}
