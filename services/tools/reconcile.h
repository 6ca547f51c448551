/* reconcile: holds what support published against what each team did with it (services/support/reconcile/reconcile.h),
 * and prints it. */
#pragma once

/* The program's arguments after the word reconcile: [--json] [SETTING…]. Exit status: 0: all fits; 1: not, which was
 * printed; 2: it could not look, which was said. */
int reconcile_main(int n, char *arguments[]);
