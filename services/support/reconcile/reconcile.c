#include "support/reconcile/reconcile_private.h"

#include "chassis/base/hash.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* reaction, letter and sequence are those of the team that is being looked at. */
static const char tables[] =
    "PRAGMA journal_mode = OFF;"
    "CREATE TABLE record (partition BIGINT NOT NULL, record_offset BIGINT NOT NULL, at BIGINT NOT NULL, id BYTEA, "
    "return_id TEXT, type TEXT NOT NULL, PRIMARY KEY (partition, record_offset)) WITHOUT ROWID;"
    "CREATE INDEX record_id ON record (id) WHERE id IS NOT NULL;"
    /* of the record that caused it, where its event is the first time. what: a hash of type and key */
    "CREATE TABLE reaction (partition BIGINT NOT NULL, record_offset BIGINT NOT NULL, id BYTEA NOT NULL, "
    "sequence BIGINT NOT NULL, at BIGINT NOT NULL, what BIGINT NOT NULL);"
    "CREATE INDEX reaction_place ON reaction (partition, record_offset, id, sequence);"
    /* at: when it was published. 0: not known */
    "CREATE TABLE letter (partition BIGINT NOT NULL, record_offset BIGINT NOT NULL, at BIGINT NOT NULL, "
    "PRIMARY KEY (partition, record_offset));"
    /* of each of the team's events, whatever caused it */
    "CREATE TABLE sequence (n BIGINT NOT NULL PRIMARY KEY)";

struct reconcile *reconcile_new(const char *topic, const char *own) {
    struct failure why;
    struct reconcile *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    snprintf(r->topic, sizeof r->topic, "%s", topic);
    snprintf(r->own, sizeof r->own, "%s", own);
    r->findings = json_array();
    if (r->findings && store_open_memory(&r->store, tables, &why) == OK)
        r->c = store_begin(r->store);
    else
        reconcile_free(&r);
    return r;
}

void reconcile_free(struct reconcile **out) {
    struct reconcile *r = *out;
    if (!r) return;
    for (size_t i = 0; i < r->teams_n; i++) {
        json_decref(r->teams[i].head);
        json_decref(r->teams[i].passed);
        json_decref(r->teams[i].figures);
    }
    if (r->c) store_rollback(r->c);
    store_close(&r->store);
    json_decref(r->findings);
    free(r);
    *out = NULL;
}

void finding_add(
    struct reconcile *r, const char *team, const char *kind, int partition, int64_t offset, const char *format, ...) {
    char what[600];
    va_list arguments;
    r->findings_n++;
    if (json_array_size(r->findings) >= FINDINGS_MOST) return;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    struct rows record = store_rows(
        r->c, "SELECT return_id FROM record WHERE partition = ? AND record_offset = ?", value_int(partition),
        value_int(offset));
    json_array_append_new(
        r->findings, json_pack(
                         "{s:s, s:s, s:o, s:o, s:o, s:s}", "team", team, "kind", kind, "partition",
                         partition < 0 ? json_null() : json_integer(partition), "offset",
                         offset < 0 ? json_null() : json_integer(offset), "return_id",
                         rows_next(&record) ? rows_text_json(&record, 0) : json_null(), "what", what));
    rows_close(&record);
}

/* --- Teams */

static struct team *team_of(struct reconcile *r, const char *name) {
    if (!strcmp(name, r->own)) return NULL;
    for (size_t i = 0; i < r->teams_n; i++)
        if (!strcmp(r->teams[i].name, name)) return &r->teams[i];
    if (r->teams_n == TEAMS_MOST || strlen(name) >= sizeof r->teams->name) return NULL;
    struct team *team = &r->teams[r->teams_n++];
    snprintf(team->name, sizeof team->name, "%s", name);
    return team;
}

const char *reconcile_team(const struct reconcile *r, size_t i) {
    return i < r->teams_n ? r->teams[i].name : NULL;
}

const json_t *head_partition(const struct reconcile *r, const json_t *head, int partition) {
    json_each(i, one, json_object_get(head, "partitions"))
        if (!strcmp(json_get_text(one, "topic"), r->topic) &&
            (partition < 0 || json_get_int(one, "partition") == partition))
            return one;
    return NULL;
}

/* One that is older than the last came late, from a producer that was thrown away. */
void reconcile_head(struct reconcile *r, const char *name, const json_t *head) {
    bool known = head_partition(r, head, -1);
    for (size_t i = 0; !known && i < r->teams_n; i++) known = r->teams[i].head && !strcmp(r->teams[i].name, name);
    struct team *team = known ? team_of(r, name) : NULL; /* another reads other topics, or publishes no counts */
    if (!team || (team->head && json_get_int(head, "at") < json_get_int(team->head, "at"))) return;
    if (team->head) head_compare(r, name, team->head, head);
    json_decref(team->head);
    team->head = json_incref((json_t *)head);
}

void reconcile_group(struct reconcile *r, const char *name, int partition, int64_t next_offset) {
    struct team *team = team_of(r, name);
    char id[24];
    if (!team) return;
    if (!team->passed) team->passed = json_object();
    json_object_set_new(team->passed, log_number(id, partition), json_integer(next_offset));
}

/* --- The topic */

void reconcile_bounds(struct reconcile *r, int partition, int64_t begin, int64_t end) {
    if (partition < 0 || partition >= PARTITIONS_MOST) return;
    if (partition >= r->parts_n) r->parts_n = partition + 1;
    r->parts[partition].begin = begin;
    r->parts[partition].end = end;
}

static struct value id_value(const struct uuid *id) {
    return id ? value_blob(id->bytes, sizeof id->bytes) : value_text(NULL);
}

void reconcile_record(struct reconcile *r, const struct reconcile_record *e) {
    if (e->partition < 0 || e->partition >= r->parts_n) return;
    (void)store_run(
        r->c,
        "INSERT INTO record (partition, record_offset, at, id, return_id, type) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        value_int(e->partition), value_int(e->offset), value_int(e->at), id_value(e->id), value_text(e->return_id),
        value_text(e->type));
}

/* --- What came of it */

void reconcile_reaction(struct reconcile *r, const struct reconcile_reaction *e) {
    int64_t what = (int64_t)hash_text(hash_member(HASH_START, e->type), e->key);
    if (e->sequence)
        (void)store_run(r->c, "INSERT INTO sequence (n) VALUES (?) ON CONFLICT DO NOTHING", value_int(e->sequence));
    (void)store_run(
        r->c,
        "INSERT INTO reaction (partition, record_offset, id, sequence, at, what) "
        "SELECT partition, record_offset, ?, ?, ?, ? FROM record WHERE id = ? ORDER BY partition, record_offset LIMIT 1",
        id_value(e->id), value_int(e->sequence), value_int(e->at), value_int(what), id_value(e->caused_by));
}

/* Of one that was sent again after a crash, the first counts. */
void reconcile_letter(struct reconcile *r, int partition, int64_t offset, int64_t at) {
    (void)store_run(
        r->c,
        "INSERT INTO letter (partition, record_offset, at) VALUES (?, ?, ?) "
        "ON CONFLICT (partition, record_offset) DO UPDATE SET at = excluded.at WHERE excluded.at < letter.at",
        value_int(partition), value_int(offset), value_int(at));
}

/* --- The result */

static int figures_order(const void *a, const void *b) {
    const struct team *x = a, *y = b;
    return strcmp(x->name, y->name);
}

json_t *reconcile_result(struct reconcile *r, int64_t now) {
    char moment[TIME_TEXT];
    json_t *watermark = json_array(), *types = json_object(), *teams = json_array();
    for (int i = 0; i < r->parts_n; i++)
        json_array_append_new(
            watermark, json_pack(
                           "{s:i, s:I, s:I}", "partition", i, "begin", (json_int_t)r->parts[i].begin, "end",
                           (json_int_t)r->parts[i].end));
    for (struct rows n = store_rows(r->c, "SELECT type, COUNT(*) FROM record GROUP BY type ORDER BY MIN(at), type");
         rows_next(&n);)
        json_object_set_new(types, rows_text(&n, 0), json_integer(rows_int(&n, 1)));
    qsort(r->teams, r->teams_n, sizeof *r->teams, figures_order);
    for (size_t i = 0; i < r->teams_n; i++)
        if (r->teams[i].figures) json_array_append(teams, r->teams[i].figures);
    json_auto_t *result = json_pack(
        "{s:s, s:s, s:o, s:I, s:o, s:b, s:o, s:O, s:I}", "at", time_text(now, moment), "topic", r->topic, "watermark",
        watermark, "records", (json_int_t)store_int(r->c, 0, "SELECT COUNT(*) FROM record"), "types", types, "fits",
        !r->findings_n, "teams", teams, "findings", r->findings, "more",
        (json_int_t)(r->findings_n - (int64_t)json_array_size(r->findings)));
    return store_state(r->c) == OK ? json_incref(result) : NULL;
}
