/* reconcile: what its files share. reconcile.c keeps what is read, in tables in memory, and reconcile_judge.c draws the
 * conclusions. */
#pragma once

#include "support/reconcile/reconcile.h"

#include "chassis/store/store.h"

#include <stdbool.h>

enum { PARTITIONS_MOST = 64, FINDINGS_MOST = 500, TEAMS_MOST = 100 };

struct team {
    char name[200];
    json_t *head;   /* the newest. NULL: none with counts */
    json_t *passed; /* {"0": next offset}, its group's. NULL: no such group */
    json_t *figures;
};

struct reconcile {
    char topic[300], own[300];
    struct store *store;
    struct connection *c; /* in one transaction from the first record to the last conclusion */
    struct {
        int64_t begin, end;
    } parts[PARTITIONS_MOST];
    int parts_n;
    struct team teams[TEAMS_MOST];
    size_t teams_n;
    json_t *findings;
    int64_t findings_n;
};

/* offset: −1: of no record in particular. */
void finding_add(
    struct reconcile *r, const char *team, const char *kind, int partition, int64_t offset, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* This head against the one before. */
void head_compare(struct reconcile *r, const char *team, const json_t *before, const json_t *head);
/* The entry of a head's partitions. NULL: none. */
const json_t *head_partition(const struct reconcile *r, const json_t *head, int partition);
