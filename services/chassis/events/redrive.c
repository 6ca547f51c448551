#include "chassis/events/redrive.h"

#include "chassis/avro/registry.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/events/by_hand.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/record.h"

#include <string.h>

static json_t *result_json(int64_t id, const char *state, const char *outcome, const char *reason) {
    return json_pack(
        "{s:I, s:s, s:s?, s:o}", "id", (json_int_t)id, "state", state, "outcome", outcome, "reason",
        reason ? utf8_json(reason) : json_null());
}

static void note_refused(struct connection *c, int64_t id, const char *reason) {
    (void)store_run(
        c, "UPDATE dead_letter SET said = ?, said_at = ? WHERE id = ?", value_text(reason), value_int(clock_ms()),
        value_int(id));
}

/* Looks at the state once more under the writer's lock, so that of two who ask at once one finds it done. */
static verdict
apply(struct core *core, const struct redrive *asked, struct record *record, json_t **result, struct failure *why) {
    struct failure reason = {0};
    int64_t id = asked->id;
    struct connection *c = store_begin(core->store);
    bool open = store_int(c, 0, "SELECT 1 FROM dead_letter WHERE id = ? AND state = 'open'", value_int(id));
    verdict v = open ? record_apply_asked(core, c, record, &reason) : OK;
    if (open && v == OK) by_hand_redrive(core, c, id, record);
    if (open && v == REJECT) note_refused(c, id, reason.text);
    json_t *said = v == REJECT ? result_json(id, "open", NULL, reason.text)
                               : result_json(
                                     id, "redriven", open ? record->outcome : NULL,
                                     open ? NULL : "it was redriven before; nothing was done again");
    if (asked->answer) asked->answer(asked->context, said);
    if ((asked->commit ? asked->commit(asked->context, c, why) : store_commit(c, why)) != OK) {
        json_decref(said);
        return fail(why, RETRY, "%s", why->text);
    }
    *result = said;
    return OK;
}

verdict redrive_one(struct core *core, const struct redrive *asked, json_t **result, struct failure *why) {
    struct dead_letter letter;
    struct record record;
    int32_t schema_id;
    verdict v = dead_letter_read(store_reader(core->store), asked->id, &letter, why);
    if (v == OK && !letter.open) {
        *result = result_json(asked->id, "redriven", NULL, "it was redriven before; nothing was done again");
        if (asked->answer) asked->answer(asked->context, *result);
    } else if (v == OK) {
        /* What the registry said of the id before counts no more: it may have been registered since. */
        if (frame_schema(letter.raw.value, letter.raw.value_n, &schema_id))
            registry_ask_again(core->registry, schema_id);
        v = record_decode_wait(core, &letter.raw, asked->deadline, NULL, &record, why);
        if (v == OK) {
            record.redriven_by = asked->actor;
            record.now = record.answered_at = letter.answered_at;
            v = apply(core, asked, &record, result, why);
            record_free(&record);
        }
    }
    dead_letter_free(&letter);
    return v;
}

/* Its schema or the database could not be had: the page says so. Should even that fail, the answer still does. */
static json_t *put_off(struct core *core, int64_t id, const char *reason) {
    struct failure why;
    struct connection *c = store_begin(core->store);
    note_refused(c, id, reason);
    (void)!store_commit(c, &why);
    return result_json(id, "open", NULL, reason);
}

/* The first time round nobody waits, so that all schemas are asked for at once: else the first that the registry does
 * not know would use up the time of all behind it. */
static json_t *redrive_each(struct core *core, json_t *open, const char *actor) {
    json_t *results = json_array();
    int64_t deadlines[] = {0, steady_ms() + REDRIVE_WAIT_MS};
    for (int round = 0; round < 2; round++)
        json_each(i, letter, open) {
            json_t *one = json_array_get(results, i);
            struct failure why = {0};
            if (one && !json_is_null(one)) continue;
            one = json_null();
            struct redrive asked = {.id = json_get_int(letter, "id"), .actor = actor, .deadline = deadlines[round]};
            if (redrive_one(core, &asked, &one, &why) != OK && round) one = put_off(core, asked.id, why.text);
            (void)(round ? json_array_set_new(results, i, one) : json_array_append_new(results, one));
        }
    return results;
}

verdict redrive_all(struct core *core, int64_t after, const char *actor, json_t **result, struct failure *why) {
    struct connection *reader = store_reader(core->store);
    json_auto_t *open = store_json(
        reader, "SELECT id FROM dead_letter WHERE state = 'open' AND id > ? ORDER BY id LIMIT ?", value_int(after),
        value_int(REDRIVE_AT_ONCE + 1));
    json_t *next = NULL;
    json_int_t redriven = 0;
    if (store_check(reader, why) != OK) return RETRY;
    if (json_array_size(open) > REDRIVE_AT_ONCE) {
        json_array_remove(open, REDRIVE_AT_ONCE);
        next = json_object_get(json_array_get(open, REDRIVE_AT_ONCE - 1), "id");
    }
    json_t *results = redrive_each(core, open, actor);
    json_each(i, one, results) redriven += !strcmp(json_get_text(one, "state"), "redriven");
    *result = json_pack(
        "{s:I, s:I, s:o, s:O?}", "redriven", redriven, "open", (json_int_t)json_array_size(open) - redriven, "results",
        results, "next", next);
    return OK;
}
