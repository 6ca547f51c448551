#include "chassis/base/process.h"

#include "chassis/base/log.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static atomic_bool ended;

void process_end(const char *why) {
    log_line(LOG_ERROR, "cannot go on; ending, to be started again", "reason", why, NULL);
    ended = true;
    kill(getpid(), SIGTERM);
}

bool process_ended(void) {
    return ended;
}
