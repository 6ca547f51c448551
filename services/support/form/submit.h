/* submit: takes a return from the form or the API. The form shows all of it once more first (review=1). A program need
 * not. It is answered only after the return, its event and the audit row are committed together, or with what is wrong
 * and nothing stored. A form that is sent again, by its token, gets the return that it became. */
#pragma once

#include "chassis/web/http.h"

void submit_post(struct exchange *x);
