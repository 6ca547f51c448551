/* commands: the program of a service: runs it, or one of its subcommands. */
#pragma once

#include "chassis/events/service.h"

/* Until a signal ends it. The program's exit code. */
int service_main(const struct service *service, const char *name, int port, int argc, char *argv[]);
