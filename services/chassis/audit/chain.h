/* chain: the hash chains of the audit log, without its database: a row's canonical bytes, their hash, and the walk over
 * all rows that finds the first which does not fit. docs/audit.md specifies the bytes. One thread at a time. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chain_field { /* in canonical order */
                   CHAIN_ID,
                   CHAIN_AT,
                   CHAIN_ACTION,
                   CHAIN_OUTCOME,
                   CHAIN_ACTOR,
                   CHAIN_RETURN_ID,
                   CHAIN_EVENT_ID,
                   CHAIN_EVENT_TYPE,
                   CHAIN_TOPIC,
                   CHAIN_PARTITION,
                   CHAIN_OFFSET,
                   CHAIN_SUMMARY,
                   CHAIN_TRACE_ID,
                   CHAIN_LOG, /* absent, and then nothing is written: the first log */
                   CHAIN_FIELDS
};
enum { CHAIN_HASH = 32, CHAIN_NUMBER = 24, CHAIN_NAME = 300 };

/* The texts may lie in the row's own `number` and `uuid`, so a row is not copied. */
struct chain_row {
    struct chain_text {
        const char *text; /* NULL: absent */
        size_t n;
    } field[CHAIN_FIELDS];
    int64_t id;
    unsigned char hash[CHAIN_HASH]; /* as stored */
    char number[CHAIN_FIELDS][CHAIN_NUMBER], uuid[40];
};

struct chain_text chain_number(int64_t n, char out[CHAIN_NUMBER]); /* in decimal. The text lies in out */
/* "support.events/3", or "by-hand". False: it does not fit. */
MUST_CHECK bool chain_name(const struct chain_row *row, char out[CHAIN_NAME]);

/* What is hashed of the row, after the hash before it: *n bytes, the caller's to free. NULL: no memory. */
MUST_CHECK char *chain_canonical(const struct chain_row *row, size_t *n);
/* The row's hash over the one before it in its chain (zeros at its start). False: no memory. Any thread. */
MUST_CHECK bool
chain_hash(const unsigned char before[CHAIN_HASH], const struct chain_row *row, unsigned char out[CHAIN_HASH]);

struct walk;
struct walk *walk_new(void); /* NULL: no memory */
void walk_free(struct walk **w);

/* What was published, to be met on the way: after the log's row number `rows`, each of the chains was as
 * {"rows":N,"at":"…","chains":[{"chain","rows","head"}]} says. Before the first row. REJECT: it is not of this form, or
 * its chains do not make up its rows. The reference stays the caller's. */
MUST_CHECK verdict walk_expect(struct walk *w, const json_t *heads, struct failure *why);

/* The next row. False: it does not fit, or an earlier one did not. The rest need not be given. */
bool walk_row(struct walk *w, const struct chain_row *row);
/* The row after the last could not even be read as one. */
void walk_malformed(struct walk *w, const char *reason);
/* A head that is kept beside the log, after its last row. walk_heads_end(): these were all. */
void walk_head(struct walk *w, const char *chain, int64_t rows, const void *head, size_t head_n);
void walk_heads_end(struct walk *w);

bool walk_broken(const struct walk *w); /* something did not fit, or memory was short: walk_end() tells which */

/* {"intact":true,"rows":N,"chains":[{"chain","rows","head"}],"published":{"heads":N,"rows":N,"at":…}}, or
 * {"intact":false,"rows":N,"broken":{"chain":…,"id":…,"reason":…}}. The caller's. rows: those that fit. NULL: memory
 * was short, now or at some row. */
MUST_CHECK json_t *walk_end(struct walk *w);
