#include "chassis/audit/counts.h"

#include "chassis/base/json_get.h"
#include "chassis/store/store.h"

enum { GAPS_MOST = 50 };

#define ROWS_OF                                                                                                        \
    "FROM audit WHERE topic = ?1 AND partition = ?2 AND record_offset >= ?3 AND record_offset < ?4 AND log = ?5"

/* Counting reads an index alone. Only where it finds too few is each row looked at. */
static void
gaps_look(struct connection *reader, const json_t *partition, int64_t from, int64_t to, int64_t log, json_t *gaps) {
    struct value of = value_text(json_get_text(partition, "topic")),
                 id = value_int(json_get_int(partition, "partition")), first = value_int(from), end = value_int(to);
    if (store_int(reader, 0, "SELECT COUNT(*) " ROWS_OF, of, id, first, end, value_int(log)) == to - from) return;
    json_auto_t *found = store_json(
        reader,
        "SELECT next AS \"from\", record_offset AS \"to\" FROM (SELECT record_offset, LAG(record_offset + 1, 1, ?3) "
        "OVER (ORDER BY record_offset) AS next FROM (SELECT record_offset " ROWS_OF " UNION ALL SELECT ?4) r) g "
        "WHERE next < record_offset ORDER BY next LIMIT ?6",
        of, id, first, end, value_int(log), value_int(GAPS_MOST - (int64_t)json_array_size(gaps)));
    json_array_extend(gaps, found);
}

static json_t *gaps_of(json_t *looked, struct connection *reader, const json_t *partition, const char *chain) {
    int64_t log = json_get_int(partition, "log"), next = json_get_int(partition, "next_offset");
    json_t *known = json_object_get(looked, chain);
    if (!known || json_get_int(known, "log") != log || json_get_int(known, "to") > next) {
        known = json_pack(
            "{s:I, s:I, s:[]}", "log", (json_int_t)log, "to", (json_int_t)json_get_int(partition, "first_offset"),
            "gaps");
        json_object_set_new(looked, chain, known);
    }
    json_t *gaps = json_object_get(known, "gaps");
    gaps_look(reader, partition, json_get_int(known, "to"), next, log, gaps);
    json_object_set_new(known, "to", json_integer(next));
    return json_deep_copy(gaps);
}

/* As the audit log has them. But what a rebuild rejected, whatever the log says of its first time, is quarantined. */
static json_t *outcomes_of(struct connection *reader, const json_t *partition, const char *chain) {
#define REBUILT                                                                                                        \
    "FROM dead_letter d JOIN audit a ON a.topic = d.topic AND a.partition = d.partition AND "                          \
    "a.record_offset = d.record_offset AND a.log = ?2 WHERE d.rebuilt = 1 AND d.topic = ?3 AND d.partition = ?4"
    return store_json(
        reader,
        "SELECT outcome, SUM(n) AS n FROM (SELECT outcome, n FROM chain_tally WHERE chain = ?1 AND log = ?2 "
        "UNION ALL SELECT a.outcome, -1 " REBUILT " UNION ALL SELECT 'quarantined', 1 " REBUILT
        ") GROUP BY outcome HAVING SUM(n) <> 0 ORDER BY outcome",
        value_text(chain), value_int(json_get_int(partition, "log")), value_text(json_get_text(partition, "topic")),
        value_int(json_get_int(partition, "partition")));
#undef REBUILT
}

json_t *counts_take(json_t *looked, struct connection *reader, bool afresh) {
    if (afresh) json_object_clear(looked);
    json_t *partitions = store_json(
        reader, "SELECT o.topic, o.partition, o.log, o.first_offset, o.next_offset, "
                "COALESCE(d.n, 0) AS redriven, COALESCE(e.n, 0) AS emitted, "
                "COALESCE(e.first_offset, o.first_offset) AS emitted_from, "
                "o.topic || '/' || o.partition AS chain FROM consumer_offset o "
                "LEFT JOIN chain_emitted e ON e.chain = o.topic || '/' || o.partition "
                "LEFT JOIN pile_redriven d ON d.topic = o.topic AND d.partition = o.partition "
                "ORDER BY o.topic, o.partition");
    json_each(i, one, partitions) {
        const char *chain = json_get_text(one, "chain");
        json_object_set_new(one, "outcomes", outcomes_of(reader, one, chain));
        json_object_set_new(one, "gaps", gaps_of(looked, reader, one, chain));
        json_object_del(one, "chain");
    }
    return partitions;
}
