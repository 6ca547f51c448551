/* replay: has every event its effect once more, in the order in which the service gave it to them, and publishes
 * nothing. Each partition is read in its own order. Between partitions, an event that was answered waits for its turn
 * by ce_sequence of its first answer; one that was not answered goes at once, since what it changed depends on nothing
 * but its own return. What people decided, calls and redrives have their place in the same order.
 *
 *     input partitions ─heads─▶ whose turn? ─▶ handler, with the moment of then ─▶ the new tables
 *     own topic ─▶ known ───────────┘                   └─▶ what it would publish, compared with what it did */
#pragma once

#include "chassis/events/record.h"
#include "chassis/kafka/reader.h"
#include "chassis/rebuild/published_index.h"

#include <jansson.h>

struct connection;

struct replay_letter {
    const char *topic; /* the array's own */
    int32_t partition;
    int64_t offset, id;
    struct uuid event_id;            /* of what was answered, else 0 */
    bool redriven, answered, placed; /* answered: before a rebuild rejected it; placed: by_hand says when */
};

struct replay_act { /* a call or a redrive */
    int64_t id, after_sequence, at, next_offset;
    struct replay_letter *letter; /* NULL: a call */
};

struct replay {
    struct replayed replayed; /* first: it is what the handlers' events are given to */
    struct core *core;
    struct connection *c; /* the writer of the new database, in a transaction */
    struct published_index *known;
    struct reader *inputs;
    struct place *places; /* its partitions */
    size_t places_n;
    struct replay_part {
        rd_kafka_message_t *head; /* what comes next; NULL: not fetched yet, or none */
        struct record record;     /* of the head */
        bool stalled;
        int64_t stalled_at; /* of `steps`: nothing has happened since */
        int64_t sure; /* without a database: all before it had its effect, since something behind it was answered */
        int64_t next, mark; /* behind the last record that was taken, and its fingerprint; 0: none was */
    } * parts;
    struct replay_letter *letters;
    struct replay_act *acts; /* in their order; done are those before next_act */
    struct replay_late {     /* redrives that nothing but their answer tells of */
        struct replay_letter *letter;
        int64_t sequence;
    } * late;
    size_t letters_n, acts_n, next_act, late_n;
    int64_t decided, last_decision; /* sequences: all to here are applied, and may be */
    bool lost;                      /* there is no database to go by: what was not answered is left to the consumer */

    struct patience *patience;           /* with doubted schema ids */
    struct published_reaction *reaction; /* of the event at hand; NULL: none is known */
    struct replay_letter *letter;        /* that is redriven at hand; NULL: none */
    bool stalled, must;
    int64_t steps, records, reacted, differences_n, most;
    json_t *differences; /* [{"return_id","was","would_be",…}], at most `most` */
    /* Each record that has no effect now, for that reason, and had one; letter: it was redriven. answered_at: when what
     * it published was decided; 0: nothing was. */
    void (*rejected)(
        void *context, const struct record *record, const struct replay_letter *letter, int64_t answered_at,
        const char *reason);
    void (*step)(struct replay *r, void *context, verdict *v, struct failure *why); /* after each; may commit */
    void *context;
};

MUST_CHECK verdict replay_open(struct replay *r, struct failure *why); /* after the fields before `reaction` */
void replay_close(struct replay *r);
/* From the letters and acts of base, or (lost) of this database. */
MUST_CHECK verdict replay_letters_read(struct replay *r, struct failure *why);
/* To `until` of each input and `last_decision`. RETRY: Kafka, the registry or the database cannot go on. */
MUST_CHECK verdict replay_run(struct replay *r, struct failure *why);
/* The answered events of which no cause was met, since what they answer is no longer in the log. */
int64_t replay_not_met(const struct replay *r);
