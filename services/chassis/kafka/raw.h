/* raw: a record as Kafka has it: its bytes, its headers, its fingerprint. Any thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A record's bytes, as they came from Kafka or as dead_letter keeps them. */
struct raw {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t at;              /* Kafka's timestamp, ms. 0: not known */
    const void *key, *value; /* NULL: none */
    size_t key_n, value_n;
    rd_kafka_headers_t *headers; /* NULL: none */
};
struct raw raw_of(const rd_kafka_message_t *m); /* lives as long as the message */

enum { SOURCE_URL = 512, SOURCE_NAME = 256 };
bool source_url_valid(const char *url); /* what others say of themselves, before it becomes a link */
/* The last header of that name as text, or "" when it is absent or does not fit. Returns out. */
const char *raw_header(const struct raw *raw, const char *name, char *out, size_t size);
const char *message_header(const rd_kafka_message_t *m, const char *name, char *out, size_t size);
int64_t log_mark(const rd_kafka_message_t *m); /* a record's fingerprint: timestamp, key and value */
