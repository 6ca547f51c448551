/* statistics: the page of the figures, its API, and the same as CSV. */
#pragma once

#include "chassis/web/http.h"

extern const struct resource statistics_resources[]; /* ends with {0} */
