#include "chassis/rebuild/replay.h"

#include "chassis/events/dead_letter.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEMA_MS = 30000, PATIENCE_MS = 30000 };

/* Whose turn it is: the smallest. After a sequence come the acts that were done behind it, in their order. */
struct turn {
    int64_t sequence, act;
};
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
    json_decref(data);
}

static verdict replay_emit(struct replayed *replayed, const struct outgoing *e, struct failure *why) {
    struct replay *r = (struct replay *)replayed;
    if (!r->reaction && !r->must) {
        json_decref(e->fields);
        r->stalled = true;
        return fail(why, REJECT, "it was not answered");
    }
    struct published_event *was = published_next(r->known, r->reaction);
    const char *type = outbox_type(r->core->outbox, e->type);
    json_t *data = NULL;
    struct uuid id = was ? was->id : (struct uuid){{0}};
    verdict v = outbox_preview(r->core->outbox, e, id, &data, why);
    if (v != OK) return v;
    if (was && published_content(type, e->key ? e->key : e->return_id, data) == was->content)
        json_decref(data);
    else
        difference_note(r, e->return_id, was, type, data);
    return OK;
}

/* What it published then and would not now. */
static void reaction_end(struct replay *r, const char *return_id) {
    struct published_event *was;
    if (!r->reaction) return;
    r->reaction->replayed = true;
    r->reacted++;
    while ((was = published_next(r->known, r->reaction))) difference_note(r, return_id, was, NULL, NULL);
}

/* --- One record */

/* The record may be one that cannot be decoded any more. */
static int64_t answered_at(const struct replay *r, const struct record *record) {
    struct uuid id = record->event.id;
    char text[UUID_TEXT];
    if (!record->has_id && !uuid_parse(raw_header(&record->raw, "ce_id", text, sizeof text), &id)) return 0;
    const struct published_reaction *answer = published_of(r->known, &id);
    return answer ? answer->occurred_at : 0;
}

static void rejected_note(struct replay *r, const struct record *record, const char *reason) {
    if (record->reply) /* a call, which has no place in a topic */
        difference_note(r, record->event.return_id, NULL, "nothing", json_pack("{s:s}", "reason", reason));
    else
        r->rejected(r->context, record, r->letter, answered_at(r, record), reason);
}

static verdict record_again(struct replay *r, struct record *record, int64_t now, bool *stalled, struct failure *why) {
    struct failure reason;
    r->reaction = record->has_id ? published_of(r->known, &record->event.id) : NULL;
    if (r->reaction && r->reaction->replayed) r->reaction = NULL; /* a duplicate */
    r->stalled = false;
    record->replayed = &r->replayed;
    record->now = r->reaction ? r->reaction->occurred_at : now ? now : record->event.occurred_at;
    if (record->now <= 0) record->now = 1; /* 0 would be the clock's */
    verdict v = record_apply_asked(r->core, r->c, record, &reason);
    *stalled = r->stalled;
    if (store_state(r->c) == RETRY || store_state(r->c) == FATAL) return fail(why, RETRY, "%s", store_error(r->c));
    if (v == REJECT && !r->stalled) rejected_note(r, record, reason.text);
    if (!r->stalled) reaction_end(r, record->event.return_id);
    return OK;
}

static verdict decode(struct replay *r, const struct raw *raw, struct record *out, struct failure *why) {
    return record_decode_wait(r->core, raw, steady_ms() + SCHEMA_MS, r->patience, out, why);
}

/* --- Letters */

static int letter_order(const void *a, const void *b) {
    const struct replay_letter *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    if (order) return order;
    if (x->partition != y->partition) return x->partition < y->partition ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static struct replay_letter *letter_at(const struct replay *r, const char *topic, int32_t partition, int64_t offset) {
    struct replay_letter key = {.topic = topic, .partition = partition, .offset = offset};
    return r->letters_n ? bsearch(&key, r->letters, r->letters_n, sizeof key, letter_order) : NULL;
}

static verdict letters_load(struct replay *r, const char *sql, struct failure *why) {
    size_t n;
    for (struct rows row = store_rows(r->c, sql); rows_next(&row);) {
        struct replay_letter *grown = realloc(r->letters, (r->letters_n + 1) * sizeof *grown);
        char *topic = strdup(rows_text(&row, 0));
        if (grown) r->letters = grown;
        if (!grown || !topic) {
            free(topic);
            rows_close(&row);
            return fail(why, RETRY, "out of memory");
        }
        r->letters[r->letters_n++] = (struct replay_letter){
            .topic = topic,
            .partition = (int32_t)rows_int(&row, 1),
            .offset = rows_int(&row, 2),
            .id = rows_int(&row, 3),
            .redriven = rows_int(&row, 4),
            .answered = rows_int(&row, 5)};
        const void *event_id = rows_blob(&row, 6, &n);
        if (n == sizeof(struct uuid)) memcpy(&r->letters[r->letters_n - 1].event_id, event_id, n);
    }
    if (r->letters_n) qsort(r->letters, r->letters_n, sizeof *r->letters, letter_order);
    return OK;
}

static struct replay_letter *letter_of_id(struct replay *r, int64_t id) {
    for (size_t i = 0; i < r->letters_n; i++)
        if (r->letters[i].id == id) return &r->letters[i];
    return NULL;
}

static verdict act_add(struct replay *r, struct replay_act act, struct failure *why) {
    struct replay_act *grown = realloc(r->acts, (r->acts_n + 1) * sizeof *grown);
    if (!grown) return fail(why, RETRY, "out of memory");
    r->acts = grown;
    r->acts[r->acts_n++] = act;
    return OK;
}

static verdict acts_load(struct replay *r, struct failure *why) {
    verdict v = OK;
    for (struct rows row =
             store_rows(r->c, "SELECT id, after_sequence, at, letter, next_offset FROM base.by_hand ORDER BY id");
         v == OK && rows_next(&row);) {
        struct replay_letter *letter = rows_null(&row, 3) ? NULL : letter_of_id(r, rows_int(&row, 3));
        if (!rows_null(&row, 3) && !letter) continue;
        v = act_add(
            r, (struct replay_act){rows_int(&row, 0), rows_int(&row, 1), rows_int(&row, 2), rows_int(&row, 4), letter},
            why);
        if (v != OK) rows_close(&row);
    }
    return v;
}

/* The acts name letters by their place in an array that is made anew. */
static void letters_forget(struct replay *r) {
    for (size_t i = 0; i < r->letters_n; i++) free((char *)r->letters[i].topic);
    free(r->letters);
    r->letters = NULL;
    r->letters_n = 0;
}

verdict replay_letters_read(struct replay *r, struct failure *why) {
    letters_forget(r);
    r->acts_n = 0;
    verdict v = letters_load(
        r,
        r->lost
            ? "SELECT topic, partition, record_offset, id, state = 'redriven', answered_at > 0, event_id FROM main.dead_letter"
            : "SELECT topic, partition, record_offset, id, state = 'redriven', answered_at > 0, event_id FROM base.dead_letter",
        why);
    if (v == OK && !r->lost) v = acts_load(r, why);
    for (size_t i = 0; i < r->acts_n; i++)
        if (r->acts[i].letter) r->acts[i].letter->placed = true;
    if (v == OK && store_state(r->c) != OK) v = fail(why, RETRY, "%s", store_error(r->c));
    return v;
}

/* One that was redriven before by_hand was kept, or whose database is lost, is known by its answer alone, and then has
 * its effect when that was published. Without an answer: right after its quarantine, if it is known to have had one. */
static verdict letter_redrive(struct replay *r, struct replay_letter *letter, int64_t now, struct failure *why) {
    struct dead_letter kept;
    struct record record;
    bool stalled;
    verdict v = dead_letter_read(r->c, letter->id, &kept, why);
    if (v == OK && (v = decode(r, &kept.raw, &record, why)) == OK) {
        r->must = true;
        r->letter = letter;
        v = record_again(r, &record, now, &stalled, why);
        r->letter = NULL;
        r->must = false;
        record_free(&record);
    }
    dead_letter_free(&kept);
    return v;
}

/* --- Acts */

static verdict call_again(struct replay *r, const struct replay_act *act, struct failure *why) {
    struct reply said = {0};
    struct record call = {.reply = &said, .has_id = true};
    bool stalled;
    size_t n;
    struct rows row = store_rows(
        r->c, "SELECT event_id, type, data, trace_parent FROM base.by_hand WHERE id = ?", value_int(act->id));
    if (!rows_next(&row)) return fail(why, RETRY, "a call that was kept is not there any more");
    json_t *data = json_loads(rows_text(&row, 2), JSON_ALLOW_NUL, NULL);
    call.written.data = data;
    snprintf(call.source, sizeof call.source, "call");
    snprintf(call.trace, sizeof call.trace, "%s", rows_text(&row, 3));
    call.event = (struct event){
        .type = rows_text(&row, 1),
        .source = call.source,
        .return_id = json_string_value(json_object_get(data, "return_id")),
        .version = 1,
        .occurred_at = act->at,
        .trace_parent = call.trace,
        .topic = "",
        .data = data,
        .written = &call.written};
    memcpy(call.event.id.bytes, rows_blob(&row, 0, &n), sizeof call.event.id.bytes);
    verdict v = data ? record_again(r, &call, act->at, &stalled, why) : fail(why, RETRY, "out of memory");
    rows_close(&row);
    json_decref(said.fields);
    json_decref(data);
    return v;
}

static verdict act_again(struct replay *r, struct replay_act *act, struct failure *why) {
    r->next_act++;
    return act->letter ? letter_redrive(r, act->letter, act->at, why) : call_again(r, act, why);
}

/* The redrive that the record has to wait for, which came between those before it and it; NULL: none. */
static const struct replay_act *act_before(const struct replay *r, const struct raw *next) {
    for (size_t i = r->next_act; i < r->acts_n; i++) {
        const struct replay_act *a = &r->acts[i];
        if (a->letter && a->next_offset <= next->offset && a->letter->partition == next->partition &&
            !strcmp(a->letter->topic, next->topic))
            return a;
    }
    return NULL;
}

/* The redrive that gives the event its effect, which came again in this record after a rebuild had rejected it. */
static const struct replay_act *act_of(const struct replay *r, const struct uuid *event_id) {
    for (size_t i = r->next_act; i < r->acts_n; i++) {
        const struct replay_letter *letter = r->acts[i].letter;
        if (letter && letter->answered && !memcmp(&letter->event_id, event_id, sizeof *event_id)) return &r->acts[i];
    }
    return NULL;
}

static struct turn behind(const struct replay_act *act, struct turn turn) {
    struct turn next = act ? (struct turn){act->after_sequence, 2 * act->id + 1} : AT_ONCE;
    return before(turn, next) ? next : turn;
}

/* --- Whose turn it is */

/* OK without a head: there is none. */
static verdict head_ready(struct replay *r, size_t i, struct failure *why) {
    struct replay_part *own = &r->parts[i];
    if (own->head) return OK;
    verdict v = reader_get(r->inputs, &r->places[i], PATIENCE_MS, &own->head, why);
    if (v != OK || !own->head) return v;
    struct raw raw = raw_of(own->head);
    return decode(r, &raw, &own->record, why);
}

static struct turn head_turn(const struct replay *r, size_t i) {
    const struct record *record = &r->parts[i].record;
    struct turn turn = AT_ONCE;
    if (record->has_id && !letter_at(r, record->raw.topic, record->raw.partition, record->raw.offset)) {
        const struct published_reaction *answer = published_of(r->known, &record->event.id);
        int64_t decision = published_decision(r->known, &record->event.id);
        if (answer && !answer->replayed) turn = (struct turn){answer->sequence, 0};
        if (decision > r->decided && decision <= r->last_decision && turn.sequence < decision)
            turn = (struct turn){decision, 0};
        turn = behind(act_of(r, &record->event.id), turn);
    }
    return behind(act_before(r, &record->raw), turn);
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

/* Quarantined at its place. What tells of a redrive without a place is its answer. */
static verdict letter_met(struct replay *r, size_t i, struct replay_letter *letter, struct failure *why) {
    const struct record *record = &r->parts[i].record;
    struct published_reaction *answer = record->has_id ? published_of(r->known, &record->event.id) : NULL;
    if (answer && letter->answered && !letter->placed) answer->replayed = true; /* its cause is there */
    if (letter->placed || (r->lost ? !answer : !letter->redriven)) return OK;
    if (!answer || answer->replayed) return letter_redrive(r, letter, 0, why);
    struct replay_late *grown = realloc(r->late, (r->late_n + 1) * sizeof *grown);
    if (!grown) return fail(why, RETRY, "out of memory");
    r->late = grown;
    r->late[r->late_n++] = (struct replay_late){letter, answer->sequence};
    return OK;
}

static verdict part_again(struct replay *r, size_t i, bool must, struct failure *why) {
    struct replay_part *own = &r->parts[i];
    const struct raw *raw = &own->record.raw;
    struct replay_letter *letter = letter_at(r, raw->topic, raw->partition, raw->offset);
    bool stalled = false;
    r->must = must || raw->offset < own->sure;
    verdict v = letter ? letter_met(r, i, letter, why) : record_again(r, &own->record, 0, &stalled, why);
    r->must = false;
    own->stalled = stalled;
    own->stalled_at = r->steps;
    if (v == OK && !stalled) part_done(r, i);
    return v;
}

/* Nothing was published for it, and now something would be: what it depends on has yet to come. */
static bool stalls(const struct replay *r, size_t i) {
    return r->parts[i].stalled && r->parts[i].stalled_at == r->steps;
}

/* Takes what may go at once, of each partition in turn; then says who is the first of those that wait. */
static verdict parts_run(struct replay *r, size_t *first, struct turn *turn, struct failure *why) {
    verdict v = OK;
    *first = SIZE_MAX;
    *turn = NEVER;
    for (size_t i = 0; v == OK && i < r->places_n; i++) {
        while (v == OK && !stalls(r, i) && (v = head_ready(r, i, why)) == OK && r->parts[i].head) {
            struct turn mine = head_turn(r, i);
            if (mine.sequence != INT64_MIN) {
                if (before(mine, *turn)) *first = i, *turn = mine;
                break;
            }
            v = part_again(r, i, false, why);
            if (v == OK && r->step) r->step(r, r->context, &v, why);
        }
    }
    return v;
}

/* The first of them; NULL: none. */
static struct replay_late *late_next(const struct replay *r) {
    struct replay_late *first = NULL;
    for (size_t i = 0; i < r->late_n; i++)
        if (!first || r->late[i].sequence < first->sequence) first = &r->late[i];
    return first;
}

static verdict late_again(struct replay *r, struct replay_late *late, struct failure *why) {
    struct replay_letter *letter = late->letter;
    *late = r->late[--r->late_n];
    if (r->lost) (void)store_run(r->c, "UPDATE dead_letter SET state = 'redriven' WHERE id = ?", value_int(letter->id));
    return letter_redrive(r, letter, 0, why);
}

static verdict decide_again(struct replay *r, int64_t sequence, struct failure *why) {
    r->decided = sequence;
    return published_decide(r->core, r->c, sequence, why);
}

static struct turn turn_of(int64_t sequence, int64_t act) {
    return sequence ? (struct turn){sequence, act} : NEVER;
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
    struct turn head, first;
    size_t i;
    verdict v = parts_run(r, &i, &head, why);
    if (v != OK) return v;
    struct replay_act *act = r->next_act < r->acts_n ? &r->acts[r->next_act] : NULL;
    struct replay_late *late = late_next(r);
    int64_t next = r->core->service->decided ? published_next_decision(r->c, r->decided, r->last_decision) : 0;
    struct turn act_turn = act ? (struct turn){act->after_sequence, 2 * act->id} : NEVER;
    struct turn late_turn = turn_of(late ? late->sequence : 0, 0), decision = turn_of(next, 0);
    first = before(late_turn, act_turn) ? late_turn : act_turn;
    if (before(head, first)) first = head;
    *more = i != SIZE_MAX || act || late || next;
    if (!*more) return stalled_again(r, more, why);
    r->steps++;
    if (next && !before(first, decision)) return decide_again(r, next, why);
    if (late && !before(first, late_turn)) return late_again(r, late, why);
    if (act && !before(first, act_turn)) return act_again(r, act, why);
    return part_again(r, i, false, why);
}

verdict replay_run(struct replay *r, struct failure *why) {
    bool more = true;
    verdict v = OK;
    while (v == OK && more) {
        v = replay_one(r, &more, why);
        if (v == OK && store_state(r->c) != OK) v = fail(why, RETRY, "%s", store_error(r->c));
        if (v == OK && r->step) r->step(r, r->context, &v, why);
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
    letters_forget(r);
    free(r->acts);
    free(r->late);
    json_decref(r->differences);
    *r = (struct replay){0};
}

int64_t replay_not_met(const struct replay *r) {
    int64_t n = 0;
    for (size_t i = 0; i < r->known->reactions_n; i++) n += !r->known->reactions[i].replayed;
    return n;
}
