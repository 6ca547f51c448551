#include "support/reconcile/reconcile_private.h"

#include "chassis/base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reconcile *reconcile_new(const char *topic, const char *own) {
    struct reconcile *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->topic = strdup(topic);
    r->own = strdup(own);
    r->findings = json_array();
    r->failed = !r->topic || !r->own || !r->findings;
    return r;
}

void reconcile_free(struct reconcile **out) {
    struct reconcile *r = *out;
    if (!r) return;
    for (int i = 0; i < r->parts_n; i++) {
        for (size_t k = 0; k < r->parts[i].n; k++) free(r->parts[i].records[k].return_id);
        free(r->parts[i].records);
    }
    for (size_t i = 0; i < r->teams_n; i++) {
        json_decref(r->teams[i].head);
        json_decref(r->teams[i].passed);
        json_decref(r->teams[i].figures);
    }
    for (int i = 0; i < r->types_n; i++) free(r->types[i]);
    json_decref(r->findings);
    free(r->places);
    free(r->reactions);
    free(r->letters);
    free(r->sequences);
    free(r->topic);
    free(r->own);
    free(r);
    *out = NULL;
}

/* Room for one more; NULL: no memory. */
static void *grown(struct reconcile *r, void *array, size_t n, size_t *size, size_t item) {
    if (n < *size) return array;
    size_t wanted = *size ? 2 * *size : 256;
    void *more = realloc(array, wanted * item);
    if (more)
        *size = wanted;
    else
        r->failed = true;
    return more;
}

void finding_add(
    struct reconcile *r, const char *team, const char *kind, int partition, int64_t offset, const struct record *record,
    const char *format, ...) {
    char what[600];
    va_list arguments;
    r->findings_n++;
    if (json_array_size(r->findings) >= FINDINGS_MOST) return;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    json_array_append_new(
        r->findings, json_pack(
                         "{s:s, s:s, s:o, s:o, s:s?, s:s}", "team", team, "kind", kind, "partition",
                         partition < 0 ? json_null() : json_integer(partition), "offset",
                         offset < 0 ? json_null() : json_integer(offset), "return_id",
                         record ? record->return_id : NULL, "what", what));
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

int64_t head_number(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

const json_t *head_partition(const struct reconcile *r, const json_t *head, int partition) {
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(head, "partitions"), i, one) {
        const char *topic = json_string_value(json_object_get(one, "topic"));
        if (topic && !strcmp(topic, r->topic) && (partition < 0 || head_number(one, "partition") == partition))
            return one;
    }
    return NULL;
}

/* One that is older than the last came late, from a producer that was thrown away. */
void reconcile_head(struct reconcile *r, const char *team_name, const json_t *head) {
    bool known = head_partition(r, head, -1);
    for (size_t i = 0; !known && i < r->teams_n; i++) known = r->teams[i].head && !strcmp(r->teams[i].name, team_name);
    if (!known) return; /* it reads other topics, or publishes no counts */
    struct team *team = team_of(r, team_name);
    if (!team) return;
    if (team->head && head_number(head, "at") < head_number(team->head, "at")) return;
    if (team->head) head_compare(r, team_name, team->head, head);
    json_decref(team->head);
    team->head = json_incref((json_t *)head);
}

void reconcile_group(struct reconcile *r, const char *name, int partition, int64_t next_offset) {
    struct team *team = team_of(r, name);
    char id[24];
    if (!team) return;
    if (!team->passed) team->passed = json_object();
    snprintf(id, sizeof id, "%d", partition);
    json_object_set_new(team->passed, id, json_integer(next_offset));
}

/* --- The topic */

void reconcile_bounds(struct reconcile *r, int partition, int64_t begin, int64_t end) {
    if (partition < 0 || partition >= PARTITIONS_MOST) return;
    if (partition >= r->parts_n) r->parts_n = partition + 1;
    r->parts[partition].begin = begin;
    r->parts[partition].end = end;
}

static unsigned char type_of(struct reconcile *r, const char *name) {
    int i = 0;
    while (i < r->types_n && strcmp(r->types[i], name) != 0) i++;
    if (i == TYPES_MOST) i--;
    if (i == r->types_n) {
        if (!(r->types[i] = strdup(name))) {
            r->failed = true;
            return 0;
        }
        r->types_n++;
    }
    r->types_count[i]++;
    return (unsigned char)i;
}

void reconcile_record(struct reconcile *r, const struct reconcile_record *e) {
    if (e->partition < 0 || e->partition >= r->parts_n) return;
    struct log_part *p = &r->parts[e->partition];
    void *more = grown(r, p->records, p->n, &p->size, sizeof *p->records);
    if (!more) return;
    p->records = more;
    struct record *record = &p->records[p->n++];
    *record = (struct record){.offset = e->offset, .at = e->at, .has_id = e->id, .type = type_of(r, e->type)};
    if (e->id) record->id = *e->id;
    if (e->return_id && !(record->return_id = strdup(e->return_id))) r->failed = true;
}

size_t part_find(const struct log_part *p, int64_t offset) {
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->records[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int place_order(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    int order = memcmp(&x->id, &y->id, sizeof x->id);
    if (!order) order = (x->partition > y->partition) - (x->partition < y->partition);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

void places_make(struct reconcile *r) {
    size_t all = 0, kept = 0;
    if (r->places) return;
    for (int i = 0; i < r->parts_n; i++) all += r->parts[i].n;
    r->places = malloc((all + 1) * sizeof *r->places);
    if (!r->places) {
        r->failed = true;
        return;
    }
    size_t n = 0;
    for (int i = 0; i < r->parts_n; i++)
        for (size_t k = 0; k < r->parts[i].n; k++)
            if (r->parts[i].records[k].has_id)
                r->places[n++] = (struct place){r->parts[i].records[k].id, (unsigned)i, (unsigned)k};
    qsort(r->places, n, sizeof *r->places, place_order);
    for (size_t i = 0; i < n; i++) {
        bool first = !kept || memcmp(&r->places[kept - 1].id, &r->places[i].id, sizeof r->places->id) != 0;
        if (first)
            r->places[kept++] = r->places[i];
        else
            r->parts[r->places[i].partition].records[r->places[i].index].repeated = true;
    }
    r->places_n = kept;
}

static int id_order(const void *key, const void *place) {
    return memcmp(key, &((const struct place *)place)->id, sizeof(struct uuid));
}

/* --- What came of it */

static uint64_t hash_of(const char *type, const char *key) {
    return hash_text(hash_member(HASH_START, type), key);
}

static void sequence_add(struct reconcile *r, int64_t sequence) {
    void *more = grown(r, r->sequences, r->sequences_n, &r->sequences_size, sizeof *r->sequences);
    if (!more) return;
    r->sequences = more;
    r->sequences[r->sequences_n++] = sequence;
}

void reconcile_reaction(struct reconcile *r, const struct reconcile_reaction *e) {
    places_make(r);
    if (e->sequence) sequence_add(r, e->sequence);
    const struct place *cause =
        r->places && e->caused_by ? bsearch(e->caused_by, r->places, r->places_n, sizeof *r->places, id_order) : NULL;
    if (!cause) return;
    void *more = grown(r, r->reactions, r->reactions_n, &r->reactions_size, sizeof *r->reactions);
    if (!more) return;
    r->reactions = more;
    r->reactions[r->reactions_n++] =
        (struct reaction){cause->partition, cause->index, *e->id, e->at, e->sequence, hash_of(e->type, e->key)};
}

void reconcile_letter(struct reconcile *r, int partition, int64_t offset, int64_t at) {
    void *more = grown(r, r->letters, r->letters_n, &r->letters_size, sizeof *r->letters);
    if (!more) return;
    r->letters = more;
    r->letters[r->letters_n++] = (struct letter){partition, offset, at};
}

/* --- The result */

static int figures_order(const void *a, const void *b) {
    const struct team *x = *(const struct team *const *)a, *y = *(const struct team *const *)b;
    return strcmp(x->name, y->name);
}

static json_t *teams_json(const struct reconcile *r) {
    const struct team *sorted[TEAMS_MOST];
    json_t *teams = json_array();
    for (size_t i = 0; i < r->teams_n; i++) sorted[i] = &r->teams[i];
    qsort(sorted, r->teams_n, sizeof *sorted, figures_order);
    for (size_t i = 0; i < r->teams_n; i++)
        if (sorted[i]->figures) json_array_append(teams, sorted[i]->figures);
    return teams;
}

json_t *reconcile_result(struct reconcile *r, int64_t now) {
    char moment[TIME_TEXT];
    json_t *watermark = json_array(), *types = json_object();
    json_int_t records = 0;
    for (int i = 0; i < r->parts_n; i++) {
        records += (json_int_t)r->parts[i].n;
        json_array_append_new(
            watermark, json_pack(
                           "{s:i, s:I, s:I}", "partition", i, "begin", (json_int_t)r->parts[i].begin, "end",
                           (json_int_t)r->parts[i].end));
    }
    for (int i = 0; i < r->types_n; i++) json_object_set_new(types, r->types[i], json_integer(r->types_count[i]));
    json_t *result = json_pack(
        "{s:s, s:s, s:o, s:I, s:o, s:b, s:o, s:O, s:I}", "at", time_text(now, moment), "topic", r->topic, "watermark",
        watermark, "records", records, "types", types, "fits", !r->findings_n, "teams", teams_json(r), "findings",
        r->findings, "more", (json_int_t)(r->findings_n - (int64_t)json_array_size(r->findings)));
    if (!r->failed) return result;
    json_decref(result);
    return NULL;
}
