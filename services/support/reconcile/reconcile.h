/* reconcile: what was published to a topic, held against what each team says to have made of it and what it published
 * in reaction. All of it comes from Kafka, so no team need run.
 *
 *     NAME.audit-heads ─▶ how far, how many of each outcome, how many events decided, offsets without an audit row
 *     the topic itself ─▶ which records there are, and of which return
 *     NAME.events, NAME.dead-letters ─▶ what came of them
 *
 * A team is any consumer group that read the topic, and any service whose heads name it. Of a team that publishes no
 * counts only how far it is can be said. Missing: a record that was passed without an audit row, or an event or dead
 * letter that was decided and never came. Doubled: more outcomes than records, or one record's effect twice. Changed:
 * what a team published contradicts itself or what it published before. Late is no fault: not counted yet.
 *
 * It keeps about 150 bytes for each record, and about as much for each reaction of the one team that is being looked
 * at, in a database in memory. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/ids.h"
#include "chassis/base/settings.h"

#include <jansson.h>
#include <stdatomic.h>

/* --- From Kafka. May take seconds. Any thread. */

struct reconcile_progress {
    atomic_bool *stop; /* becomes true: the run is to end soon */
    atomic_llong records;
    _Atomic(const char *) doing; /* "reading support.events". Lives for ever */
};
/* RETRY: Kafka or the registry does not answer. *out, the caller's: what reconcile_result() says. */
MUST_CHECK verdict
reconcile_run(const struct settings *s, struct reconcile_progress *p, json_t **out, struct failure *why);

/* --- The same from records that somebody else reads, in this order. One thread at a time. */

struct reconcile;
/* topic: its whole name, as heads name it. own: the service that publishes it. NULL: no memory. */
struct reconcile *reconcile_new(const char *topic, const char *own);
void reconcile_free(struct reconcile **r);

/* Every head of a team, as AuditHeads.avsc has it, oldest first. */
void reconcile_head(struct reconcile *r, const char *team, const json_t *head);
/* The topic's partition, as far as it is looked at: the watermark. After all heads were read, so that it covers them.
 */
void reconcile_bounds(struct reconcile *r, int partition, int64_t begin, int64_t end);
void reconcile_group(struct reconcile *r, const char *team, int partition, int64_t next_offset);

struct reconcile_record {
    int partition;
    int64_t offset, at;
    const struct uuid *id; /* NULL: it cannot be decoded */
    const char *return_id; /* NULL: not known */
    const char *type;
};
/* Every record up to the watermark, in the order of its partition. */
void reconcile_record(struct reconcile *r, const struct reconcile_record *record);

/* The teams, to be asked one after another: 0, 1, …. NULL: that was the last. Then all events and dead letters of one,
 * and reconcile_judge() before the next. */
const char *reconcile_team(const struct reconcile *r, size_t i);
struct reconcile_reaction {
    const struct uuid *id, *caused_by; /* caused_by: NULL: nothing */
    const char *type, *key;
    int64_t at;       /* occurred_at: all that came of one record has one moment */
    int64_t sequence; /* ce_sequence. 0: none */
};
void reconcile_reaction(struct reconcile *r, const struct reconcile_reaction *e);
/* at: ms, when the team published it. 0: not known. */
void reconcile_letter(struct reconcile *r, int partition, int64_t offset, int64_t at);
void reconcile_judge(struct reconcile *r, size_t team, int64_t now);

/* {"at","topic","watermark":[{"partition","begin","end"}],"records","types":{…},"fits","teams":[{"team","counted_at",
 * "handled","declined","quarantined","redriven","skipped","duplicate","other","late","oldest_ms","unsent","passed","missing",
 * "doubled","changed","fits"}],"findings":[{"team","kind","partition","offset","return_id","what"}],"more"}: more:
 * findings that are not listed. counted_at null: the team publishes no counts. Then what it passed is in `passed`.
 * NULL: no memory. The caller's. */
json_t *reconcile_result(struct reconcile *r, int64_t now);
