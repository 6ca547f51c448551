/* inventory: what its files share. */
#pragma once

#include "chassis/events/service.h"

extern const struct view inventory_views[]; /* ends with {0} */
