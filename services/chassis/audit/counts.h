/* counts: what this service made of each partition that it reads, for the heads it publishes (audit_heads.h): how far
 * it is, how many records came to which outcome, how many events it decided in reaction to them, and offsets that have
 * no audit row. One thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct counts;
struct connection;

struct counts *counts_new(void); /* NULL: no memory */
void counts_free(struct counts **k);

/* As AuditHeads.avsc has `partitions`; the caller's. Inside a read transaction of the reader's. Audit rows are looked
 * for where they were not found to be before; afresh: everywhere. Look at the reader's state. */
json_t *counts_take(struct counts *k, struct connection *reader, bool afresh);
