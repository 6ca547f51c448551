#include "chassis/rebuild/published_index.h"
#include "chassis/base/hash.h"

#include <stdlib.h>
#include <string.h>

/* --- An index of ids: open addressing. Ids are UUIDs of version 7 mostly, whose last bytes are random. */

static size_t slot_of(const struct published_slots *x, const struct uuid *id) {
    uint64_t hash = hash_bytes(HASH_START, id->bytes, sizeof id->bytes);
    return (hash ^ hash >> 32) & (x->size - 1);
}

static const struct uuid *id_at(const struct published_index *k, const struct published_slots *x, size_t place) {
    return x == &k->by_cause ? &k->reactions[place].cause : &k->own[place].id;
}

/* SIZE_MAX: not there. */
static size_t index_find(const struct published_index *k, const struct published_slots *x, const struct uuid *id) {
    if (!x->size) return SIZE_MAX;
    for (size_t i = slot_of(x, id); x->slots[i]; i = (i + 1) & (x->size - 1))
        if (!memcmp(id_at(k, x, x->slots[i] - 1), id, sizeof *id)) return x->slots[i] - 1;
    return SIZE_MAX;
}

static void index_put(const struct published_index *k, struct published_slots *x, size_t place) {
    size_t i = slot_of(x, id_at(k, x, place));
    while (x->slots[i]) i = (i + 1) & (x->size - 1);
    x->slots[i] = place + 1;
}

static bool index_add(const struct published_index *k, struct published_slots *x, size_t place) {
    if (2 * (x->n + 1) > x->size) {
        size_t size = x->size ? 2 * x->size : 1024, *slots = calloc(size, sizeof *slots);
        if (!slots) return false;
        free(x->slots);
        x->slots = slots;
        x->size = size;
        for (size_t i = 0; i < x->n; i++) index_put(k, x, i);
    }
    index_put(k, x, place);
    x->n++;
    return true;
}

static bool grow(void **array, size_t *size, size_t n, size_t one) {
    if (n < *size) return true;
    size_t more = *size ? 2 * *size : 256;
    void *grown = realloc(*array, more * one);
    if (!grown) return false;
    *array = grown;
    *size = more;
    return true;
}

void published_close(struct published_index *k) {
    free(k->events);
    free(k->reactions);
    free(k->own);
    free(k->by_cause.slots);
    free(k->by_id.slots);
    *k = (struct published_index){0};
}

/* --- Taking up */

uint64_t published_content(const char *type, const char *key, const json_t *data) {
    json_t *rest = json_copy((json_t *)data);
    json_object_del(rest, "event_id");
    char *text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t hash = hash_member(hash_member(hash_member(HASH_START, type), key), text);
    free(text);
    json_decref(rest);
    return hash;
}

static bool own_add(struct published_index *k, const struct published_note *e, bool decided) {
    if (!grow((void **)&k->own, &k->own_size, k->own_n, sizeof *k->own)) return false;
    k->own[k->own_n++] = (struct published_own){e->id, e->sequence, decided};
    if (e->sequence > k->last_sequence) k->last_sequence = e->sequence;
    return index_add(k, &k->by_id, k->own_n - 1);
}

static struct published_reaction *reaction_find_or_add(struct published_index *k, const struct uuid *cause) {
    struct published_reaction *r = published_of(k, cause);
    if (r) return r;
    if (!grow((void **)&k->reactions, &k->reactions_size, k->reactions_n, sizeof *k->reactions)) return NULL;
    r = &k->reactions[k->reactions_n++];
    *r = (struct published_reaction){.cause = *cause, .first = SIZE_MAX, .next_met = SIZE_MAX};
    return index_add(k, &k->by_cause, k->reactions_n - 1) ? r : NULL;
}

/* In the order in which they were decided; those of one reaction may be in several partitions. */
static bool reaction_add(struct published_index *k, const struct published_note *e, const struct uuid *cause) {
    struct published_reaction *r = reaction_find_or_add(k, cause);
    if (!r || !grow((void **)&k->events, &k->events_size, k->events_n, sizeof *k->events)) return false;
    size_t place = k->events_n++, *at = &r->first;
    while (*at != SIZE_MAX && k->events[*at].sequence < e->sequence) at = &k->events[*at].next;
    k->events[place] = (struct published_event){e->id,        e->sequence, published_content(e->type, e->key, e->data),
                                                e->partition, e->offset,   *at};
    *at = place;
    r->next_met = r->first;
    r->sequence = k->events[r->first].sequence;
    if (r->first == place) r->occurred_at = e->occurred_at;
    return true;
}

void published_prepare(struct connection *c) {
    (void)store_run(
        c,
        "CREATE TABLE rebuild_decision (sequence INTEGER PRIMARY KEY, event_id BLOB, type TEXT, key TEXT, version BIGINT, "
        "at BIGINT, trace_parent TEXT, data TEXT)");
}

void published_forget(struct connection *c) {
    (void)store_run(c, "DROP TABLE rebuild_decision");
}

static verdict decision_add(struct connection *c, const struct published_note *e, struct failure *why) {
    char *data = json_dumps(e->data, JSON_COMPACT);
    if (!data) return fail(why, RETRY, "out of memory");
    (void)store_run(
        c, "INSERT INTO rebuild_decision VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_int(e->sequence), value_blob(e->id.bytes, 16), value_text(e->type), value_text(e->key),
        value_int(e->version), value_int(e->occurred_at), value_text(e->trace_parent), value_text(data));
    free(data);
    return OK;
}

verdict
published_add(struct published_index *k, struct connection *c, const struct published_note *e, struct failure *why) {
    struct uuid cause;
    const char *caused_by = json_string_value(json_object_get(e->data, "caused_by"));
    bool reacts = caused_by && uuid_parse(caused_by, &cause);
    if (index_find(k, &k->by_id, &e->id) != SIZE_MAX) return OK;
    if (!own_add(k, e, !reacts)) return fail(why, RETRY, "out of memory");
    if (!reacts) return decision_add(c, e, why);
    return reaction_add(k, e, &cause) ? OK : fail(why, RETRY, "out of memory");
}

/* --- Asking */

struct published_reaction *published_of(const struct published_index *k, const struct uuid *cause) {
    size_t place = index_find(k, &k->by_cause, cause);
    return place == SIZE_MAX ? NULL : &k->reactions[place];
}

int64_t known_sequence(const struct published_index *k, const struct uuid *id) {
    size_t place = index_find(k, &k->by_id, id);
    return place == SIZE_MAX ? 0 : k->own[place].sequence;
}

int64_t published_decision(const struct published_index *k, const struct uuid *id) {
    size_t place = index_find(k, &k->by_id, id);
    return place != SIZE_MAX && k->own[place].decided ? k->own[place].sequence : 0;
}

struct published_event *published_next(struct published_index *k, struct published_reaction *r) {
    if (!r || r->next_met == SIZE_MAX) return NULL;
    struct published_event *e = &k->events[r->next_met];
    r->next_met = e->next;
    return e;
}

/* --- Decisions */

int64_t published_next_decision(struct connection *c, int64_t after, int64_t most) {
    return store_int(
        c, 0, "SELECT sequence FROM rebuild_decision WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT 1",
        value_int(after), value_int(most));
}

verdict published_decide(const struct core *core, struct connection *c, int64_t sequence, struct failure *why) {
    struct rows r = store_rows(
        c, "SELECT event_id, type, key, version, at, trace_parent, data FROM rebuild_decision WHERE sequence = ?",
        value_int(sequence));
    verdict v = OK;
    size_t n;
    if (!rows_next(&r)) return OK;
    json_t *data = json_loads(rows_text(&r, 6), JSON_ALLOW_NUL, NULL);
    struct written written = {.data = data};
    struct event own = {
        .type = rows_text(&r, 1),
        .source = core->settings->service,
        .key = rows_text(&r, 2),
        .return_id = json_string_value(json_object_get(data, "return_id")),
        .version = rows_int(&r, 3),
        .occurred_at = rows_int(&r, 4),
        .trace_parent = rows_text(&r, 5),
        .topic = "",
        .data = data,
        .written = &written};
    memcpy(own.id.bytes, rows_blob(&r, 0, &n), sizeof own.id.bytes);
    if (data)
        core->service->decided(c, &own);
    else
        v = fail(why, RETRY, "out of memory");
    rows_close(&r);
    json_decref(data);
    return v;
}
