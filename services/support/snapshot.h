/* snapshot: what the events of a return come to (schemas/support/snapshots), from history alone; so it is the same
 * whoever reads the topics. */
#pragma once

#include "chassis/service.h"
#include "chassis/snapshots.h"

extern const struct snapshot_source snapshot_returns;
