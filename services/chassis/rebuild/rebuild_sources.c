#include "chassis/rebuild/rebuild_private.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/outbox.h"
#include "chassis/events/outbox_queue.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_SIZE = 600, NAME_SIZE = 400 };

/* That topic of a service, or of all ("*"). One that is not there has no partitions. */
static verdict topics_open(
    struct rebuild *b, struct reader **out, const struct topic_spec *spec, const char *of, struct failure *why) {
    char ending[40], wanted[NAME_SIZE];
    const char *owner;
    json_auto_t *topics = NULL;
    snprintf(ending, sizeof ending, ".%s", spec->ending);
    topic_spec_of(spec, of, b->settings, wanted, sizeof wanted);
    verdict v = reader_open(out, b->settings, why);
    if (v == OK) v = reader_topics(*out, &topics, why);
    json_each(i, one, topics) {
        const char *topic = json_string_value(one);
        size_t n = topic_owner(b->settings, topic, ending, &owner);
        bool every = !strcmp(of, "*") && n && strspn(owner, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
        if (v == OK && (every || !strcmp(topic, wanted))) v = reader_add(*out, topic, why);
    }
    return v;
}

verdict rebuild_sources_open(struct rebuild *b, struct failure *why) {
    verdict v = topics_open(b, &b->inputs, &topic_spec_events, b->service->subscribes, why);
    return v == OK ? topics_open(b, &b->own, &topic_spec_events, b->settings->service, why) : v;
}

/* --- Headers */

/* −1: it has none, or no number. */
static int64_t header_number(const rd_kafka_message_t *m, const char *name) {
    char text[HEADER_SIZE];
    message_header(m, name, text, sizeof text);
    if (!*text || strlen(text) > 19 || text[strspn(text, "0123456789")]) return -1;
    return strtoll(text, NULL, 10);
}

/* --- What was published: the own topic */

/* The outbox's number. Of an event from before there was such a header as the outbox itself has it. 0: not ours. */
static int64_t sequence_of(struct rebuild *b, const rd_kafka_message_t *m, const struct uuid *id) {
    int64_t sequence = header_number(m, "ce_sequence");
    if (sequence > 0 || b->lost) return sequence > 0 ? sequence : 0;
    (void)store_run(b->c, "CREATE INDEX IF NOT EXISTS base.rebuild_event ON outbox (event_id)");
    return store_int(b->c, 0, "SELECT id FROM base.outbox WHERE event_id = ?", value_blob(id->bytes, 16));
}

/* Without a database: so that numbers go on above, and the record of what was published is there again. */
static void outbox_restore(struct rebuild *b, const rd_kafka_message_t *m, const struct record *r, int64_t sequence) {
    char text[HEADER_SIZE];
    int64_t received = 0;
    bool reacts = time_parse(message_header(m, "ce_receivedtime", text, sizeof text), &received);
    (void)store_run(
        b->c,
        "INSERT INTO main.outbox (id, event_id, type, return_id, body, trace_parent, occurred_at, received_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_int(sequence), value_blob(r->event.id.bytes, 16), value_text(r->event.type),
        value_text(r->event.key ? r->event.key : ""),
        value_blob((const char *)m->payload + FRAME_SIZE, m->len - FRAME_SIZE), value_text(r->trace),
        value_int(r->event.occurred_at), reacts ? value_int(received) : value_text(NULL));
    outbox_mark(b->c, &(struct handed){sequence, true, m->partition, m->offset}, 1, true);
}

static verdict own_note(struct rebuild *b, const rd_kafka_message_t *m, struct failure *why) {
    struct record r;
    struct raw raw = raw_of(m);
    verdict v = replay_decode(&b->replay, &raw, &r, why);
    if (v != OK) return v;
    int64_t sequence = r.state == OK ? sequence_of(b, m, &r.event.id) : 0; /* another's, or nothing that we wrote */
    if (sequence) {
        r.event.data = written_json(&r.written);
        v = published_add(b->c, &r.event, sequence, why);
        if (b->lost) outbox_restore(b, m, &r, sequence);
    }
    record_free(&r);
    return v;
}

typedef verdict take_record(struct rebuild *b, const rd_kafka_message_t *m, struct failure *why);

/* Gives every record from where the reader is to its ends to each(). */
static verdict
read_all(struct rebuild *b, struct reader *r, const char *doing, take_record *each, struct failure *why) {
    int64_t done = 0, all = 0;
    size_t n;
    rd_kafka_message_t *m;
    verdict v = OK;
    for (const struct place *p = reader_places(r, &n), *end = p + n; p < end; p++) all += p->end - p->next;
    while (v == OK && (v = reader_next(r, &m, why)) == OK && m) {
        v = each(b, m, why);
        rd_kafka_message_destroy(m);
        if (v == OK) v = rebuild_step(b, doing, ++done, all, why);
    }
    return v == OK && store_state(b->c) != OK ? fail(why, RETRY, "%s", store_error(b->c)) : v;
}

/* All records of topics_open(). */
static verdict read_once(
    struct rebuild *b, const struct topic_spec *spec, const char *of, const char *doing, take_record *each,
    struct failure *why) {
    struct reader *r = NULL;
    verdict v = topics_open(b, &r, spec, of, why);
    if (v == OK) v = read_all(b, r, doing, each, why);
    reader_close(&r);
    return v;
}

/* Of a held database: behind all that is known, with a number of its own there. A reaction is none of them: the
 * consumer makes it anew. */
static verdict left_take(struct rebuild *b, const struct event *e, int64_t left, struct failure *why) {
    if (!json_is_null(json_object_get(e->data, "caused_by")) || published_sequence(b->c, &e->id)) return OK;
    int64_t sequence = store_int(
        b->c, 0,
        "INSERT INTO main.outbox (event_id, type, return_id, body, trace_parent, occurred_at, schema_row) SELECT "
        "event_id, type, return_id, body, trace_parent, occurred_at, schema_row FROM base.outbox WHERE id = ? "
        "RETURNING id",
        value_int(left));
    audit_append(
        b->c, &(struct audit_row){
                  .action = "take over",
                  .outcome = "accepted",
                  .actor = "command",
                  .return_id = json_string_value(json_object_get(e->data, "return_id")),
                  .event_id = &e->id,
                  .event_type = e->type,
                  .summary = "decided while Kafka was away, with the database that this one replaces"});
    b->left++;
    return published_add(b->c, e, sequence, why);
}

/* What is decided and not in the topic yet. */
static verdict unsent_read(struct rebuild *b, struct failure *why) {
    verdict v = OK;
    size_t n;
    for (
        struct rows r = store_rows(
            b->c,
            "SELECT o.id, event_id, o.type, return_id, body, trace_parent, occurred_at, s.text FROM base.outbox_state o "
            "LEFT JOIN base.outbox_schema s ON s.id = o.schema_row "
            "WHERE o.state <> 'sent' AND dead_letter IS NULL ORDER BY o.id");
        v == OK && rows_next(&r);) {
        struct event e = {
            .type = rows_text(&r, 2),
            .key = rows_text(&r, 3),
            .trace_parent = rows_text(&r, 5),
            .occurred_at = rows_int(&r, 6),
            .offset = -1};
        json_auto_t *data = NULL;
        (void)rows_uuid(&r, 1, &e.id);
        const void *body = rows_blob(&r, 4, &n);
        v = outbox_read(b->core.outbox, e.type, rows_null(&r, 7) ? NULL : rows_text(&r, 7), body, n, &data, why);
        e.data = data;
        e.version = json_integer_value(json_object_get(data, "version"));
        int64_t sequence = rows_int(&r, 0);
        if (v == OK) v = b->lost ? left_take(b, &e, sequence, why) : published_add(b->c, &e, sequence, why);
        if (v != OK) rows_close(&r);
    }
    return v;
}

/* --- Without a database */

static verdict letter_note(struct rebuild *b, const rd_kafka_message_t *m, struct failure *why) {
    char topic[HEADER_SIZE], reason[HEADER_SIZE];
    struct raw raw = raw_of(m);
    raw.topic = message_header(m, "dead-letter.topic", topic, sizeof topic);
    raw.partition = (int32_t)header_number(m, "dead-letter.partition");
    raw.offset = header_number(m, "dead-letter.offset");
    message_header(m, "dead-letter.reason", reason, sizeof reason);
    if (!*topic || raw.offset < 0) return OK;
    int64_t known = store_int(
        b->c, 0, "SELECT COUNT(*) FROM dead_letter WHERE topic = ? AND partition = ? AND record_offset = ?",
        value_text(topic), value_int(raw.partition), value_int(raw.offset));
    if (known) return OK;
    raw.headers = raw.headers ? rd_kafka_headers_copy(raw.headers) : rd_kafka_headers_new(0);
    if (!raw.headers) return fail(why, RETRY, "out of memory");
    for (const struct header *ours = topic_spec_letters.headers; ours->name; ours++)
        rd_kafka_header_remove(raw.headers, ours->name);
    (void)dead_letter_keep(b->c, &raw, raw.at, reason);
    rd_kafka_headers_destroy(raw.headers);
    return OK;
}

/* Where that place is among those that are read. NULL: it is none of them. */
static struct replay_part *part_of(struct rebuild *b, const char *topic, int64_t partition) {
    for (size_t i = 0; i < b->replay.places_n; i++)
        if (b->replay.places[i].partition == partition && !strcmp(b->replay.places[i].topic, topic))
            return &b->replay.parts[i];
    return NULL;
}

/* All before the last record that was answered had its effect, if any. */
static verdict sure_note(struct rebuild *b, const rd_kafka_message_t *m, struct failure *why) {
    char text[HEADER_SIZE];
    struct uuid id;
    bool answered = false;
    if (uuid_parse(message_header(m, "ce_id", text, sizeof text), &id)) {
        answered = published_of(b->c, &id).sequence;
    } else {
        struct record r;
        struct raw raw = raw_of(m);
        verdict v = replay_decode(&b->replay, &raw, &r, why);
        if (v != OK) return v;
        answered = r.has_id && published_of(b->c, &r.event.id).sequence;
        record_free(&r);
    }
    struct replay_part *part = answered ? part_of(b, rd_kafka_topic_name(m->rkt), m->partition) : NULL;
    if (part) part->sure = m->offset + 1;
    return OK;
}

/* --- Up to where */

/* Each partition that was read must be there still, as far as it was read. */
static verdict limits_read(struct rebuild *b, struct failure *why) {
    verdict v = reader_extend(b->inputs, why);
    for (size_t i = 0; v == OK && i < b->replay.places_n; i++) {
        struct place *p = &b->replay.places[i];
        int64_t end = p->end,
                next = store_int(
                    b->c, 0, "SELECT next_offset FROM base.consumer_offset WHERE topic = ? AND partition = ?",
                    value_text(p->topic), value_int(p->partition));
        p->end = next > p->begin ? next : p->begin;
        if (next > end)
            v = fail(
                why, REJECT, "%s[%d] ends at %lld, before offset %lld, to which it was read: it is another log",
                p->topic, p->partition, (long long)end, (long long)next);
    }
    for (struct rows r = store_rows(b->c, "SELECT topic, partition FROM base.consumer_offset WHERE next_offset > 0");
         v == OK && rows_next(&r);) {
        if (part_of(b, rows_text(&r, 0), rows_int(&r, 1))) continue;
        v = fail(
            why, REJECT, "%s[%lld] was read, and is not in Kafka now; if it is new, try again", rows_text(&r, 0),
            (long long)rows_int(&r, 1));
        rows_close(&r);
    }
    b->replay.last_decision = store_int(b->c, 0, "SELECT COALESCE(MAX(id), 0) FROM base.outbox");
    return v;
}

verdict rebuild_sources_read(struct rebuild *b, struct failure *why) {
    verdict v = reader_extend(b->own, why);
    if (v == OK) v = read_all(b, b->own, "own events read", own_note, why);
    if (v == OK && b->lost)
        v = read_once(b, &topic_spec_letters, b->settings->service, "dead letters read", letter_note, why);
    if (v == OK && (!b->lost || b->held)) v = unsent_read(b, why);
    b->replay.last_decision = INT64_MAX; /* limits_read() knows it better */
    if (v == OK && !b->lost) return limits_read(b, why);
    if (v == OK && published_not_met(b->c))
        v = read_once(b, &topic_spec_events, b->service->subscribes, "looked through", sure_note, why);
    return v;
}

/* --- Where to go on */

static void cluster_id(struct rebuild *b, char out[64]) {
    rd_kafka_t *rk = reader_client(b->inputs);
    char *id = rd_kafka_clusterid(rk, 10000);
    snprintf(out, 64, "%s", id ? id : "");
    if (id) rd_kafka_mem_free(rk, id);
}

static verdict offset_store(
    struct rebuild *b, const struct place *p, const struct replay_part *own, const char *cluster, struct failure *why) {
    /* What follows the last record up to the end is none, and a mark is of the record just before. */
    int64_t next = own->next ? own->next : own->stalled ? p->begin : p->end;
    struct value mark = own->next ? value_int(own->mark) : value_text(NULL);
    if (!b->lost && store_int(
                        b->c, 0, "SELECT mark <> ? FROM base.consumer_offset WHERE topic = ? AND partition = ?", mark,
                        value_text(p->topic), value_int(p->partition)))
        return fail(
            why, REJECT, "the record before offset %lld of %s[%d] is another one than was read there",
            (long long)p->end, p->topic, p->partition);
    if (next && b->lost)
        (void)store_run(
            b->c,
            "INSERT INTO main.consumer_offset (topic, partition, next_offset, mark, cluster, log, first_offset) VALUES "
            "(?, ?, ?, ?, ?, 0, 0)",
            value_text(p->topic), value_int(p->partition), value_int(next), mark,
            value_text(*cluster ? cluster : NULL));
    else if (next)
        (void)store_run(
            b->c,
            "INSERT INTO main.consumer_offset (topic, partition, next_offset, mark, cluster, log, first_offset) SELECT "
            "topic, partition, MIN(?, next_offset), COALESCE(?, mark), cluster, log, first_offset FROM base.consumer_offset WHERE topic = ? "
            "AND partition = ? ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, mark = "
            "excluded.mark, cluster = excluded.cluster",
            value_int(next), mark, value_text(p->topic), value_int(p->partition));
    return OK;
}

verdict rebuild_offsets_store(struct rebuild *b, struct failure *why) {
    char cluster[64] = "";
    verdict v = OK;
    if (b->lost) cluster_id(b, cluster);
    for (size_t i = 0; v == OK && i < b->replay.places_n; i++)
        v = offset_store(b, &b->replay.places[i], &b->replay.parts[i], cluster, why);
    return v;
}
