#include "chassis/outgoing/first_record.h"

#include "chassis/base/ids.h"

#include <stdlib.h>
#include <string.h>

enum { FORGOTTEN_MS = 3600 * 1000 };

/* Those of librdkafka that go by the key. By "random" no return has an order that could be kept. */
static const struct {
    const char *name;
    int32_t (*partitioner)(const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *);
} partitioners[] = {
    {"murmur2", rd_kafka_msg_partitioner_murmur2},
    {"murmur2_random", rd_kafka_msg_partitioner_murmur2},
    {"fnv1a", rd_kafka_msg_partitioner_fnv1a},
    {"fnv1a_random", rd_kafka_msg_partitioner_fnv1a},
};

bool first_record_begin(struct first_record *f, rd_kafka_t *producer, int32_t partitions) {
    char name[40] = "";
    size_t size = sizeof name;
    first_record_end(f);
    if (!(f->confirmed = calloc((size_t)partitions, sizeof *f->confirmed))) return false;
    f->partitions = partitions;
    f->partitioner = rd_kafka_msg_partitioner_consistent; /* librdkafka's default, and this system's contract */
    if (rd_kafka_conf_get(rd_kafka_conf(producer), "partitioner", name, &size) != RD_KAFKA_CONF_OK) return true;
    for (size_t i = 0; i < sizeof partitioners / sizeof *partitioners; i++)
        if (!strcmp(name, partitioners[i].name)) f->partitioner = partitioners[i].partitioner;
    return true;
}

void first_record_end(struct first_record *f) {
    free(f->confirmed);
    *f = (struct first_record){0};
}

bool first_record_taken(const struct first_record *f, const void *key, size_t n) {
    if (!f->partitions) return false;
    int64_t at = f->confirmed[f->partitioner(NULL, key, n, f->partitions, NULL, NULL)];
    return at && steady_ms() - at < FORGOTTEN_MS;
}

void first_record_confirm(struct first_record *f, int32_t partition) {
    if (partition >= 0 && partition < f->partitions) f->confirmed[partition] = steady_ms();
}
