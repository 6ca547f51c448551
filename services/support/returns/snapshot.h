/* snapshot: what the events of a return come to (schemas/support/snapshots), from history alone. So it is the same
 * whoever reads the topics. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/outgoing/snapshots.h"

extern const struct snapshot_source snapshot_returns;
