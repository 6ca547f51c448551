/* set_aside_view: sends again what was set aside (set_aside.h). */
#pragma once

#include "chassis/web/http.h"

void set_aside_again_post(struct exchange *x); /* with an audit row */
