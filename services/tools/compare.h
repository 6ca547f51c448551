/* compare: has support run one load through both ways (services/support/traditional/compare.h), and prints how it went.
 */
#pragma once

/* URL [--rate R] [--for SECONDS] [--json]. Exit status: 0, or 2: it could not be run, which was said. */
int compare_run(int n, char *arguments[]);
