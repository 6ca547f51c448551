/* stream_view: /api/stream: the audit log as it grows, by the hub (hub.h). */
#pragma once

#include "chassis/http.h"
#include "chassis/hub.h"
#include "chassis/store.h"

/* A hub's options that are about what it shows: the rows of this database's audit log. */
struct hub_options stream_of_audit(struct store *store);

void stream_get(struct exchange *x);
