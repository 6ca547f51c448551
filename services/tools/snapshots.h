/* snapshots: holds support's snapshots against the events: reads every event from the beginning, folds it by itself,
 * and compares each return's snapshot with what its events came to at the snapshot's positions. */
#pragma once

/* [--json] [SETTING…]. Exit status: 0; 1: some do not match, and which; 2: it could not be found out. */
int snapshots_run(int n, char *arguments[]);
