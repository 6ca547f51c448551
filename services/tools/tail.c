/* tail: records of any topic, decoded by their writers' schemas. Knows no service and no event. */
#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/base/utf8.h"
#include "chassis/kafka/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN = 48, QUIET_MS = 10000, POLL_MS = 20 };

struct tail {
    struct cli cli;
    const char *from, *only, *most;
    bool json, ends, colours;
    int64_t left; /* records to show. INT64_MAX: all */
    bool follows; /* all that was there at first is shown */
    struct place *places;
    rd_kafka_message_t **heads; /* the next record of each place. NULL: it was not got yet */
    size_t n;
};

/* --- What a record is, as JSON */

/* {"topic","partition","offset","timestamp","key","headers","schema_id","type","data"}. With "reason" and "value" (hex)
 * in place of data where it cannot be decoded. The caller's. */
static json_t *record_json(struct tail *t, const rd_kafka_message_t *m) {
    struct failure why = {0};
    const char *type = NULL;
    char moment[TIME_TEXT];
    json_t *data = NULL, *value = NULL;
    rd_kafka_headers_t *headers = NULL;
    int64_t at = kafka_time(m), id = frame_number(m->payload, m->len);
    bool decoded = reader_decode(t->cli.reader, m, &type, &data, &why) == OK;
    if (!decoded) value = m->payload ? hex_json(m->payload, m->len) : json_null();
    if (rd_kafka_message_headers(m, &headers)) headers = NULL;
    return json_pack(
        "{s:s, s:i, s:I, s:s?, s:o, s:o, s:o, s:s?, s:o*, s:o*, s:o*}", "topic", rd_kafka_topic_name(m->rkt),
        "partition", m->partition, "offset", (json_int_t)m->offset, "timestamp", at ? time_text(at, moment) : NULL,
        "key", bytes_json(m->key, m->key_len), "headers", kafka_headers_json(headers), "schema_id",
        id < 0 ? json_null() : json_integer(id), "type", type, "data", data, "reason",
        decoded ? NULL : utf8_json(why.text), "value", value);
}

/* --- For people: one line a record */

static void colour(const struct tail *t, const char *code) {
    if (t->colours) printf("\033[%sm", code);
}

/* Shortened, and on one line: nothing in it may move a terminal's cursor. */
static void print_shortened(const char *text) {
    size_t i = 0, n = strlen(text), length;
    for (int characters = 0; i < n && characters < SHOWN; characters++, i += length) {
        bool plain;
        length = utf8_next(text + i, n - i, &plain);
        fwrite(plain ? text + i : " ", 1, plain ? length : 1, stdout);
    }
    if (i < n) fputs("…", stdout);
}

static void print_fields(const json_t *data) {
    json_members(m, (json_t *)data) {
        /* In the line already, or of use to programs only. */
        if (word_in(m.name, "event_id caused_by return_id") || json_is_null(m.value)) continue;
        text_auto text = json_is_string(m.value) ? NULL : json_dumps(m.value, JSON_ENCODE_ANY | JSON_COMPACT);
        printf(" %s=", shown(m.name));
        print_shortened(text ? text : json_is_string(m.value) ? json_string_value(m.value) : "");
    }
}

static void print_line(const struct tail *t, const json_t *record) {
    const char *type = json_get_text(record, "type"), *dot = strrchr(type, '.');
    const json_t *key = json_object_get(record, "key"), *data = json_object_get(record, "data");
    char moment[24] = "(no time)";
    const char *at = json_string_value(json_object_get(record, "timestamp"));
    if (at) snprintf(moment, sizeof moment, "%.10s %s", at, at + 11);
    colour(t, "2");
    printf(
        "%s  %s[%d]@%lld  ", moment, cli_unscoped(&t->cli.settings, json_get_text(record, "topic")),
        (int)json_get_int(record, "partition"), json_get_int(record, "offset"));
    colour(t, "0");
    print_shortened(json_is_string(key) ? json_string_value(key) : json_is_null(key) ? "-" : "(key)");
    colour(t, data ? "1" : "31");
    printf("  %s", data ? shown(dot ? dot + 1 : type) : "NOT DECODED:");
    colour(t, "0");
    if (data)
        print_fields(data);
    else
        printf(" %s", shown(json_get_text(record, "reason")));
    putchar('\n');
}

/* --- The order of what is shown */

static bool is_wanted(struct tail *t, const rd_kafka_message_t *m) {
    struct failure ignored;
    json_auto_t *data = NULL;
    if (!t->only || (m->key && m->key_len == strlen(t->only) && !memcmp(m->key, t->only, m->key_len))) return true;
    if (reader_decode(t->cli.reader, m, NULL, &data, &ignored) != OK) return false;
    return !strcmp(json_get_text(data, "return_id"), t->only);
}

/* The next record of the place that is to be shown. NULL: none, or none yet. */
static verdict head_get(struct tail *t, struct place *p, rd_kafka_message_t **head, struct failure *why) {
    verdict v = OK;
    while (v == OK && !*head) {
        v = reader_get(t->cli.reader, p, t->follows ? 0 : QUIET_MS, head, why);
        if (!*head || is_wanted(t, *head)) break;
        rd_kafka_message_destroy(*head);
        *head = NULL;
    }
    return v;
}

/* Of what comes next in each place, the oldest. NULL: nothing is there now. */
static verdict oldest_get(struct tail *t, rd_kafka_message_t ***oldest, struct failure *why) {
    verdict v = OK;
    *oldest = NULL;
    for (size_t i = 0; v == OK && i < t->n; i++) {
        rd_kafka_message_t **head = &t->heads[i];
        v = head_get(t, &t->places[i], head, why);
        if (*head && (!*oldest || rd_kafka_message_timestamp(*head, NULL) < rd_kafka_message_timestamp(**oldest, NULL)))
            *oldest = head;
    }
    return v;
}

static void record_show(struct tail *t, const rd_kafka_message_t *m) {
    json_auto_t *record = record_json(t, m);
    if (!record) return;
    t->left--;
    if (t->json)
        cli_print(record, JSON_COMPACT);
    else
        print_line(t, record);
}

/* What is there is shown in the order of its times, and then what comes, as it comes. */
static verdict show_all(struct tail *t, struct failure *why) {
    rd_kafka_message_t **oldest;
    verdict v = OK;
    while (t->left && (v = oldest_get(t, &oldest, why)) == OK && !ferror(stdout)) {
        if (oldest) {
            record_show(t, *oldest);
            rd_kafka_message_destroy(*oldest);
            *oldest = NULL;
            continue;
        }
        fflush(stdout);
        if (t->ends) break;
        for (size_t i = 0; !t->follows && i < t->n; i++) t->places[i].end = INT64_MAX;
        if (t->follows) usleep(POLL_MS * 1000);
        t->follows = true;
    }
    return v;
}

/* --- From where */

/* "10m" ago, or a moment. */
static verdict moment_read(const char *text, int64_t *ms, struct failure *why) {
    static const char units[] = "smhd";
    static const int64_t each[] = {1000, 60000, 3600000, 86400000};
    size_t n = strlen(text), digits = strspn(text, "0123456789");
    const char *unit = n && digits && digits == n - 1 && n < 12 ? strchr(units, text[n - 1]) : NULL;
    if (unit) *ms = clock_ms() - atoll(text) * each[unit - units];
    return (unit ? time_valid(*ms) : time_parse(text, ms))
               ? OK
               : fail(
                     why, REJECT,
                     "--from \"%s\": must be beginning, end, how long ago (30s, 10m, 2h, 1d) or a moment such as 2026-11-21T09:28:51Z",
                     text);
}

static verdict tail(struct tail *t, struct failure *why) {
    bool at_end = !strcmp(t->from, "end"), by_moment = !at_end && strcmp(t->from, "beginning") != 0;
    int64_t moment;
    verdict v = OK;
    if (t->only && input_id(t->only, strlen(t->only), why) != OK) return fail(why, REJECT, "--return %s", why->text);
    if (t->most) v = cli_number(t->most, "--max", &t->left, why);
    if (v == OK && by_moment) v = moment_read(t->from, &moment, why);
    if (v == OK && !t->cli.words_n) v = cli_topics(&t->cli, "*.events", why);
    for (int i = 0; v == OK && i < t->cli.words_n; i++) v = cli_topics(&t->cli, t->cli.words[i], why);
    if (v == OK && by_moment) v = reader_since(t->cli.reader, moment, why);
    if (v != OK) return v;
    t->places = reader_places(t->cli.reader, &t->n);
    t->heads = calloc(t->n + 1, sizeof *t->heads);
    for (size_t i = 0; at_end && i < t->n; i++) t->places[i].next = t->places[i].end;
    return t->heads ? show_all(t, why) : fail(why, RETRY, "out of memory");
}

int tail_run(int n, char *arguments[]) {
    struct tail t = {.from = "end", .left = INT64_MAX, .colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
    struct failure why;
    const struct cli_option options[] = {{"--from", .value = &t.from}, {"--return", .value = &t.only},
                                         {"--max", .value = &t.most},  {"--json", .given = &t.json},
                                         {"--exit", .given = &t.ends}, {0}};
    verdict v = cli_open(&t.cli, n, arguments, options, &why);
    if (v == OK) v = tail(&t, &why);
    for (size_t i = 0; t.heads && i < t.n; i++)
        if (t.heads[i]) rd_kafka_message_destroy(t.heads[i]);
    free(t.heads);
    if ((fflush(stdout) || ferror(stdout)) && v == OK) v = fail(&why, RETRY, "could not write: %s", strerror(errno));
    cli_close(&t.cli);
    return cli_end(v, &why);
}
