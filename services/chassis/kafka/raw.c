#include "chassis/kafka/raw.h"

#include "chassis/base/hash.h"
#include "chassis/base/ids.h"
#include "chassis/base/utf8.h"

#include <string.h>

struct raw raw_of(const rd_kafka_message_t *m) {
    struct raw raw = {
        .topic = rd_kafka_topic_name(m->rkt),
        .partition = m->partition,
        .offset = m->offset,
        .at = rd_kafka_message_timestamp(m, NULL),
        .key = m->key,
        .key_n = m->key_len,
        .value = m->payload,
        .value_n = m->len};
    if (!time_valid(raw.at)) raw.at = 0;
    if (rd_kafka_message_headers(m, &raw.headers)) raw.headers = NULL;
    return raw;
}

const char *raw_header(const struct raw *raw, const char *name, char *out, size_t size) {
    const void *value = NULL;
    size_t n = 0;
    if (raw->headers) rd_kafka_header_get_last(raw->headers, name, &value, &n);
    if (!value || n >= size || memchr(value, 0, n)) n = 0;
    if (n) memcpy(out, value, n);
    out[n] = '\0';
    return out;
}

const char *message_header(const rd_kafka_message_t *m, const char *name, char *out, size_t size) {
    struct raw raw = raw_of(m);
    return raw_header(&raw, name, out, size);
}

/* Pages link to it, so nothing but a web address will do. */
bool source_url_valid(const char *url) {
    bool is_url = !strncmp(url, "http://", 7) || !strncmp(url, "https://", 8);
    return is_url && strlen(url) < SOURCE_URL && utf8_valid(url, strlen(url));
}

int64_t log_mark(const rd_kafka_message_t *m) {
    uint64_t hash = hash_bytes(HASH_START ^ (uint64_t)rd_kafka_message_timestamp(m, NULL), m->key, m->key_len);
    return (int64_t)hash_bytes(hash_bytes(hash, "\xff", 1), m->payload, m->len);
}
