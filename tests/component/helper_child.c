#include "helper_child.h"

#include "helper_fault.h"
#include "helper_probe.h"

#include "chassis/service/commands.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { CHILD_PATIENCE_MS = 60000 };

int child_main(int argc, char *argv[]) {
    if (argc < 2 || strcmp(argv[1], "as-a-child") != 0) return -1;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves none behind */
    fault_vfs();
    probe_assets_use();
    argv[1] = argv[0];
    return service_main(&probe, "probe", 0, argc - 1, argv + 1);
}

pid_t child_start(struct world *w, const char *crash_at, const char *group) {
    char flags[WORLD_FLAGS][200], *argv[WORLD_FLAGS + 3], in_group[100], log[128];
    char self[] = "/proc/self/exe", as_child[] = "as-a-child";
    argv[0] = self;
    int argc = world_flags(w, flags, argv + 1) + 1;
    argv[1] = as_child;
    snprintf(in_group, sizeof in_group, "-Xgroup.id=%s", group);
    argv[argc] = in_group;
    argv[argc + 1] = NULL;
    snprintf(log, sizeof log, "%s/child.log", w->folder);
    unlink(log); /* what is read there from now on is this one's */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    int fd = open(log, O_CREAT | O_WRONLY | O_APPEND, 0666);
    dup2(fd, 2);
    if (crash_at)
        setenv("RETURNS_CRASH_AT", crash_at, 1);
    else
        unsetenv("RETURNS_CRASH_AT");
    execv(argv[0], argv);
    _exit(126);
}

bool child_dead(pid_t pid, int *status) {
    pid_t ended = waitpid(pid, status, WNOHANG);
    assert_true(ended >= 0);
    return ended == pid;
}

int child_wait(pid_t pid) {
    int status = 0;
    int64_t until = clock_ms() + CHILD_PATIENCE_MS;
    while (!child_dead(pid, &status)) {
        if (clock_ms() > until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            fail_msg("the child did not end by itself within %d ms", CHILD_PATIENCE_MS);
        }
        usleep(5000);
    }
    return status;
}

void child_await(struct world *w, const char *said) {
    char path[128], text[20000] = "";
    int64_t until = clock_ms() + CHILD_PATIENCE_MS;
    snprintf(path, sizeof path, "%s/child.log", w->folder);
    for (; clock_ms() < until; usleep(5000)) {
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0) close(fd);
        text[n > 0 ? n : 0] = '\0';
        if (strstr(text, said)) return;
    }
    fail_msg("the child did not say %s, but: %s", said, text);
}

int child_stop(pid_t pid) {
    kill(pid, SIGTERM);
    return child_wait(pid);
}
