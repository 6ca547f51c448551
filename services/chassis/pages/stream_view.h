/* stream_view: /api/stream: the audit log as it grows, by the hub (sse.h). */
#pragma once

#include "chassis/web/http.h"
#include "chassis/web/sse.h"

struct store;

/* A hub's options that are about what it shows: the rows of this database's audit log. */
struct sse_options stream_of_audit(struct store *store);

void stream_get(struct exchange *x);
