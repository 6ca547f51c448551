#include "chassis/rebuild/replay.h"

#include "chassis/events/dead_letter.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEMA_MS = 30000, PATIENCE_MS = 30000 };

static const struct turn AT_ONCE = {INT64_MIN, 0}, NEVER = {INT64_MAX, INT64_MAX};

static bool before(struct turn a, struct turn b) {
    return a.sequence < b.sequence || (a.sequence == b.sequence && a.act < b.act);
}

/* --- What a handler publishes */

static const char *place_text(const struct replay *r, const struct published_event *e, char out[500]) {
    char topic[450];
    topic_spec_name(&topic_spec_events, r->core->settings, topic, sizeof topic);
    if (e->offset < 0)
        snprintf(out, 500, "outbox row %lld", (long long)e->sequence);
    else
        snprintf(out, 500, "%s[%d]@%lld", topic, e->partition, (long long)e->offset);
    return out;
}

static void difference_note(
    struct replay *r, const char *return_id, const struct published_event *was, const char *type, json_t *data) {
    char place[500];
    if (r->differences_n++ < r->most)
        json_array_append_new(
            r->differences, json_pack(
                                "{s:s?, s:s?, s:s?, s:O?}", "return_id", return_id, "was",
                                was ? place_text(r, was, place) : NULL, "would_be", type, "fields", data));
}

static verdict replay_emit(struct replayed *replayed, const struct outgoing *e, struct failure *why) {
    struct replay *r = (struct replay *)replayed;
    r->stalled |= !r->answer.sequence && !r->must;
    if (r->stalled || store_state(r->c) != OK) {
        json_decref(e->fields);
        return r->stalled ? fail(why, REJECT, "it was not answered") : fail(why, REJECT, "%s", store_error(r->c));
    }
    struct published_event was = {.id = {{0}}};
    bool known = r->answer.sequence && published_next(r->c, &r->answer, &was);
    const char *type = outbox_type(r->core->outbox, e->type);
    json_auto_t *data = NULL;
    verdict v = outbox_preview(r->core->outbox, e, was.id, &data, why);
    if (v == OK && (!known || published_content(type, e->key ? e->key : e->return_id, data) != was.content))
        difference_note(r, e->return_id, known ? &was : NULL, type, data);
    return v;
}

/* What it published then and would not now. */
static void reaction_end(struct replay *r, const char *return_id) {
    struct published_event was;
    if (!r->answer.sequence) return;
    published_replayed(r->c, &r->answer.cause);
    r->reacted++;
    while (published_next(r->c, &r->answer, &was)) difference_note(r, return_id, &was, NULL, NULL);
}

/* --- One record */

static void rejected_note(struct replay *r, const struct record *record, const char *reason) {
    struct uuid id = record->event.id;
    char text[UUID_TEXT];
    if (record->reply) { /* a call, which has no place in a topic */
        json_auto_t *fields = json_pack("{s:s}", "reason", reason);
        difference_note(r, record->event.return_id, NULL, "nothing", fields);
        return;
    }
    /* It may be one that cannot be decoded any more. */
    bool has_id = record->has_id || uuid_parse(raw_header(&record->raw, "ce_id", text, sizeof text), &id);
    r->rejected(r->context, record, r->letter, has_id ? published_of(r->c, &id).occurred_at : 0, reason);
}

/* letter: that is redriven, or 0. must: it is no longer put off where it was not answered then. */
static verdict
record_again(struct replay *r, struct record *record, int64_t letter, bool must, int64_t now, struct failure *why) {
    struct failure reason;
    r->letter = letter;
    r->must = must;
    r->answer = record->has_id ? published_of(r->c, &record->event.id) : (struct published_reaction){0};
    if (r->answer.replayed) r->answer.sequence = 0; /* a duplicate */
    r->stalled = false;
    record->replayed = &r->replayed;
    record->now = r->answer.sequence ? r->answer.occurred_at : now ? now : record->event.occurred_at;
    if (record->now <= 0) record->now = 1; /* 0 would be the clock's */
    verdict v = record_apply_asked(r->core, r->c, record, &reason);
    if (store_state(r->c) == RETRY || store_state(r->c) == FATAL) return fail(why, RETRY, "%s", store_error(r->c));
    if (v == REJECT && !r->stalled) rejected_note(r, record, reason.text);
    if (!r->stalled) reaction_end(r, record->event.return_id);
    return OK;
}

verdict replay_decode(struct replay *r, const struct raw *raw, struct record *out, struct failure *why) {
    return record_decode_wait(r->core, raw, steady_ms() + SCHEMA_MS, &r->patience, out, why);
}

/* --- What was no record: redrives, calls, and what people decided */

static void letters_read(struct replay *r) {
    (void)store_run(r->c, "DELETE FROM rebuild_letter");
    (void)store_run(r->c, "DELETE FROM rebuild_redrive");
    (void)store_run(
        r->c, "INSERT INTO rebuild_letter SELECT topic, partition, record_offset, MAX(id) FROM dead_letter "
              "GROUP BY topic, partition, record_offset");
    (void)store_run(
        r->c,
        "INSERT INTO rebuild_redrive SELECT h.id, d.id, h.after_sequence, h.next_offset, d.topic, d.partition, CASE "
        "WHEN d.answered_at > 0 THEN d.event_id END FROM by_hand h JOIN dead_letter d ON d.id = h.letter");
    r->next_known = false;
}

static void next_read(struct replay *r) {
    int64_t last = r->core->service->decided ? r->last_decision : r->decided;
    r->next = (struct replay_next){.kind = NOTHING, .turn = NEVER};
    for (struct rows row = store_rows(
             r->c,
             "SELECT * FROM (SELECT 1 AS kind, MIN(sequence) AS sequence, 0 AS act, MIN(sequence), NULL, 0 "
             "FROM rebuild_known WHERE cause IS NULL AND sequence > ? AND sequence <= ? "
             "UNION ALL SELECT 2, sequence, 0, letter, letter, 0 FROM rebuild_late "
             "UNION ALL SELECT 3, after_sequence, 2 * id, id, letter, at FROM by_hand WHERE id = (SELECT MIN(id) FROM "
             "by_hand WHERE id > ? AND (letter IS NULL OR id IN (SELECT id FROM rebuild_redrive)))) "
             "WHERE sequence IS NOT NULL ORDER BY sequence, act, kind LIMIT 1",
             value_int(r->decided), value_int(last), value_int(r->acts_done));
         rows_next(&row);)
        r->next = (struct replay_next){
            .kind = (int)rows_int(&row, 0),
            .turn = {rows_int(&row, 1), rows_int(&row, 2)},
            .id = rows_int(&row, 3),
            .letter = rows_int(&row, 4),
            .at = rows_int(&row, 5)};
    r->next_known = true;
}

/* One that was redriven before by_hand was kept, or whose database is lost, is known by its answer alone, and then has
 * its effect when that was published. Without an answer: right after its quarantine, if it is known to have had one. */
static verdict letter_redrive(struct replay *r, int64_t letter, int64_t now, struct failure *why) {
    struct dead_letter kept;
    struct record record;
    verdict v = dead_letter_read(r->c, letter, &kept, why);
    if (v == OK && (v = replay_decode(r, &kept.raw, &record, why)) == OK) {
        v = record_again(r, &record, letter, true, now, why);
        record_free(&record);
    }
    dead_letter_free(&kept);
    return v;
}

/* What a person decided, or a call. */
static verdict people_again(struct replay *r, bool decided, const struct replay_next *next, struct failure *why) {
    struct reply said = {0};
    struct record record = {.reply = &said, .has_id = true};
    verdict v = OK;
    struct rows row = store_rows(
        r->c,
        decided
            ? "SELECT event_id, type, data, trace_parent, version, at, key FROM rebuild_known WHERE cause IS NULL AND sequence = ?"
            : "SELECT event_id, type, data, trace_parent, 1, at, NULL FROM by_hand WHERE id = ?",
        value_int(next->id));
    if (!rows_next(&row)) return fail(why, RETRY, "what was decided, or a call, is not there any more");
    json_auto_t *data = json_loads(rows_text(&row, 2), JSON_ALLOW_NUL, NULL);
    record.written.json = data;
    snprintf(record.source, sizeof record.source, "%s", decided ? r->core->settings->service : "call");
    snprintf(record.trace, sizeof record.trace, "%s", rows_text(&row, 3));
    record.event = (struct event){
        .type = rows_text(&row, 1),
        .source = record.source,
        .key = rows_null(&row, 6) ? NULL : rows_text(&row, 6),
        .return_id = json_string_value(json_object_get(data, "return_id")),
        .version = rows_int(&row, 4),
        .occurred_at = rows_int(&row, 5),
        .trace_parent = record.trace,
        .topic = "",
        .data = data,
        .written = &record.written};
    (void)rows_uuid(&row, 0, &record.event.id);
    if (!data)
        v = fail(why, RETRY, "out of memory");
    else if (decided)
        r->core->service->decided(r->c, &record.event);
    else
        v = record_again(r, &record, 0, false, next->at, why);
    rows_close(&row);
    json_decref(said.fields);
    return v;
}

static verdict next_again(struct replay *r, struct failure *why) {
    const struct replay_next next = r->next;
    r->next_known = false;
    if (next.kind == DECISION) r->decided = next.id;
    if (next.kind == ACT) r->acts_done = next.id;
    if (!next.letter) return people_again(r, next.kind == DECISION, &next, why);
    if (next.kind == LATE_REDRIVE) {
        (void)store_run(r->c, "DELETE FROM rebuild_late WHERE letter = ?", value_int(next.letter));
        if (r->lost)
            (void)store_run(r->c, "UPDATE dead_letter SET state = 'redriven' WHERE id = ?", value_int(next.letter));
    }
    return letter_redrive(r, next.letter, next.at, why);
}

/* --- Whose turn it is */

/* An event that was answered, or decided, has the turn of that. And each has the redrives before it that came between
 * those before it in its partition and it. */
static struct turn head_turn(const struct replay *r, const struct replay_part *own) {
    const struct raw *raw = &own->record.raw;
    bool is_event = own->record.has_id && !own->letter;
    struct value id = value_blob(is_event ? own->record.event.id.bytes : NULL, sizeof(struct uuid));
    struct turn turn = AT_ONCE;
    for (
        struct rows row = store_rows(
            r->c,
            "SELECT (SELECT MIN(sequence) FROM rebuild_known WHERE cause = ? AND NOT replayed), (SELECT sequence FROM "
            "rebuild_known WHERE event_id = ? AND cause IS NULL AND sequence > ? AND sequence <= ?), after_sequence, id "
            "FROM (SELECT MAX(after_sequence) AS after_sequence, MAX(id) AS id FROM rebuild_redrive WHERE id > ? AND "
            "((topic = ? AND partition = ? AND next_offset <= ?) OR event_id = ?))",
            id, id, value_int(r->decided), value_int(r->last_decision), value_int(r->acts_done), value_text(raw->topic),
            value_int(raw->partition), value_int(raw->offset), id);
        rows_next(&row);) {
        struct turn act = {rows_int(&row, 2), 2 * rows_int(&row, 3) + 1};
        for (int i = 0; i < 2; i++)
            if (!rows_null(&row, i) && rows_int(&row, i) > turn.sequence) turn = (struct turn){rows_int(&row, i), 0};
        if (!rows_null(&row, 3) && before(turn, act)) turn = act;
    }
    return turn;
}

/* OK without a head: there is none. */
static verdict head_ready(struct replay *r, size_t i, struct failure *why) {
    struct replay_part *own = &r->parts[i];
    if (own->head) return OK;
    verdict v = reader_get(r->inputs, &r->places[i], PATIENCE_MS, &own->head, why);
    if (v != OK || !own->head) return v;
    struct raw raw = raw_of(own->head);
    own->letter = store_int(
        r->c, 0, "SELECT id FROM rebuild_letter WHERE topic = ? AND partition = ? AND record_offset = ?",
        value_text(raw.topic), value_int(raw.partition), value_int(raw.offset));
    v = replay_decode(r, &raw, &own->record, why);
    if (v == OK) own->turn = head_turn(r, own);
    return v;
}

static void head_free(struct replay_part *own) {
    if (own->head) rd_kafka_message_destroy(own->head);
    own->head = NULL;
    record_free(&own->record);
}

static void part_done(struct replay *r, size_t i) {
    struct replay_part *own = &r->parts[i];
    own->mark = log_mark(own->head);
    own->next = own->head->offset + 1;
    head_free(own);
    r->records++;
    r->steps++;
}

/* Quarantined at its place. What tells of a redrive without a place (by_hand) is its answer. */
static verdict letter_met(struct replay *r, const struct replay_part *own, struct failure *why) {
    const struct record *record = &own->record;
    bool placed = store_int(r->c, 0, "SELECT 1 FROM rebuild_redrive WHERE letter = ?", value_int(own->letter)),
         redriven = false, answered = false;
    struct published_reaction answer =
        record->has_id ? published_of(r->c, &record->event.id) : (struct published_reaction){0};
    for (struct rows row = store_rows(
             r->c, "SELECT state = 'redriven', answered_at > 0 FROM dead_letter WHERE id = ?", value_int(own->letter));
         rows_next(&row);) {
        redriven = rows_int(&row, 0);
        answered = rows_int(&row, 1);
    }
    if (answer.sequence && answered && !placed) { /* its cause is there */
        published_replayed(r->c, &answer.cause);
        answer.replayed = true;
    }
    if (placed || (r->lost ? !answer.sequence : !redriven)) return OK;
    if (!answer.sequence || answer.replayed) return letter_redrive(r, own->letter, 0, why);
    (void)store_run(r->c, "INSERT INTO rebuild_late VALUES (?, ?)", value_int(own->letter), value_int(answer.sequence));
    r->next_known = false;
    return OK;
}

static verdict part_again(struct replay *r, size_t i, bool must, struct failure *why) {
    struct replay_part *own = &r->parts[i];
    must |= own->head->offset < own->sure;
    verdict v = own->letter ? letter_met(r, own, why) : record_again(r, &own->record, 0, must, 0, why);
    own->stalled = !own->letter && r->stalled;
    own->stalled_at = r->steps;
    if (v == OK && !own->stalled) part_done(r, i);
    return v;
}

/* Takes what may go at once, of each partition in turn. Then says which is the first of those that wait. A head is
 * stalled where nothing was published for it, and now something would be: what it depends on has yet to come. */
static verdict parts_run(struct replay *r, size_t *first, struct failure *why) {
    verdict v = OK;
    *first = SIZE_MAX;
    for (size_t i = 0; v == OK && i < r->places_n; i++) {
        const struct replay_part *own = &r->parts[i];
        while (v == OK && !(own->stalled && own->stalled_at == r->steps) && (v = head_ready(r, i, why)) == OK &&
               own->head) {
            if (before(AT_ONCE, own->turn)) {
                if (*first == SIZE_MAX || before(own->turn, r->parts[*first].turn)) *first = i;
                break;
            }
            v = part_again(r, i, false, why);
            if (v == OK) v = r->step(r->context, why);
        }
    }
    return v;
}

/* Nothing else is left: it would be answered now, and was not. Without a database that is the consumer's to do. */
static verdict stalled_again(struct replay *r, bool *more, struct failure *why) {
    for (size_t i = 0; !r->lost && i < r->places_n; i++) {
        if (!r->parts[i].stalled) continue;
        *more = true;
        return part_again(r, i, true, why);
    }
    return OK;
}

/* *more: false once nothing is left. */
static verdict replay_one(struct replay *r, bool *more, struct failure *why) {
    size_t i;
    verdict v = parts_run(r, &i, why);
    if (v != OK) return v;
    if (!r->next_known) next_read(r);
    *more = i != SIZE_MAX || r->next.kind != NOTHING;
    if (!*more) return stalled_again(r, more, why);
    r->steps++;
    return i != SIZE_MAX && before(r->parts[i].turn, r->next.turn) ? part_again(r, i, false, why) : next_again(r, why);
}

verdict replay_run(struct replay *r, struct failure *why) {
    bool more = true;
    verdict v = OK;
    letters_read(r);
    while (v == OK && more) {
        v = replay_one(r, &more, why);
        if (v == OK && store_state(r->c) != OK) v = fail(why, RETRY, "%s", store_error(r->c));
        if (v == OK) v = r->step(r->context, why);
    }
    return v;
}

verdict replay_open(struct replay *r, struct failure *why) {
    r->replayed.emit = replay_emit;
    r->places = reader_places(r->inputs, &r->places_n);
    r->parts = calloc(r->places_n + 1, sizeof *r->parts);
    r->differences = json_array();
    return r->parts && r->differences ? OK : fail(why, RETRY, "out of memory");
}

void replay_close(struct replay *r) {
    for (size_t i = 0; r->parts && i < r->places_n; i++) head_free(&r->parts[i]);
    free(r->parts);
    json_decref(r->differences);
    *r = (struct replay){0};
}
