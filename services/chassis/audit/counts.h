/* counts: what this service made of each partition that it reads, for the heads it publishes (audit_heads.h): how far
 * it is, how many records came to which outcome, how many events it decided in reaction to them, and offsets that have
 * no audit row. One thread. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>

struct connection;

/* As AuditHeads.avsc has `partitions`. The caller's. Inside a read transaction of the reader's. looked: the caller's
 * object, empty at first, where this function keeps what it found: {"topic/partition": {"log", "to", "gaps"}}, audit
 * rows before `to` were looked for. Rows are looked for where they were not found to be before, and everywhere when
 * `afresh`. Look at the reader's state. */
MUST_CHECK json_t *counts_take(json_t *looked, struct connection *reader, bool afresh);
