/* helper_fault: makes the nth call of a kind fail, once, or from then on until it is mended. Calls are counted on every
 * thread but those that declare themselves exempt: the test itself and what stands around the service. */
#pragma once

#include <stdbool.h>

enum fault {
    FAULT_NONE,
    FAULT_MEMORY,   /* an allocation of our own code, or of jansson for it, gives NULL */
    FAULT_OWN,      /* only one of our own code does */
    FAULT_JSON,     /* only one of jansson does */
    FAULT_DATABASE, /* a call of SQLite's API answers with the code, and does nothing */
    FAULT_FILE,     /* an operation on the database's files does: SQLite itself meets it, and rolls back as it must */
};

extern _Thread_local bool fault_exempt;
extern const char *_Atomic fault_thread; /* not NULL: only calls on threads of that name are counted, and fail */

void fault_arm(enum fault kind, int nth, int code, bool lasting);
void fault_mend(void);
int fault_count(void); /* how many calls have failed since it was armed */
int fault_calls(void); /* how many were counted */

void fault_vfs(void); /* SQLite's default VFS from now on is one whose operations can fail; once, before any database */
void fault_json(void); /* jansson's allocations are counted from now on; once, before any value */
