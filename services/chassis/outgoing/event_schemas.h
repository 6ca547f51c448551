/* event_schemas: the schemas that events in the outbox were, or will be, encoded by, and their ids in the registry: the
 * program's own, those that were given (the setting `schemas`), and those of older runs, which the database keeps. The
 * relay's thread. */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stdint.h>

struct event_schemas;
struct connection;
struct relay_options;

/* NULL: no memory. Tells component "schemas". All are asked for at once. topic: of the events. Both outlive it. */
struct event_schemas *event_schemas_new(const struct relay_options *o, const char *topic);
void event_schemas_free(struct event_schemas **s); /* accepts NULL */

/* Asks the registry for what it has not taken yet. True: it has all that the outbox may hold. A schema that was given
 * comes after the program's own, and holds up nothing: until the registry has it, and if it is refused, events go by
 * the program's own. */
bool event_schemas_ready(struct event_schemas *s);

/* The id of a row's schema. named: the row names it, as schema_row. A row from before that was noted goes by the
 * program's own. RETRY: it is not registered yet. REJECT: there is none. */
MUST_CHECK verdict event_schemas_id(
    struct event_schemas *s, struct connection *c, const char *type, bool named, int64_t schema_row, int32_t *id,
    struct failure *why);
