/* process: this process, and its end in good order. Any thread. */
#pragma once

#include <stdbool.h>

/* Logs why, and ends the process in good order, to be started again by whoever runs it. */
void process_end(const char *why);
bool process_ended(void); /* by that, and not by somebody who stops it */
