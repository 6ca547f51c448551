/* views: the tables that a service declares (struct view), as they are now or as they were at a moment.
 *
 * /state shows them with the way to the moment before and after at which something changed, by the audit log. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/web/http.h"

#include <jansson.h>
#include <stdint.h>

/* [{"title","known","columns":[…],"rows":[[…],…]}], at most 50 rows each. as_of: ms, or NULL for now. A view that does
 * not declare how it was is then not known, without columns and rows. A failure is the reader's state. The caller's. */
MUST_CHECK json_t *views_json(struct connection *reader, const struct view *views, const int64_t *as_of);

/* What views.html needs beside the data's "views". */
void views_decorate(json_t *data);

/* /state: {"service","as_of","previous","next","views"}. The first three moments are null for now, or where there is
 * none. */
void views_get(struct exchange *x);
