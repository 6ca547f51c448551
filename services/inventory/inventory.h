/* inventory: what its files share. */
#pragma once

#include "chassis/service.h"

extern const struct view inventory_views[]; /* ends with {0} */
