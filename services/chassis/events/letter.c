#include "chassis/events/letter.h"

#include "chassis/base/format.h"
#include "chassis/base/ids.h"
#include "chassis/kafka/topic_spec.h"

#include <string.h>

enum { HEADER_OVERHEAD = 10 }; /* two lengths, of at most five bytes each */

__attribute__((format(printf, 3, 4))) static void
note(rd_kafka_headers_t *headers, enum letter_header which, const char *format, ...) {
    char text[DEAD_LETTER_REASON];
    format_arguments(text, format);
    rd_kafka_header_add(headers, topic_spec_letters.headers[which].name, -1, text, -1);
}

static bool takes(size_t *room, size_t n) {
    bool fits = n <= *room;
    if (fits) *room -= n;
    return fits;
}

/* Those that fit, in their order. Counts the others. */
static rd_kafka_headers_t *headers_fit(const rd_kafka_headers_t *all, size_t *room, size_t *omitted) {
    size_t n = all ? rd_kafka_header_cnt(all) : 0, value_n;
    const char *name;
    const void *value;
    rd_kafka_headers_t *kept = rd_kafka_headers_new(n + LETTER_HEADERS);
    *omitted = 0;
    for (size_t i = 0; i < n && !rd_kafka_header_get_all(all, i, &name, &value, &value_n); i++) {
        if (takes(room, strlen(name) + value_n + HEADER_OVERHEAD))
            rd_kafka_header_add(kept, name, -1, value, (ssize_t)value_n);
        else
            ++*omitted;
    }
    return kept;
}

rd_kafka_headers_t *letter_record(const struct dead_letter *letter, const char *service, size_t room, struct raw *raw) {
    size_t omitted;
    char at[TIME_TEXT];
    *raw = letter->raw;
    bool key = takes(&room, raw->key_n), value = takes(&room, raw->value_n);
    rd_kafka_headers_t *headers = headers_fit(letter->raw.headers, &room, &omitted);
    note(headers, LETTER_REASON, "%s", letter->reason);
    note(headers, LETTER_SERVICE, "%s", service);
    note(headers, LETTER_TOPIC, "%s", raw->topic);
    note(headers, LETTER_PARTITION, "%d", raw->partition);
    note(headers, LETTER_OFFSET, "%lld", (long long)raw->offset);
    if (letter->answered_at) note(headers, LETTER_ANSWERED_AT, "%s", time_text(letter->answered_at, at));
    if (!letter->open) note(headers, LETTER_REDRIVEN, "true");
    if (!value) {
        note(headers, LETTER_OMITTED_BYTES, "%zu", raw->value_n);
        raw->value = NULL, raw->value_n = 0;
    }
    if (!key) {
        note(headers, LETTER_OMITTED_KEY_BYTES, "%zu", raw->key_n);
        raw->key = NULL, raw->key_n = 0;
    }
    if (omitted) note(headers, LETTER_OMITTED_HEADERS, "%zu", omitted);
    return headers;
}
