#include "support/reconcile/reconcile_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUSPECTS_MOST = 20 };

/* One team while it is judged. */
struct judged {
    struct reconcile *r;
    struct team *team;
    int64_t now, handled, declined, quarantined, redriven, skipped, duplicate, other;
    int64_t late, oldest, passed, missing, doubled, changed;
    int64_t pairs;  /* of doubled: events that are one too many */
    int64_t unsent; /* decided and not published when it counted: as many may be absent for now */
};

/* --- Two heads */

static int64_t outcomes_sum(const json_t *partition) {
    const json_t *one;
    size_t i;
    int64_t sum = 0;
    json_array_foreach(json_object_get(partition, "outcomes"), i, one) sum += head_number(one, "n");
    return sum;
}

static int64_t outcome_n(const json_t *partition, const char *outcome) {
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(partition, "outcomes"), i, one) {
        const char *name = json_string_value(json_object_get(one, "outcome"));
        if (name && !strcmp(name, outcome)) return head_number(one, "n");
    }
    return 0;
}

static const json_t *chain_of(const struct reconcile *r, const json_t *head, int partition) {
    char name[500];
    const json_t *one;
    size_t i;
    snprintf(name, sizeof name, "%s/%d", r->topic, partition);
    json_array_foreach(json_object_get(head, "chains"), i, one) {
        const char *chain = json_string_value(json_object_get(one, "chain"));
        if (chain && !strcmp(chain, name)) return one;
    }
    return NULL;
}

static void went_back(
    struct reconcile *r, const char *team, int partition, const json_t *head, const char *what, int64_t before,
    int64_t after) {
    char moment[TIME_TEXT];
    if (after >= before) return;
    finding_add(
        r, team, "changed", partition, -1, NULL, "%s went back from %lld to %lld in what it published at %s", what,
        (long long)before, (long long)after, time_text(head_number(head, "at"), moment));
}

void head_compare(struct reconcile *r, const char *team, const json_t *before, const json_t *head) {
    went_back(
        r, team, -1, head, "the audit log's number of rows", head_number(before, "rows"), head_number(head, "rows"));
    for (int i = 0; i < PARTITIONS_MOST; i++) {
        const json_t *a = head_partition(r, before, i), *b = head_partition(r, head, i);
        if (!a || (b && head_number(b, "log") > head_number(a, "log"))) continue;
        went_back(r, team, i, head, "the next offset", head_number(a, "next_offset"), head_number(b, "next_offset"));
        went_back(r, team, i, head, "the number of records counted", outcomes_sum(a), outcomes_sum(b));
        went_back(
            r, team, i, head, "the number of events decided", head_number(a, "emitted"), head_number(b, "emitted"));
        went_back(
            r, team, i, head, "the number of audit rows", head_number(chain_of(r, before, i), "rows"),
            head_number(chain_of(r, head, i), "rows"));
    }
}

/* --- Dead letters */

static int letter_order(const void *a, const void *b) {
    const struct letter *x = a, *y = b;
    if (x->partition != y->partition) return x->partition < y->partition ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Of one that was sent again after a crash, the first comes first. */
static int letter_order_at(const void *a, const void *b) {
    const struct letter *x = a, *y = b;
    int order = letter_order(a, b);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static void letters_sort(struct reconcile *r) {
    size_t kept = 0;
    if (r->letters_n) qsort(r->letters, r->letters_n, sizeof *r->letters, letter_order_at);
    for (size_t i = 0; i < r->letters_n; i++)
        if (!kept || letter_order(&r->letters[kept - 1], &r->letters[i])) r->letters[kept++] = r->letters[i];
    r->letters_n = kept;
}

static bool has_letter(const struct reconcile *r, int partition, int64_t offset) {
    struct letter wanted = {.partition = partition, .offset = offset};
    return r->letters_n && bsearch(&wanted, r->letters, r->letters_n, sizeof wanted, letter_order);
}

static int64_t letters_in(const struct reconcile *r, int partition, int64_t from, int64_t to) {
    int64_t n = 0;
    for (size_t i = 0; i < r->letters_n; i++)
        n += r->letters[i].partition == partition && r->letters[i].offset >= from && r->letters[i].offset < to;
    return n;
}

/* --- Records against counts */

/* The first reaction to that record or a later one of the partition. */
static size_t reaction_find(const struct reconcile *r, unsigned partition, unsigned index) {
    size_t low = 0, high = r->reactions_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct reaction *e = &r->reactions[middle];
        if (e->partition < partition || (e->partition == partition && e->index < index))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first reaction to the record; NULL: none. */
static const struct reaction *reaction_of(const struct reconcile *r, int partition, size_t index) {
    size_t at = reaction_find(r, (unsigned)partition, (unsigned)index);
    const struct reaction *e = at < r->reactions_n ? &r->reactions[at] : NULL;
    return e && e->partition == (unsigned)partition && e->index == index ? e : NULL;
}

/* Records that were answered, and put aside after that: a redrive answers what was put aside before. */
static void answered_letters_name(struct judged *j, int partition, int64_t next) {
    struct reconcile *r = j->r;
    const struct log_part *p = &r->parts[partition];
    for (size_t i = 0; i < r->letters_n; i++) {
        const struct letter *letter = &r->letters[i];
        size_t index = part_find(p, letter->offset);
        if (letter->partition != partition || letter->offset >= next) continue;
        if (index == p->n || p->records[index].offset != letter->offset) continue;
        const struct reaction *e = reaction_of(r, partition, index);
        if (e && e->at < letter->at)
            finding_add(
                r, j->team->name, "doubled", partition, letter->offset, &p->records[index],
                "it was handled twice: answered, and quarantined after that");
    }
}

static void late_add(struct judged *j, const struct log_part *p, size_t from) {
    for (size_t i = from; i < p->n; i++) {
        j->late++;
        if (p->records[i].at && (!j->oldest || p->records[i].at < j->oldest)) j->oldest = p->records[i].at;
    }
}

/* What people call it: the type's last word. */
static const char *type_word(const struct reconcile *r, const struct record *record) {
    const char *name = r->types[record->type], *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* Names each record in the gaps, and returns how many there are. */
static int64_t gaps_judge(struct judged *j, int partition, const json_t *counted) {
    const struct log_part *p = &j->r->parts[partition];
    const json_t *gap;
    size_t i;
    int64_t n = 0;
    json_array_foreach(json_object_get(counted, "gaps"), i, gap) {
        int64_t to = head_number(gap, "to");
        for (size_t k = part_find(p, head_number(gap, "from")); k < p->n && p->records[k].offset < to; k++, n++)
            finding_add(
                j->r, j->team->name, "missing", partition, p->records[k].offset, &p->records[k],
                "%s was passed, and the audit log has no row of it", type_word(j->r, &p->records[k]));
    }
    j->missing += n;
    return n;
}

static void counts_judge(struct judged *j, int partition, const json_t *counted) {
    const struct log_part *p = &j->r->parts[partition];
    const json_t *chain = chain_of(j->r, j->team->head, partition);
    const char *team = j->team->name;
    int64_t first = head_number(counted, "first_offset"), next = head_number(counted, "next_offset");
    int64_t sum = outcomes_sum(counted), gaps = gaps_judge(j, partition, counted);
    int64_t records = (int64_t)(part_find(p, next) - part_find(p, first));
    if (!head_number(counted, "log") && head_number(chain, "rows") != sum) {
        finding_add(
            j->r, team, "changed", partition, -1, NULL,
            "it counted %lld outcomes, and its audit log has %lld rows of this partition", (long long)sum,
            (long long)head_number(chain, "rows"));
        sum = head_number(chain, "rows");
    }
    if (p->begin > first) return; /* how many there were is not known any more */
    if (sum > records) {
        j->doubled += sum - records;
        finding_add(
            j->r, team, "doubled", partition, -1, NULL,
            "it made something of %lld records, and there are %lld before offset %lld", (long long)sum,
            (long long)records, (long long)next);
        answered_letters_name(j, partition, next);
    }
    if (sum + gaps >= records) return;
    j->missing += records - sum - gaps;
    finding_add(
        j->r, team, "missing", partition, -1, NULL, "%lld records before offset %lld, and only %lld were counted",
        (long long)records, (long long)next, (long long)(sum + gaps));
}

static void figures_add(struct judged *j, const json_t *counted) {
    int64_t redriven = head_number(counted, "redriven"), handled = outcome_n(counted, "handled"),
            declined = outcome_n(counted, "declined"), quarantined = outcome_n(counted, "quarantined"),
            skipped = outcome_n(counted, "skipped"), duplicate = outcome_n(counted, "duplicate");
    j->handled += handled + redriven;
    j->declined += declined;
    j->quarantined += quarantined - redriven;
    j->redriven += redriven;
    j->skipped += skipped;
    j->duplicate += duplicate;
    j->other += outcomes_sum(counted) - handled - declined - quarantined - skipped - duplicate;
}

/* --- Reactions */

static int reaction_order(const void *a, const void *b) {
    const struct reaction *x = a, *y = b;
    if (x->partition != y->partition) return x->partition < y->partition ? -1 : 1;
    if (x->index != y->index) return x->index < y->index ? -1 : 1;
    int order = memcmp(&x->id, &y->id, sizeof x->id);
    return order ? order : (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

static bool same_id(const struct reaction *a, const struct reaction *b) {
    return !memcmp(&a->id, &b->id, sizeof a->id);
}

static void doubled_add(struct judged *j, const struct reaction *e, const char *what) {
    const struct record *record = &j->r->parts[e->partition].records[e->index];
    j->doubled++;
    finding_add(j->r, j->team->name, "doubled", (int)e->partition, record->offset, record, "%s", what);
}

/* What the relay sent again after a crash has the same id and the same place in the outbox. */
static void pair_judge(struct judged *j, const struct reaction *before, const struct reaction *e) {
    bool numbered = before->sequence && e->sequence; /* by a relay of ours */
    if (same_id(before, e)) {
        if (numbered && before->sequence != e->sequence)
            doubled_add(j, e, "one event in reaction to it was published from two rows of the outbox");
    } else if (before->what == e->what) {
        doubled_add(j, e, "two events of one type were published in reaction to it");
    } else if (j->team->head && numbered && before->at != e->at) {
        doubled_add(j, e, "it was handled twice: the events in reaction to it have two moments");
    }
}

/* Sorted; one for each event is left, after the pairs were looked at. */
static void reactions_sort(struct judged *j) {
    struct reconcile *r = j->r;
    size_t kept = 0;
    if (r->reactions_n) qsort(r->reactions, r->reactions_n, sizeof *r->reactions, reaction_order);
    for (size_t i = 0; i < r->reactions_n; i++) {
        struct reaction *e = &r->reactions[i], *last = kept ? &r->reactions[kept - 1] : NULL;
        bool together = last && last->partition == e->partition && last->index == e->index;
        if (together) pair_judge(j, last, e);
        if (!together || !same_id(last, e)) r->reactions[kept++] = *e;
    }
    r->reactions_n = kept;
}

static int number_order(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void sequences_sort(struct reconcile *r) {
    size_t kept = 0;
    if (r->sequences_n) qsort(r->sequences, r->sequences_n, sizeof *r->sequences, number_order);
    for (size_t i = 0; i < r->sequences_n; i++)
        if (!kept || r->sequences[kept - 1] != r->sequences[i]) r->sequences[kept++] = r->sequences[i];
    r->sequences_n = kept;
}

/* How many are less. */
static size_t sequences_below(const struct reconcile *r, int64_t limit) {
    size_t low = 0, high = r->sequences_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r->sequences[middle] < limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether the outbox had rows between those two that are in no topic. */
static bool is_hole(const struct reconcile *r, int64_t after, int64_t before) {
    int64_t seen = (int64_t)sequences_below(r, before) - (int64_t)sequences_below(r, after + 1);
    return before - after - 1 > seen;
}

/* Whether a reaction is absent just where those to the records around it are: only then was it decided at all. */
static bool is_suspect(const struct reconcile *r, unsigned partition, size_t at) {
    const struct reaction *all = r->reactions;
    bool has_next = at < r->reactions_n && all[at].partition == partition;
    bool has_last = at && all[at - 1].partition == partition;
    if (!has_next) return true; /* SQLite gives the number of the last row to the next one */
    return is_hole(r, has_last ? all[at - 1].sequence : 0, all[at].sequence);
}

/* The types of records to which this team reacts at all. */
static void types_learn(const struct judged *j, bool reacts[TYPES_MOST]) {
    for (size_t i = 0; i < j->r->reactions_n; i++) {
        const struct reaction *e = &j->r->reactions[i];
        reacts[j->r->parts[e->partition].records[e->index].type] = true;
    }
}

/* Records of the partition to which the team did not react; narrow: only where the outbox has a hole. */
static size_t suspects_find(
    const struct judged *j, int partition, const json_t *counted, bool narrow, size_t suspects[SUSPECTS_MOST + 1]) {
    const struct log_part *p = &j->r->parts[partition];
    bool reacts[TYPES_MOST] = {false};
    size_t n = 0, end = part_find(p, head_number(counted, "next_offset"));
    types_learn(j, reacts);
    for (size_t i = part_find(p, head_number(counted, "emitted_from")); i < end && n <= SUSPECTS_MOST; i++) {
        const struct record *record = &p->records[i];
        if (!record->has_id || record->repeated || !reacts[record->type] || has_letter(j->r, partition, record->offset))
            continue;
        size_t at = reaction_find(j->r, (unsigned)partition, (unsigned)i);
        if (!reaction_of(j->r, partition, i) && (!narrow || is_suspect(j->r, (unsigned)partition, at)))
            suspects[n++] = i;
    }
    return n;
}

static void absent_name(struct judged *j, int partition, const json_t *counted, int64_t absent) {
    size_t suspects[SUSPECTS_MOST + 1];
    const struct log_part *p = &j->r->parts[partition];
    size_t n = suspects_find(j, partition, counted, true, suspects);
    if ((int64_t)n < absent) n = suspects_find(j, partition, counted, false, suspects);
    j->missing += absent;
    if (!n || n > SUSPECTS_MOST)
        finding_add(
            j->r, j->team->name, "missing", partition, -1, NULL,
            "%lld events that it decided in reaction to this partition were not published", (long long)absent);
    for (size_t i = 0; n <= SUSPECTS_MOST && i < n; i++) {
        const struct record *record = &p->records[suspects[i]];
        if ((int64_t)n <= absent)
            finding_add(
                j->r, j->team->name, "missing", partition, record->offset, record,
                "it was handled, and the event in reaction to it was not published");
        else
            finding_add(
                j->r, j->team->name, "missing", partition, record->offset, record,
                "of the events in reaction to this and %zu other records %lld were not published", n - 1,
                (long long)absent);
    }
}

/* Unless what is absent may still be in the outbox. */
static void reactions_judge(struct judged *j, int partition, const json_t *counted) {
    const struct reconcile *r = j->r;
    const struct log_part *p = &r->parts[partition];
    int64_t decided = head_number(counted, "emitted"), from = head_number(counted, "emitted_from"), found = 0;
    size_t begin = part_find(p, from), end = part_find(p, head_number(counted, "next_offset"));
    if (p->begin > from) return;
    for (size_t i = reaction_find(r, (unsigned)partition, (unsigned)begin);
         i < r->reactions_n && r->reactions[i].partition == (unsigned)partition && r->reactions[i].index < end; i++)
        found++;
    int64_t absent = decided - found, waiting = absent < j->unsent ? absent : j->unsent;
    if (waiting > 0) j->unsent -= waiting, absent -= waiting;
    if (absent > 0) absent_name(j, partition, counted, absent);
    bool redriven_since = letters_in(r, partition, from, INT64_MAX);
    if (absent >= 0 || redriven_since || j->pairs) return;
    j->doubled -= absent;
    finding_add(
        j->r, j->team->name, "doubled", partition, -1, NULL,
        "%lld events in reaction to this partition were published, and it decided only %lld", (long long)found,
        (long long)decided);
}

static void letters_judge(struct judged *j, int partition, const json_t *counted) {
    int64_t first = head_number(counted, "first_offset"), decided = outcome_n(counted, "quarantined");
    int64_t absent = decided - letters_in(j->r, partition, first, head_number(counted, "next_offset"));
    int64_t waiting = absent < j->unsent ? absent : j->unsent;
    if (waiting > 0) j->unsent -= waiting, absent -= waiting;
    if (absent <= 0) return;
    j->missing += absent;
    finding_add(
        j->r, j->team->name, "missing", partition, -1, NULL,
        "it quarantined %lld records, and %lld of them are not in its dead letters", (long long)decided,
        (long long)absent);
}

/* --- A team */

static void broken_judge(struct judged *j) {
    const json_t *broken = json_object_get(j->team->head, "broken"), *offset = json_object_get(broken, "offset");
    const char *chain = json_string_value(json_object_get(broken, "chain")),
               *reason = json_string_value(json_object_get(broken, "reason"));
    size_t n = strlen(j->r->topic);
    if (!json_is_object(broken)) return;
    bool ours = chain && !strncmp(chain, j->r->topic, n) && chain[n] == '/';
    int partition = ours ? atoi(chain + n + 1) : -1;
    const struct log_part *p = partition >= 0 && partition < j->r->parts_n ? &j->r->parts[partition] : NULL;
    size_t at = p && json_is_integer(offset) ? part_find(p, json_integer_value(offset)) : 0;
    bool known = p && at < p->n && p->records[at].offset == json_integer_value(offset) && json_is_integer(offset);
    /* Of a row that is missing only the one behind it is known; which record it was about, the gaps say. */
    finding_add(
        j->r, j->team->name, "changed", known ? partition : -1, known ? p->records[at].offset : -1,
        known ? &p->records[at] : NULL, "its audit log was changed at row %lld: %s",
        (long long)head_number(broken, "id"), reason ? reason : "");
}

static int64_t passed_offset(const struct team *team, int partition) {
    char id[24];
    snprintf(id, sizeof id, "%d", partition);
    return head_number(team->passed, id);
}

static void partition_judge(struct judged *j, int partition) {
    const struct log_part *p = &j->r->parts[partition];
    const json_t *counted = head_partition(j->r, j->team->head, partition);
    size_t next = part_find(
        p, counted         ? head_number(counted, "next_offset")
           : j->team->head ? 0
                           : passed_offset(j->team, partition));
    late_add(j, p, next);
    if (!j->team->head) j->passed += (int64_t)next;
    if (!counted) return;
    figures_add(j, counted);
    counts_judge(j, partition, counted);
    letters_judge(j, partition, counted);
    reactions_judge(j, partition, counted);
}

static json_t *figures_json(const struct judged *j, int64_t unsent, int64_t findings) {
    char moment[TIME_TEXT];
    const json_t *head = j->team->head;
    int64_t age = j->oldest ? j->now - j->oldest : 0;
    return json_pack(
        "{s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o, s:I, s:I, s:I, s:b}", "team", j->team->name,
        "counted_at", head ? time_text(head_number(head, "at"), moment) : NULL, "handled", (json_int_t)j->handled,
        "declined", (json_int_t)j->declined, "quarantined", (json_int_t)j->quarantined, "redriven",
        (json_int_t)j->redriven, "skipped", (json_int_t)j->skipped, "duplicate", (json_int_t)j->duplicate, "other",
        (json_int_t)j->other, "late", (json_int_t)j->late, "oldest_ms",
        j->late ? json_integer(age > 0 ? age : 0) : json_null(), "unsent", (json_int_t)unsent, "passed",
        head ? json_null() : json_integer(j->passed), "missing", (json_int_t)j->missing, "doubled",
        (json_int_t)j->doubled, "changed", (json_int_t)j->changed, "fits", !findings);
}

/* How many findings of that kind the team has, also those of its heads, which came before it was judged. */
static int64_t findings_of(const struct reconcile *r, const char *team, const char *kind) {
    const json_t *one;
    size_t i;
    int64_t n = 0;
    json_array_foreach(r->findings, i, one) n +=
        !strcmp(json_string_value(json_object_get(one, "team")), team) &&
        (!kind || !strcmp(json_string_value(json_object_get(one, "kind")), kind));
    return n;
}

void reconcile_judge(struct reconcile *r, size_t team, int64_t now) {
    struct judged j = {.r = r, .team = &r->teams[team], .now = now};
    int64_t unsent = j.unsent = head_number(j.team->head, "unsent");
    places_make(r);
    letters_sort(r);
    sequences_sort(r);
    reactions_sort(&j);
    broken_judge(&j);
    j.pairs = j.doubled;
    for (int i = 0; i < r->parts_n; i++) partition_judge(&j, i);
    j.changed = findings_of(r, j.team->name, "changed");
    json_decref(j.team->figures);
    j.team->figures = figures_json(&j, unsent, findings_of(r, j.team->name, NULL));
    r->reactions_n = r->letters_n = r->sequences_n = 0;
}
