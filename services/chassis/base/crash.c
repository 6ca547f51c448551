#include "chassis/base/crash.h"

#ifdef RETURNS_CRASH_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void crash_point(const char *name) {
    static atomic_int passed; /* only one name is ever counted: the one that was asked for */
    const char *at = getenv("RETURNS_CRASH_AT");
    size_t n = strlen(name);
    if (!at || strncmp(at, name, n) != 0 || (at[n] && at[n] != ':')) return;
    if (++passed == (at[n] ? atoi(at + n + 1) : 1)) (void)raise(SIGKILL); /* no handler, no destructor, no flush */
}

#endif
