#include "chassis/rebuild/rebuild_private.h"

#include <stdio.h>

static const struct {
    const char *name, *columns;
} tables[] = {
    /* What the service has published (published_index.h). cause: of a reaction. All behind replayed: of a decision. */
    {"rebuild_known",
     "event_id BLOB PRIMARY KEY, sequence BIGINT, cause BLOB, content BIGINT, partition BIGINT, record_offset BIGINT, "
     "version BIGINT, at BIGINT, replayed BIGINT NOT NULL DEFAULT 0, type TEXT, key TEXT, trace_parent TEXT, data TEXT"},
    /* The dead letters by their place. */
    {"rebuild_letter",
     "topic TEXT, partition BIGINT, record_offset BIGINT, id BIGINT, PRIMARY KEY (topic, partition, record_offset)"},
    /* The redrives of by_hand. event_id: it came again after a rebuild had rejected it, and this gives it its effect.
     */
    {"rebuild_redrive",
     "id INTEGER PRIMARY KEY, letter BIGINT, after_sequence BIGINT, next_offset BIGINT, topic TEXT, partition BIGINT, "
     "event_id BLOB"},
    /* Redrives that nothing but their answer tells of. */
    {"rebuild_late", "letter INTEGER PRIMARY KEY, sequence BIGINT"},
    /* What is rejected now. letter: it was redriven. */
    {"rebuild_rejected",
     "id INTEGER PRIMARY KEY, letter BIGINT, topic TEXT, partition BIGINT, record_offset BIGINT, record_key BLOB, headers "
     "TEXT, value BLOB, reason TEXT, answered_at BIGINT, trace_parent TEXT, event_id BLOB, type TEXT, return_id TEXT"},
};

void rebuild_tables_make(struct connection *c) {
    char sql[600];
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        snprintf(sql, sizeof sql, "CREATE TABLE %s (%s)", tables[i].name, tables[i].columns);
        (void)store_run(c, sql);
    }
    (void)store_run(c, "CREATE INDEX rebuild_cause ON rebuild_known (cause, sequence) WHERE cause IS NOT NULL");
    (void)store_run(c, "CREATE INDEX rebuild_decision ON rebuild_known (sequence) WHERE cause IS NULL");
}

void rebuild_tables_drop(struct connection *c) {
    char sql[100];
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        snprintf(sql, sizeof sql, "DROP TABLE %s", tables[i].name);
        (void)store_run(c, sql);
    }
}
