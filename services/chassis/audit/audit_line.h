/* audit_line: an audit row on its way out of the database, or back in from a file: as a line of JSON Lines or of CSV.
 * docs/audit.md specifies them. Any thread. */
#pragma once

#include "chassis/audit/chain.h"
#include "chassis/base/buffer.h"
#include "chassis/store/store.h"

/* For a SELECT, in the order that audit_line_stored() reads. */
#define AUDIT_COLUMNS                                                                                                  \
    "id, at, action, outcome, actor, return_id, event_id, event_type, topic, partition, record_offset, summary, trace_id, log, hash"

enum { AUDIT_LINE_MAX = 1 << 20 };

/* Of how many rows a line of audit_block tells what they hold. */
#define AUDIT_BLOCK_ROWS "128"
enum { AUDIT_BLOCK = 128 };

/* The row as it is stored. Texts live until the next rows_next(). REJECT: a column is not of its type, such as an
 * event_id that has not 16 bytes, and then is absent. */
MUST_CHECK verdict audit_line_stored(const struct rows *r, struct chain_row *row, struct failure *why);

MUST_CHECK json_t *audit_line_row(const struct chain_row *row); /* what /api/audit says of it. The caller's */

/* With the end of the line. The JSON is audit_line_row(). */
void audit_line_json(struct buffer *out, const struct chain_row *row);
void audit_line_csv_head(struct buffer *out);
void audit_line_csv(struct buffer *out, const struct chain_row *row);

/* Reads what audit_line_json() wrote, byte for byte, without the end of the line. The row's texts lie in `line`, which
 * is changed. REJECT: it is not that. The text says from which character on. */
MUST_CHECK verdict audit_line_read(char *line, size_t n, struct chain_row *row, struct failure *why);
