/* replay: has every event its effect once more, in the order in which the service gave it to them, and publishes
 * nothing. Each partition is read in its own order. Between partitions, an event that was answered waits for its turn
 * by ce_sequence of its first answer. One that was not answered goes at once, since what it changed depends on nothing
 * but its own return. What people decided, calls and redrives have their place in the same order.
 *
 *     input partitions ─heads─▶ whose turn? ─▶ handler, with the moment of then ─▶ the new tables
 *     own topic ─▶ known ───────────┘                   └─▶ what it would publish, compared with what it did */
#pragma once

#include "chassis/avro/registry.h"
#include "chassis/events/record.h"
#include "chassis/kafka/reader.h"
#include "chassis/rebuild/published_index.h"

#include <jansson.h>

struct connection;

/* Whose turn it is: the smallest. After a sequence come the acts that were done behind it, in their order. */
struct turn {
    int64_t sequence, act;
};

struct replay {
    struct replayed replayed; /* first: it is what the handlers' events are given to */
    struct core *core;
    struct connection *c; /* the writer of the new database, in a transaction */
    struct reader *inputs;
    struct place *places; /* its partitions */
    size_t places_n;
    struct replay_part {
        rd_kafka_message_t *head; /* what comes next. NULL: not fetched yet, or none */
        struct record record;     /* of the head */
        int64_t letter;           /* the dead letter that the head became. 0: none */
        struct turn turn;         /* of the head */
        bool stalled;
        int64_t stalled_at; /* of `steps`: nothing has happened since */
        int64_t sure; /* without a database: all before it had its effect, since something behind it was answered */
        int64_t next, mark; /* behind the last record that was taken, and its fingerprint. 0: none was */
    } * parts;
    struct replay_next { /* what was no record: the first that is left */
        enum { NOTHING, DECISION, LATE_REDRIVE, ACT } kind;
        struct turn turn;
        int64_t id, letter, at; /* letter: that is redriven. 0: it is a call */
    } next;
    bool next_known;
    int64_t decided, last_decision; /* sequences: all to here are applied, and may be */
    int64_t acts_done;              /* all to this id */
    bool lost;                      /* there is no database to go by: what was not answered is left to the consumer */

    struct patience patience;         /* with doubted schema ids, for all records together */
    struct published_reaction answer; /* to the event at hand. Sequence 0: none is known */
    int64_t letter;                   /* that is redriven at hand. 0: none */
    bool stalled, must;
    int64_t steps, records, reacted, differences_n, most;
    json_t *differences; /* [{"return_id","was","would_be",…}], at most `most` */
    /* Each record that has no effect now, for that reason, and had one. letter: it was redriven. 0: it was not.
     * answered_at: when what it published was decided. 0: nothing was. */
    void (*rejected)(
        void *context, const struct record *record, int64_t letter, int64_t answered_at, const char *reason);
    verdict (*step)(void *context, struct failure *why); /* after each. May commit */
    void *context;
};

void replay_prepare(struct connection *c);                             /* makes the tables of the replay's own */
void replay_forget(struct connection *c);                              /* drops them */
MUST_CHECK verdict replay_open(struct replay *r, struct failure *why); /* after the fields before `answer` */
void replay_close(struct replay *r);
/* record_decode_wait(), of what is replayed and of what it is compared with. */
MUST_CHECK verdict replay_decode(struct replay *r, const struct raw *raw, struct record *out, struct failure *why);
/* To `end` of each input and `last_decision`, with the letters and acts of this database, which may have changed since.
 * RETRY: Kafka, the registry or the database cannot go on. */
MUST_CHECK verdict replay_run(struct replay *r, struct failure *why);
