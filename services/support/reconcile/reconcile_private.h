/* reconcile: what its files share. reconcile.c keeps what is read, reconcile_judge.c draws the conclusions. */
#pragma once

#include "support/reconcile/reconcile.h"

#include <stdbool.h>

enum { PARTITIONS_MOST = 64, TYPES_MOST = 32, FINDINGS_MOST = 500, TEAMS_MOST = 100 };

struct record {
    int64_t offset, at;
    struct uuid id;
    char *return_id; /* NULL: not known */
    bool has_id;
    bool repeated; /* an event of that id came before */
    unsigned char type;
};

struct log_part {
    int64_t begin, end;
    struct record *records;
    size_t n, size;
};

struct place { /* of a record, by its event's id */
    struct uuid id;
    unsigned partition, index;
};

struct reaction {
    unsigned partition, index;
    struct uuid id;
    int64_t at, sequence;
    uint64_t what; /* a hash of type and key */
};

struct letter {
    int partition;
    int64_t offset, at; /* at: when it was published; 0: not known */
};

struct team {
    char name[200];
    json_t *head;   /* the newest; NULL: none with counts */
    json_t *passed; /* {"0": next offset}, its group's; NULL: no such group */
    json_t *figures;
};

struct reconcile {
    char *topic, *own;
    struct log_part parts[PARTITIONS_MOST];
    int parts_n;
    char *types[TYPES_MOST];
    int64_t types_count[TYPES_MOST];
    int types_n;
    struct place *places; /* sorted, once the first reaction comes */
    size_t places_n;
    struct team teams[TEAMS_MOST];
    size_t teams_n;
    /* Of the team that is being looked at. */
    struct reaction *reactions;
    size_t reactions_n, reactions_size;
    struct letter *letters;
    size_t letters_n, letters_size;
    int64_t *sequences; /* of each of its events, whatever caused it */
    size_t sequences_n, sequences_size;
    json_t *findings;
    int64_t findings_n;
    bool failed; /* no memory */
};

/* The first record at or after the offset: its index. */
size_t part_find(const struct log_part *p, int64_t offset);

/* Where each event is the first time; marks what is repeated. Once every record is there. */
void places_make(struct reconcile *r);

/* record: NULL: none in particular. offset: −1: none. */
void finding_add(
    struct reconcile *r, const char *team, const char *kind, int partition, int64_t offset, const struct record *record,
    const char *format, ...) __attribute__((format(printf, 7, 8)));

/* This head against the one before. */
void head_compare(struct reconcile *r, const char *team, const json_t *before, const json_t *head);
/* The entry of a head's partitions; NULL: none. */
const json_t *head_partition(const struct reconcile *r, const json_t *head, int partition);
int64_t head_number(const json_t *object, const char *name);
