#include "chassis/events/dead_letter.h"

#include "chassis/base/buffer.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/events/event.h"
#include "chassis/kafka/client.h"
#include "chassis/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

/* Of a letter in a list: its value and key up to so many bytes, its headers (as text) up to SHOWN_HEADERS times as
 * many. Of a page: what it shows, and what is read for it. Each page has one letter at least. */
enum { SHOWN_BYTES = 1024, SHOWN_HEADERS = 4, PAGE_SHOWN = 512 << 10, PAGE_LOADED = 16 << 20, HEADER_BYTES = 1 << 30 };

/* --- Bytes of JSON (bytes_json()), and back */

/* Appends the bytes. False for null. */
static bool bytes_of(const json_t *json, struct buffer *out) {
    const json_t *hex = json_object_get(json, "hex");
    const char *text = json_string_value(hex);
    if (json_is_string(json)) buffer_bytes(out, json_string_value(json), json_string_length(json));
    for (; text && text[0] && text[1]; text += 2) {
        char digits[] = {text[0], text[1], '\0'}, byte = (char)strtol(digits, NULL, 16);
        buffer_bytes(out, &byte, 1);
    }
    return json_is_string(json) || hex;
}

/* NULL: out of memory. */
static char *headers_text(rd_kafka_headers_t *headers) {
    json_auto_t *all = kafka_headers_json(headers);
    return all ? json_dumps(all, JSON_COMPACT) : NULL;
}

char *event_headers(const struct event *e) {
    return headers_text(e->raw->headers);
}

/* REJECT: they cannot be read. */
static verdict headers_of(const char *text, rd_kafka_headers_t **out, struct failure *why) {
    json_error_t error;
    json_auto_t *all = json_loads(text, JSON_ALLOW_NUL, &error);
    if (!all && (json_error_code(&error) == json_error_out_of_memory || !*error.text)) /* jansson may not say so */
        return fail(why, RETRY, "out of memory");
    if (!json_is_array(all)) return fail(why, REJECT, "its headers cannot be read: %s", error.text);
    rd_kafka_headers_t *headers = *out = rd_kafka_headers_new(json_array_size(all));
    bool whole = true;
    json_each(i, pair, all) {
        buffer_auto name = BUFFER(HEADER_BYTES);
        buffer_auto value = BUFFER(HEADER_BYTES);
        (void)bytes_of(json_array_get(pair, 0), &name);
        bool has_value = bytes_of(json_array_get(pair, 1), &value);
        rd_kafka_header_add(
            headers, name.data ? name.data : "", (ssize_t)name.length,
            has_value ? (value.data ? value.data : "") : NULL, has_value ? (ssize_t)value.length : 0);
        whole = whole && !name.failed && !value.failed;
    }
    return whole ? OK : fail(why, RETRY, "out of memory");
}

/* --- Storing */

int64_t dead_letter_keep(struct connection *c, const struct raw *raw, int64_t at, const char *reason) {
    char *headers = headers_text(raw->headers);
    if (!headers) store_spoil(c, RETRY, "could not keep a dead letter: out of memory");
    int64_t id = store_int(
        c, 0,
        "INSERT INTO dead_letter (at, topic, partition, record_offset, record_key, headers, value, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        value_int(at), value_text(raw->topic), value_int(raw->partition), value_int(raw->offset),
        value_blob(raw->key, raw->key_n), value_text(headers), value_blob(raw->value, raw->value_n),
        value_text(reason));
    free(headers);
    return id;
}

void dead_letter_publish(struct connection *c, int64_t id, const char *trace_parent, int64_t at) {
    struct uuid event_id = uuid_make();
    (void)store_run(
        c,
        "INSERT INTO outbox (event_id, type, return_id, body, trace_parent, occurred_at, dead_letter) VALUES (?, 'dead-letter', '', ?, ?, ?, ?)",
        value_blob(event_id.bytes, sizeof event_id.bytes), value_blob("", 0), value_text(trace_parent), value_int(at),
        value_int(id));
}

/* --- Reading */

/* SQLite gives NULL for an empty blob as well as for none. An empty value is not a tombstone. */
static bool copy_blob(const struct rows *r, int column, const void **out, size_t *n) {
    const void *bytes = rows_blob(r, column, n);
    *out = NULL;
    if (rows_null(r, column)) return true;
    char *copy = malloc(*n + 1);
    if (copy && *n) memcpy(copy, bytes, *n);
    *out = copy;
    return copy;
}

verdict dead_letter_read(struct connection *c, int64_t id, struct dead_letter *out, struct failure *why) {
    verdict v = fail(why, REJECT, "there is no dead letter %lld", (long long)id);
    *out = (struct dead_letter){.id = id};
    struct rows r = store_rows(
        c,
        "SELECT topic, partition, record_offset, record_key, headers, value, reason, state, COALESCE(answered_at, 0) FROM dead_letter WHERE id = ?",
        value_int(id));
    if (rows_next(&r)) {
        out->raw.topic = strdup(rows_text(&r, 0));
        out->raw.partition = (int32_t)rows_int(&r, 1);
        out->raw.offset = rows_int(&r, 2);
        snprintf(out->reason, sizeof out->reason, "%s", rows_text(&r, 6));
        out->open = !strcmp(rows_text(&r, 7), "open");
        out->answered_at = rows_int(&r, 8);
        bool copied = copy_blob(&r, 3, &out->raw.key, &out->raw.key_n);
        copied = copy_blob(&r, 5, &out->raw.value, &out->raw.value_n) && copied;
        v = copied && out->raw.topic ? OK : fail(why, RETRY, "out of memory");
        if (v == OK) v = headers_of(rows_text(&r, 4), &out->raw.headers, why);
        rows_close(&r);
        if (v != OK) return fail(why, v, "could not read dead letter %lld: %s", (long long)id, why->text);
    }
    return store_state(c) == OK ? v : store_check(c, why);
}

void dead_letter_free(struct dead_letter *letter) {
    free((void *)letter->raw.topic);
    free((void *)letter->raw.key);
    free((void *)letter->raw.value);
    if (letter->raw.headers) rd_kafka_headers_destroy(letter->raw.headers);
    *letter = (struct dead_letter){0};
}

int64_t dead_letter_open(struct connection *c) {
    return store_int(c, 0, "SELECT n FROM pile WHERE name = 'open letters'");
}

/* later_handled: what of the same return had its effect although it came after this one. */
#define COLUMNS                                                                                                        \
    "d.id, d.at, d.state, d.reason, d.topic, d.partition, d.record_offset, d.record_key, d.headers, d.value, "         \
    "d.said, d.said_at, (SELECT COUNT(*) FROM audit AS a WHERE a.return_id = CAST(d.record_key AS TEXT) AND "          \
    "a.topic = d.topic AND a.partition = d.partition AND a.record_offset > d.record_offset AND "                       \
    "a.outcome IN ('handled', 'declined'))"

/* At most so many bytes, and no part of a character. */
static size_t shown_bytes(const char *bytes, size_t n, size_t most) {
    if (n <= most) return n;
    for (n = most; n && most - n < 4 && ((unsigned char)bytes[n] & 0xc0) == 0x80;) n--;
    return n;
}

/* What is longer than most is cut. Headers are left out then. */
static json_t *row_json(const struct rows *r, size_t most) {
    size_t key_n, n, headers_n = strlen(rows_text(r, 8));
    const void *key = rows_blob(r, 7, &key_n), *value = rows_blob(r, 9, &n);
    size_t headers_most = most > SIZE_MAX / SHOWN_HEADERS ? SIZE_MAX : most * SHOWN_HEADERS;
    json_t *headers = headers_n > headers_most ? json_array() : json_loads(rows_text(r, 8), JSON_ALLOW_NUL, NULL);
    bool cut = n > most || key_n > most || headers_n > headers_most;
    key_n = shown_bytes(key, key_n, most);
    return json_pack(
        "{s:I, s:o, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:I, s:b, s:o, s:o, s:I}", "id", (json_int_t)rows_int(r, 0),
        "at", rows_time_json(r, 1), "state", rows_text(r, 2), "reason", utf8_json(rows_text(r, 3)), "topic",
        utf8_json(rows_text(r, 4)), "partition", (json_int_t)rows_int(r, 5), "offset", (json_int_t)rows_int(r, 6),
        "key", rows_null(r, 7) ? json_null() : bytes_json(key ? key : "", key_n), "headers",
        headers ? headers : json_array(), "value",
        rows_null(r, 9) ? json_null() : hex_json(value ? value : "", n < most ? n : most), "value_bytes", (json_int_t)n,
        "cut", cut, "said", rows_null(r, 10) ? json_null() : utf8_json(rows_text(r, 10)), "said_at",
        rows_time_json(r, 11), "later_handled", (json_int_t)rows_int(r, 12));
}

/* Whether the row fits, too, into what a page shows and what is read for one. */
static bool page_has_room(const struct rows *r, size_t *shown, size_t *loaded) {
    size_t key_n, n, headers_n = strlen(rows_text(r, 8)), most = SHOWN_BYTES * SHOWN_HEADERS;
    (void)rows_blob(r, 7, &key_n), (void)rows_blob(r, 9, &n);
    *loaded += key_n + n + headers_n;
    *shown += MIN(key_n, SHOWN_BYTES) + MIN(n, SHOWN_BYTES) + (headers_n > most ? 0 : headers_n) +
              strlen(rows_text(r, 3)) + strlen(rows_text(r, 10));
    return *shown <= PAGE_SHOWN && *loaded <= PAGE_LOADED;
}

json_t *dead_letter_page(struct connection *reader, int64_t before, int limit) {
    json_t *all = json_array();
    json_int_t last = 0;
    bool more = false;
    size_t shown = 0, loaded = 0;
    struct rows r = store_rows(
        reader, "SELECT " COLUMNS " FROM dead_letter AS d WHERE d.id < ? ORDER BY d.id DESC LIMIT ?",
        value_int(before ? before : INT64_MAX), value_int(limit + 1));
    while (!more && rows_next(&r)) {
        size_t n = json_array_size(all);
        more = n == (size_t)limit || (n && !page_has_room(&r, &shown, &loaded));
        if (more) continue;
        last = rows_int(&r, 0);
        json_array_append_new(all, row_json(&r, SHOWN_BYTES));
    }
    rows_close(&r);
    return json_pack("{s:o, s:o}", "dead_letters", all, "next", more ? json_integer(last) : json_null());
}

json_t *dead_letter_one(struct connection *reader, int64_t id) {
    json_t *one = NULL;
    for (struct rows r = store_rows(reader, "SELECT " COLUMNS " FROM dead_letter AS d WHERE d.id = ?", value_int(id));
         rows_next(&r);)
        one = row_json(&r, SIZE_MAX);
    return one;
}
