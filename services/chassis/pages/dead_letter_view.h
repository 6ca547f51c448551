/* dead_letter_view: the dead letters as pages and under /api, and their redrive. */
#pragma once

#include "chassis/web/http.h"

void dead_letters_get(struct exchange *x);
void dead_letter_get(struct exchange *x);
void dead_letter_redrive_post(struct exchange *x);
