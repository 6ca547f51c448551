#include "support/reconcile/reconcile_private.h"

#include "chassis/base/json_get.h"
#include "chassis/base/log.h"

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

#define FINDING(j, ...) finding_add((j)->r, (j)->team->name, __VA_ARGS__)

/* --- Two heads */

static int64_t outcomes_sum(const json_t *partition) {
    int64_t sum = 0;
    json_each(i, one, json_object_get(partition, "outcomes")) sum += json_get_int(one, "n");
    return sum;
}

static int64_t outcome_n(const json_t *partition, const char *outcome) {
    return json_get_int(json_find(json_object_get(partition, "outcomes"), "outcome", outcome), "n");
}

/* How many audit rows the head says that there are of the partition. */
static int64_t chain_rows(const struct reconcile *r, const json_t *head, int partition) {
    char name[500];
    snprintf(name, sizeof name, "%s/%d", r->topic, partition);
    return json_get_int(json_find(json_object_get(head, "chains"), "chain", name), "rows");
}

static void went_back(
    struct reconcile *r, const char *team, int partition, const json_t *head, const char *what, int64_t before,
    int64_t after) {
    char moment[TIME_TEXT];
    if (after < before)
        finding_add(
            r, team, "changed", partition, -1, "%s went back from %lld to %lld in what it published at %s", what,
            (long long)before, (long long)after, time_text(json_get_int(head, "at"), moment));
}

void head_compare(struct reconcile *r, const char *team, const json_t *before, const json_t *head) {
    went_back(
        r, team, -1, head, "the audit log's number of rows", json_get_int(before, "rows"), json_get_int(head, "rows"));
    for (int i = 0; i < PARTITIONS_MOST; i++) {
        const json_t *a = head_partition(r, before, i), *b = head_partition(r, head, i);
        if (!a || (b && json_get_int(b, "log") > json_get_int(a, "log"))) continue;
        went_back(r, team, i, head, "the next offset", json_get_int(a, "next_offset"), json_get_int(b, "next_offset"));
        went_back(r, team, i, head, "the number of records counted", outcomes_sum(a), outcomes_sum(b));
        went_back(
            r, team, i, head, "the number of events decided", json_get_int(a, "emitted"), json_get_int(b, "emitted"));
        went_back(r, team, i, head, "the number of audit rows", chain_rows(r, before, i), chain_rows(r, head, i));
    }
}

/* --- Records against counts */

static int64_t records_in(const struct judged *j, int partition, int64_t from, int64_t to) {
    return store_int(
        j->r->c, 0, "SELECT COUNT(*) FROM record WHERE partition = ? AND record_offset >= ? AND record_offset < ?",
        value_int(partition), value_int(from), value_int(to));
}

static int64_t letters_in(const struct judged *j, int partition, int64_t from, int64_t to) {
    return store_int(
        j->r->c, 0, "SELECT COUNT(*) FROM letter WHERE partition = ? AND record_offset >= ? AND record_offset < ?",
        value_int(partition), value_int(from), value_int(to));
}

/* Names each record in the gaps, and returns how many there are. */
static int64_t gaps_judge(struct judged *j, int partition, const json_t *counted) {
    int64_t n = 0;
    json_each(i, gap, json_object_get(counted, "gaps")) {
        struct rows record = store_rows(
            j->r->c,
            "SELECT record_offset, type FROM record WHERE partition = ? AND record_offset >= ? AND record_offset < ? "
            "ORDER BY record_offset",
            value_int(partition), value_int(json_get_int(gap, "from")), value_int(json_get_int(gap, "to")));
        for (; rows_next(&record); n++) {
            const char *type = rows_text(&record, 1), *dot = strrchr(type, '.');
            FINDING(
                j, "missing", partition, rows_int(&record, 0), "%s was passed, and the audit log has no row of it",
                dot ? dot + 1 : type);
        }
    }
    j->missing += n;
    return n;
}

/* Records that were answered, and put aside after that: a redrive answers what was put aside before. */
static void answered_letters_name(struct judged *j, int partition, int64_t next) {
    for (struct rows letter = store_rows(
             j->r->c,
             "SELECT l.record_offset FROM letter l JOIN record r ON r.partition = l.partition AND "
             "r.record_offset = l.record_offset WHERE l.partition = ? AND l.record_offset < ? AND "
             "(SELECT e.at FROM reaction e WHERE e.partition = l.partition AND e.record_offset = l.record_offset "
             "ORDER BY e.id, e.sequence LIMIT 1) < l.at ORDER BY l.record_offset",
             value_int(partition), value_int(next));
         rows_next(&letter);)
        FINDING(
            j, "doubled", partition, rows_int(&letter, 0),
            "it was handled twice: answered, and quarantined after that");
}

static void counts_judge(struct judged *j, int partition, const json_t *counted) {
    int64_t first = json_get_int(counted, "first_offset"), next = json_get_int(counted, "next_offset");
    int64_t rows = chain_rows(j->r, j->team->head, partition), records = records_in(j, partition, first, next);
    int64_t sum = outcomes_sum(counted), gaps = gaps_judge(j, partition, counted);
    if (!json_get_int(counted, "log") && rows != sum) {
        FINDING(
            j, "changed", partition, -1, "it counted %lld outcomes, and its audit log has %lld rows of this partition",
            (long long)sum, (long long)rows);
        sum = rows;
    }
    if (j->r->parts[partition].begin > first) return; /* how many there were is not known any more */
    if (sum > records) {
        j->doubled += sum - records;
        FINDING(
            j, "doubled", partition, -1, "it made something of %lld records, and there are %lld before offset %lld",
            (long long)sum, (long long)records, (long long)next);
        answered_letters_name(j, partition, next);
    }
    if (sum + gaps >= records) return;
    j->missing += records - sum - gaps;
    FINDING(
        j, "missing", partition, -1, "%lld records before offset %lld, and only %lld were counted", (long long)records,
        (long long)next, (long long)(sum + gaps));
}

static void figures_add(struct judged *j, const json_t *counted) {
    int64_t redriven = json_get_int(counted, "redriven"), handled = outcome_n(counted, "handled"),
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

/* Two that follow each other by id, in reaction to one record. What the relay sent again after a crash has the same id
 * and the same place in the outbox. */
static const char pairs_sql[] =
    "SELECT partition, record_offset, CASE WHEN id = last_id THEN CASE WHEN sequence <> last_sequence AND "
    "sequence > 0 AND last_sequence > 0 THEN 'one event in reaction to it was published from two rows of the outbox' END "
    "WHEN what = last_what THEN 'two events of one type were published in reaction to it' "
    "WHEN ? AND at <> last_at AND sequence > 0 AND last_sequence > 0 "
    "THEN 'it was handled twice: the events in reaction to it have two moments' END AS finding FROM "
    "(SELECT e.*, LAG(id) OVER w AS last_id, LAG(sequence) OVER w AS last_sequence, LAG(what) OVER w AS last_what, "
    "LAG(at) OVER w AS last_at FROM reaction e WINDOW w AS (PARTITION BY partition, record_offset ORDER BY id, sequence)) p "
    "ORDER BY partition, record_offset, id, sequence";

static void pairs_judge(struct judged *j) {
    for (struct rows pair = store_rows(j->r->c, pairs_sql, value_int(j->team->head != NULL)); rows_next(&pair);) {
        if (rows_null(&pair, 2)) continue;
        j->pairs++;
        FINDING(j, "doubled", (int)rows_int(&pair, 0), rows_int(&pair, 1), "%s", rows_text(&pair, 2));
    }
    j->doubled += j->pairs;
}

/* Records of the partition to which the team did not react, though it reacts to their type. narrow: only where the
 * outbox has a hole, so that a reaction was decided at all: between the reactions to the records around it are rows
 * that are in no topic. Behind the last one there is always a hole: SQLite gives the number of the last row to the
 * next. */
static const char suspects_sql[] =
    "SELECT record_offset FROM (SELECT r.record_offset, "
    "COALESCE((SELECT e.sequence FROM reaction e WHERE e.partition = r.partition AND e.record_offset < r.record_offset "
    "ORDER BY e.record_offset DESC, e.id DESC, e.sequence LIMIT 1), 0) AS before, "
    "(SELECT e.sequence FROM reaction e WHERE e.partition = r.partition AND e.record_offset > r.record_offset "
    "ORDER BY e.record_offset, e.id, e.sequence LIMIT 1) AS behind "
    "FROM record r WHERE r.partition = ? AND r.record_offset >= ? AND r.record_offset < ? AND r.id IS NOT NULL AND "
    "r.type IN (SELECT c.type FROM reaction e JOIN record c ON c.partition = e.partition AND "
    "c.record_offset = e.record_offset) AND "
    "NOT EXISTS (SELECT 1 FROM record f WHERE f.id = r.id AND (f.partition, f.record_offset) < "
    "(r.partition, r.record_offset)) AND "
    "NOT EXISTS (SELECT 1 FROM letter l WHERE l.partition = r.partition AND l.record_offset = r.record_offset) AND "
    "NOT EXISTS (SELECT 1 FROM reaction e WHERE e.partition = r.partition AND e.record_offset = r.record_offset)) s "
    "WHERE ? = 0 OR behind IS NULL OR "
    "behind - before - 1 > (SELECT COUNT(*) FROM sequence q WHERE q.n > before AND q.n < behind) "
    "ORDER BY record_offset LIMIT ?";

static size_t
suspects_find(const struct judged *j, int partition, const json_t *counted, bool narrow, int64_t suspects[]) {
    size_t n = 0;
    for (struct rows r = store_rows(
             j->r->c, suspects_sql, value_int(partition), value_int(json_get_int(counted, "emitted_from")),
             value_int(json_get_int(counted, "next_offset")), value_int(narrow), value_int(SUSPECTS_MOST + 1));
         rows_next(&r);)
        suspects[n++] = rows_int(&r, 0);
    return n;
}

static void absent_name(struct judged *j, int partition, const json_t *counted, int64_t absent) {
    int64_t suspects[SUSPECTS_MOST + 1];
    size_t n = suspects_find(j, partition, counted, true, suspects);
    if ((int64_t)n < absent) n = suspects_find(j, partition, counted, false, suspects);
    j->missing += absent;
    if (!n || n > SUSPECTS_MOST)
        FINDING(
            j, "missing", partition, -1, "%lld events that it decided in reaction to this partition were not published",
            (long long)absent);
    for (size_t i = 0; n <= SUSPECTS_MOST && i < n; i++)
        if ((int64_t)n <= absent)
            FINDING(
                j, "missing", partition, suspects[i],
                "it was handled, and the event in reaction to it was not published");
        else
            FINDING(
                j, "missing", partition, suspects[i],
                "of the events in reaction to this and %zu other records %lld were not published", n - 1,
                (long long)absent);
}

/* What is absent of what was decided, but for what may still be in the outbox. */
static int64_t absent_of(struct judged *j, int64_t absent) {
    int64_t waiting = absent < j->unsent ? absent : j->unsent;
    if (waiting <= 0) return absent;
    j->unsent -= waiting;
    return absent - waiting;
}

static void reactions_judge(struct judged *j, int partition, const json_t *counted) {
    int64_t decided = json_get_int(counted, "emitted"), from = json_get_int(counted, "emitted_from");
    if (j->r->parts[partition].begin > from) return;
    int64_t found = store_int(
        j->r->c, 0,
        "SELECT COUNT(*) FROM (SELECT DISTINCT record_offset, id FROM reaction WHERE partition = ? AND "
        "record_offset >= ? AND record_offset < ?) e",
        value_int(partition), value_int(from), value_int(json_get_int(counted, "next_offset")));
    int64_t absent = absent_of(j, decided - found);
    if (absent > 0) absent_name(j, partition, counted, absent);
    bool redriven_since = letters_in(j, partition, from, INT64_MAX);
    if (absent >= 0 || redriven_since || j->pairs) return;
    j->doubled -= absent;
    FINDING(
        j, "doubled", partition, -1,
        "%lld events in reaction to this partition were published, and it decided only %lld", (long long)found,
        (long long)decided);
}

static void letters_judge(struct judged *j, int partition, const json_t *counted) {
    int64_t first = json_get_int(counted, "first_offset"), decided = outcome_n(counted, "quarantined");
    int64_t found = letters_in(j, partition, first, json_get_int(counted, "next_offset"));
    int64_t absent = absent_of(j, decided - found);
    if (absent <= 0) return;
    j->missing += absent;
    FINDING(
        j, "missing", partition, -1, "it quarantined %lld records, and %lld of them are not in its dead letters",
        (long long)decided, (long long)absent);
}

/* --- A team */

/* Of a row that is missing only the one behind it is known. Which record it was about, the gaps say. */
static void broken_judge(struct judged *j) {
    const json_t *broken = json_object_get(j->team->head, "broken");
    const char *chain = json_get_text(broken, "chain");
    size_t n = strlen(j->r->topic);
    int64_t offset = json_get_int(broken, "offset");
    if (!json_is_object(broken)) return;
    bool ours = !strncmp(chain, j->r->topic, n) && chain[n] == '/';
    int partition = ours ? atoi(chain + n + 1) : -1;
    bool known = json_is_integer(json_object_get(broken, "offset")) && records_in(j, partition, offset, offset + 1);
    FINDING(
        j, "changed", known ? partition : -1, known ? offset : -1, "its audit log was changed at row %lld: %s",
        json_get_int(broken, "id"), json_get_text(broken, "reason"));
}

static void partition_judge(struct judged *j, int partition) {
    char id[24];
    const json_t *head = j->team->head, *counted = head_partition(j->r, head, partition);
    int64_t next =
        head ? json_get_int(counted, "next_offset") : json_get_int(j->team->passed, log_number(id, partition));
    for (struct rows late = store_rows(
             j->r->c,
             "SELECT COUNT(*), COALESCE(MIN(CASE WHEN at > 0 THEN at END), 0) FROM record WHERE partition = ? AND "
             "record_offset >= ?",
             value_int(partition), value_int(next));
         rows_next(&late);) {
        j->late += rows_int(&late, 0);
        if (rows_int(&late, 1) && (!j->oldest || rows_int(&late, 1) < j->oldest)) j->oldest = rows_int(&late, 1);
    }
    if (!head) j->passed += records_in(j, partition, 0, next);
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
        "counted_at", head ? time_text(json_get_int(head, "at"), moment) : NULL, "handled", (json_int_t)j->handled,
        "declined", (json_int_t)j->declined, "quarantined", (json_int_t)j->quarantined, "redriven",
        (json_int_t)j->redriven, "skipped", (json_int_t)j->skipped, "duplicate", (json_int_t)j->duplicate, "other",
        (json_int_t)j->other, "late", (json_int_t)j->late, "oldest_ms",
        j->late ? json_integer(age > 0 ? age : 0) : json_null(), "unsent", (json_int_t)unsent, "passed",
        head ? json_null() : json_integer(j->passed), "missing", (json_int_t)j->missing, "doubled",
        (json_int_t)j->doubled, "changed", (json_int_t)j->changed, "fits", !findings);
}

/* How many findings of that kind the team has, also those of its heads, which came before it was judged. */
static int64_t findings_of(const struct judged *j, const char *kind) {
    int64_t n = 0;
    json_each(i, one, j->r->findings)
        n += !strcmp(json_get_text(one, "team"), j->team->name) && (!kind || !strcmp(json_get_text(one, "kind"), kind));
    return n;
}

void reconcile_judge(struct reconcile *r, size_t team, int64_t now) {
    struct judged j = {.r = r, .team = &r->teams[team], .now = now};
    int64_t unsent = j.unsent = json_get_int(j.team->head, "unsent");
    pairs_judge(&j);
    broken_judge(&j);
    for (int i = 0; i < r->parts_n; i++) partition_judge(&j, i);
    j.changed = findings_of(&j, "changed");
    json_decref(j.team->figures);
    j.team->figures = figures_json(&j, unsent, findings_of(&j, NULL));
    (void)store_run(r->c, "DELETE FROM reaction");
    (void)store_run(r->c, "DELETE FROM letter");
    (void)store_run(r->c, "DELETE FROM sequence");
}
