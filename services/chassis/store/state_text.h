/* state_text: the state of a service as text, and how two states differ. A state is what the service's events make of
 * its tables: every table of the team's but those that it keeps (service.h), and which events had their effect.
 * Canonical: two equal states give the same bytes, whatever order their rows came in and however their files lie on the
 * disk. One thread. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

struct buffer;
struct connection;

enum { STATE_TEXT_HASH = 65 };

/* Appends the names of the chassis's own tables: "schema_version audit …". */
void state_text_chassis_tables(struct buffer *out);
/* [name, …] of the tables that are state, sorted. kept: service.kept, or NULL. The caller's. */
json_t *state_text_tables(struct connection *c, const char *kept);

/* A line of JSON for each row: {"table":name,column:value,…}, tables by name, columns by name, rows by the primary key,
 * or by all columns where there is none. Blobs are {"hex":"…"}. schema: "main" or "base" (store_attach). out: NULL for
 * the hash alone, SHA-256 in hex of all lines. Returns how many. Errors are sticky. */
int64_t
state_text_rows(struct connection *c, const char *schema, const json_t *tables, FILE *out, char hash[STATE_TEXT_HASH]);

/* How main differs from base: {"rows":n,"tables":[{"table","only_old","only_new","changed"}],"lines":[{"table","key",
 * "old","new"}]}: base is old. At most `most` lines, of a changed row the changed columns. The caller's. */
json_t *state_text_compare(struct connection *c, const json_t *tables, int64_t most);
