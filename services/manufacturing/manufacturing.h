/* manufacturing: what its files share. */
#pragma once

#include "chassis/events/service.h"

extern const struct view manufacturing_views[]; /* ends with {0} */
