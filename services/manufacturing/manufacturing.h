/* manufacturing: what its files share. */
#pragma once

#include "chassis/service.h"

extern const struct view manufacturing_views[]; /* ends with {0} */
