/* drill_view: asks for a drill (drill.h), and shows the one that is on. */
#pragma once

#include "chassis/web/http.h"

void drill_get(struct exchange *x);                          /* /api/drill, /drill */
void drill_post(struct exchange *x);                         /* mode: pause, slow (with ms), crash, go-on */
void drill_decorate(const struct exchange *x, json_t *data); /* what drill.html shows, where drills are allowed */
bool drill_allowed(struct exchange *x);                      /* false: answered with 403 */
