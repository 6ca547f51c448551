/* submit: takes a return from the form or the API. It is answered only after the return, its event and the audit row
 * are committed together, or with what is wrong and nothing stored. */
#pragma once

#include "chassis/http.h"

void submit_post(struct exchange *x);
