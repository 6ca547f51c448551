#include "chassis/base/metrics.h"

#include <math.h>
#include <stdatomic.h>

static _Atomic int64_t counters[METRICS_N];

void metric_add(enum metric m, int64_t n) {
    atomic_fetch_add_explicit(&counters[m], n, memory_order_relaxed);
}

int64_t metric_read(enum metric m) {
    return atomic_load_explicit(&counters[m], memory_order_relaxed);
}

static const struct {
    const char *name, *help;
} described[METRICS_N] = {
#define METRIC_ROW(name, help) {#name, help},
    METRICS(METRIC_ROW)
#undef METRIC_ROW
};

void metrics_write(struct buffer *out) {
    for (int m = 0; m < METRICS_N; m++)
        buffer_format(
            out, "# HELP returns_%s_total %s\n# TYPE returns_%s_total counter\nreturns_%s_total %lld\n",
            described[m].name, described[m].help, described[m].name, described[m].name, (long long)metric_read(m));
}

void metrics_gauge(struct buffer *out, const char *name, const char *help, const char *labels, double value) {
    if (help) buffer_format(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    buffer_text(out, name);
    if (labels && *labels) buffer_format(out, "{%s}", labels);
    buffer_format(out, value == floor(value) && fabs(value) < 1e15 ? " %.0f\n" : " %.15g\n", value);
}
