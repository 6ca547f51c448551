/* simulate: submits returns to a running support at a steady rate, and follows each one it accepted through the teams'
 * audit logs. */
#pragma once

/* The arguments after `simulate`. Exit status: 0: all that was accepted was handled by every team that runs; 1: not, or
 * nothing could be submitted; 2: asked wrongly. */
int simulate_run(int n, char *arguments[]);
