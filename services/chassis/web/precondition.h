/* precondition: what a request's If-Match asks for (RFC 9110, 13.1.1): the state that it is meant for. */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>

/* Whether a value of If-Match, several headers joined by commas, fits a thing that is there and has this entity tag,
 * `"3"` with its quotes. A weak tag (W/"3") fits nothing, and * fits anything. REJECT: it is no such value. */
MUST_CHECK verdict precondition_fits(const char *if_match, const char *tag, bool *fits, struct failure *why);
