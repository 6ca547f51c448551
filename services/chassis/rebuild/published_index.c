#include "chassis/rebuild/published_index.h"

#include "chassis/base/hash.h"
#include "chassis/store/store.h"

#include <stdlib.h>

uint64_t published_content(const char *type, const char *key, const json_t *data) {
    json_auto_t *rest = json_copy((json_t *)data);
    json_object_del(rest, "event_id");
    char *text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t hash = hash_member(hash_member(hash_member(HASH_START, type), key), text);
    free(text);
    return hash;
}

/* The whole event is kept of a decision alone. */
verdict published_add(struct connection *c, const struct event *e, int64_t sequence, struct failure *why) {
    struct uuid cause;
    const char *caused_by = json_string_value(json_object_get(e->data, "caused_by"));
    bool reacts = caused_by && uuid_parse(caused_by, &cause);
    char *data = reacts ? NULL : json_dumps(e->data, JSON_COMPACT);
    if (!reacts && !data) return fail(why, RETRY, "out of memory");
    (void)store_run(
        c,
        "INSERT INTO rebuild_known (event_id, sequence, cause, content, partition, record_offset, type, key, version, "
        "at, trace_parent, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_blob(e->id.bytes, sizeof e->id), value_int(sequence),
        value_blob(reacts ? cause.bytes : NULL, sizeof cause),
        value_int(reacts ? (int64_t)published_content(e->type, e->key, e->data) : 0), value_int(e->partition),
        value_int(e->offset), value_text(reacts ? NULL : e->type), value_text(reacts ? NULL : e->key),
        value_int(e->version), value_int(e->occurred_at), value_text(reacts ? NULL : e->trace_parent),
        value_text(data));
    free(data);
    return OK;
}

struct published_reaction published_of(struct connection *c, const struct uuid *cause) {
    struct published_reaction r = {.cause = *cause};
    for (struct rows row = store_rows(
             c, "SELECT sequence, at, replayed FROM rebuild_known WHERE cause = ? ORDER BY sequence LIMIT 1",
             value_blob(cause->bytes, sizeof *cause));
         rows_next(&row);) {
        r.sequence = rows_int(&row, 0);
        r.occurred_at = rows_int(&row, 1);
        r.replayed = rows_int(&row, 2);
    }
    return r;
}

bool published_next(struct connection *c, struct published_reaction *r, struct published_event *out) {
    bool found = false;
    for (struct rows row = store_rows(
             c,
             "SELECT event_id, sequence, content, partition, record_offset FROM rebuild_known WHERE cause = ? "
             "ORDER BY sequence LIMIT 1 OFFSET ?",
             value_blob(r->cause.bytes, sizeof r->cause), value_int(r->met));
         rows_next(&row);) {
        *out = (struct published_event){
            .sequence = rows_int(&row, 1),
            .content = (uint64_t)rows_int(&row, 2),
            .partition = (int32_t)rows_int(&row, 3),
            .offset = rows_int(&row, 4)};
        found = rows_uuid(&row, 0, &out->id);
    }
    r->met += found;
    return found;
}

void published_replayed(struct connection *c, const struct uuid *cause) {
    (void)store_run(
        c, "UPDATE rebuild_known SET replayed = 1 WHERE cause = ?", value_blob(cause->bytes, sizeof *cause));
}

int64_t published_not_met(struct connection *c) {
    return store_int(c, 0, "SELECT COUNT(DISTINCT cause) FROM rebuild_known WHERE cause IS NOT NULL AND NOT replayed");
}

int64_t published_sequence(struct connection *c, const struct uuid *id) {
    return store_int(c, 0, "SELECT sequence FROM rebuild_known WHERE event_id = ?", value_blob(id->bytes, sizeof *id));
}
