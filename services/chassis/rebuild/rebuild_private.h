/* rebuild_private: what rebuild.c shares with its helpers.
 *
 *     rebuild.c          files, rounds, the switch
 *     rebuild_sources.c  what is read from Kafka and from the database in use, and up to where
 *     rebuild_letters.c  what is rejected now, and becomes a dead letter
 *     rebuild_tables.c   the tables that only a rebuild has
 *     rebuild_command.c  the subcommand: its flags, and what it prints */
#pragma once

#include "chassis/rebuild/rebuild.h"

#include "chassis/kafka/reader.h"
#include "chassis/rebuild/published_index.h"
#include "chassis/rebuild/replay.h"
#include "chassis/store/state_text.h"

enum { REBUILD_BATCH = 2000 };

struct rebuild {
    const struct service *service;
    const struct settings *settings;
    const struct rebuild_options *options;
    struct core core; /* its store is the new database */
    char path[DATABASE_PATH], base[DATABASE_PATH + 20], new[DATABASE_PATH + 20], before[DATABASE_PATH + 20],
        own_name[DATABASE_PATH + 20];
    int lock, own_lock;
    bool alone, lost, held, older, attached, switched; /* alone: the database in use is locked by us. lost: there is
                                                 none, or held: a new one in its place, or an older one */
    struct connection *c;                              /* inside a transaction */
    int64_t left; /* what was decided with a held one, was in no topic, and is taken over */
    int64_t pending, told_at, began, waited_at, rows, not_met;
    struct reader *own, *inputs;
    struct replay replay;
    json_t *tables, *differences;
    json_t
        *rejected; /* [{"topic","partition","offset","return_id","type","answered","reason"}], at most options->most */
    int64_t rejected_n;
    char hash[STATE_TEXT_HASH], hash_before[STATE_TEXT_HASH];
};

/* After each record: commits now and then. */
MUST_CHECK verdict rebuild_step(struct rebuild *b, const char *doing, int64_t done, int64_t all, struct failure *why);

MUST_CHECK verdict rebuild_sources_open(struct rebuild *b, struct failure *why);
/* What was published so far, and up to where the inputs are read: where the database in use has come, or to their ends.
 */
MUST_CHECK verdict rebuild_sources_read(struct rebuild *b, struct failure *why);
/* Where the consumer goes on. REJECT: a log is not the one that the database in use has read. */
MUST_CHECK verdict rebuild_offsets_store(struct rebuild *b, struct failure *why);

/* replay.rejected, and what becomes of the rejected records before the switch. Errors are sticky. */
void rebuild_rejected(
    void *rebuild, const struct record *record, int64_t letter, int64_t answered_at, const char *reason);
void rebuild_letters_keep(struct connection *c);

/* The tables that only a rebuild has, in the new database until just before the switch. Errors are sticky. */
void rebuild_tables_make(struct connection *c);
void rebuild_tables_drop(struct connection *c);
