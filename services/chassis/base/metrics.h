/* metrics: counters of this process, described in one table, in Prometheus' text format. Any thread, without a lock. */
#pragma once

#include "chassis/base/buffer.h"

#include <stdint.h>

/* name, help */
#define METRICS(X)                                                                                                     \
    X(events_consumed, "Records read from Kafka")                                                                      \
    X(events_handled, "Records whose effect was committed")                                                            \
    X(events_duplicate, "Records that had been handled before")                                                        \
    X(events_skipped, "Records of a type that this service does not handle")                                           \
    X(events_quarantined, "Records that could not be decoded or were rejected")                                        \
    X(batches_committed, "Transactions of the consumer")                                                               \
    X(batch_retries, "Transactions of the consumer that failed and were tried again")                                  \
    X(partitions_held, "Times a partition was held because a schema could not be had yet")                             \
    X(rebalances, "Assignments received from the group coordinator")                                                   \
    X(events_sent, "Outbox rows confirmed by Kafka")                                                                   \
    X(send_failures, "Deliveries that failed and were sent again")                                                     \
    X(registry_requests, "Requests to the schema registry")                                                            \
    X(registry_failures, "Requests to the schema registry that failed")                                                \
    X(http_requests, "HTTP requests answered")                                                                         \
    X(http_client_errors, "HTTP answers with a 4xx status")                                                            \
    X(http_server_errors, "HTTP answers with a 5xx status")                                                            \
    X(http_pages, "Pages made")                                                                                        \
    X(http_pages_cpu_us, "Processor time that making them took, in microseconds")

enum metric {
#define METRIC_ENUM(name, help) METRIC_##name,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
        METRICS_N
};

void metric_add(enum metric m, int64_t n);
int64_t metric_read(enum metric m);
void metrics_write(struct buffer *out); /* each as returns_<name>_total with HELP and TYPE */
/* Another series of the same name has help NULL. labels: NULL, or as they stand between the braces, escaped. */
void metrics_gauge(struct buffer *out, const char *name, const char *help, const char *labels, double value);
