/* helper_child: the service under test as a process of its own, which may die; the world stays with the test. */
#pragma once

#include "helper_world.h"

#include <sys/types.h>

/* The test program's first line: should it have been started as a child, it is the service and returns the exit code;
 * else −1. Every child uses the probe and helper_fault's VFS. */
int child_main(int argc, char *argv[]);

/* crash_at: as RETURNS_CRASH_AT has it, or NULL. group: the consumer group's name. What it logs is
 * in child.log. */
pid_t child_start(struct world *w, const char *crash_at, const char *group);
bool child_dead(pid_t pid, int *status);             /* without waiting; call it no more once it was true */
void child_await(struct world *w, const char *said); /* until its log holds that */
int child_stop(pid_t pid);                           /* SIGTERM; the wait status */
int child_wait(pid_t pid);                           /* for its end by itself; fails the test after 20 s */
