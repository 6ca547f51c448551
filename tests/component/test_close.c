/* librdkafka hangs as it closes a client in a process that runs on: the process ends, to be started again, and says
 * why; the next one goes on. Time passes 50 times faster for those limits. */
#include "helper_child.h"
#include "helper_probe.h"

#include "chassis/base/wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEARTBEAT = 12, FASTER = 50 };

static void hang_where(const char *what) {
    const char *asked = getenv("HANG_AT");
    while (asked && !strcmp(asked, what)) pause();
}

rd_kafka_resp_err_t __real_rd_kafka_consumer_close(rd_kafka_t *rk);
rd_kafka_resp_err_t __wrap_rd_kafka_consumer_close(rd_kafka_t *rk);
rd_kafka_resp_err_t __wrap_rd_kafka_consumer_close(rd_kafka_t *rk) {
    hang_where("consumer");
    return __real_rd_kafka_consumer_close(rk);
}

rd_kafka_resp_err_t __real_rd_kafka_purge(rd_kafka_t *rk, int flags);
rd_kafka_resp_err_t __wrap_rd_kafka_purge(rd_kafka_t *rk, int flags);
rd_kafka_resp_err_t __wrap_rd_kafka_purge(rd_kafka_t *rk, int flags) {
    if (!(flags & RD_KAFKA_PURGE_F_NON_BLOCKING)) hang_where("producer");
    return __real_rd_kafka_purge(rk, flags);
}

/* The relay's: its producer meets an error that ends it. */
int __real_rd_kafka_poll(rd_kafka_t *rk, int timeout_ms);
int __wrap_rd_kafka_poll(rd_kafka_t *rk, int timeout_ms);
int __wrap_rd_kafka_poll(rd_kafka_t *rk, int timeout_ms) {
    const char *asked = getenv("HANG_AT");
    if (asked && !strcmp(asked, "producer"))
        rd_kafka_test_fatal_error(rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "as the test has it");
    return __real_rd_kafka_poll(rk, timeout_ms);
}

void __real_limit_begin(struct limit *l, int64_t ms, void (*over)(const char *why), const char *why);
void __wrap_limit_begin(struct limit *l, int64_t ms, void (*over)(const char *why), const char *why);
void __wrap_limit_begin(struct limit *l, int64_t ms, void (*over)(const char *why), const char *why) {
    __real_limit_begin(l, ms / FASTER, over, why);
}

/* The thread that hangs is never joined, which is what the thread sanitizer would call a leak. */
static pid_t start_and_hang(struct world *w, const char *what) {
    const char *was = getenv("TSAN_OPTIONS");
    char kept[500], options[600];
    snprintf(kept, sizeof kept, "%s", was ? was : "");
    snprintf(options, sizeof options, "%s report_thread_leaks=0", kept);
    setenv("TSAN_OPTIONS", options, 1);
    setenv("HANG_AT", what, 1);
    pid_t pid = child_start(w, NULL, what);
    setenv("TSAN_OPTIONS", kept, 1);
    unsetenv("HANG_AT");
    return pid;
}

static void ends_when_it_hangs(struct world *w, const char *what) {
    char path[128], said[100], log[20000] = {0};
    ask(w, 0, "R-1", 1);
    pid_t pid = start_and_hang(w, what);
    int status = child_wait(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1); /* so that whoever runs it starts it again */
    snprintf(path, sizeof path, "%s/child.log", w->folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(log, 1, sizeof log - 1, f) > 0);
    fclose(f);
    snprintf(said, sizeof said, "librdkafka did not close the %s within 15 s", what);
    assert_non_null(strstr(log, "cannot go on; ending, to be started again"));
    assert_non_null(strstr(log, said));
    world_start(w, &probe);
    ask(w, 0, "R-1", 2);
    world_await(w, "SELECT COUNT(*) FROM kept", 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 2);
}

static void a_consumer_that_does_not_close_ends_the_process(void **state) {
    struct world *w = *state;
    rd_kafka_mock_push_request_errors(w->cluster, HEARTBEAT, 1, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    ends_when_it_hangs(w, "consumer");
}

static void a_producer_that_does_not_close_ends_the_process(void **state) {
    ends_when_it_hangs(*state, "producer");
}

/* A limit that is kept calls nobody. */
static void never(const char *why) {
    fail_msg("%s", why);
}

static void a_limit_that_is_kept_is_nothing(void **state) {
    (void)state;
    struct limit limit;
    for (int i = 0; i < 100; i++) {
        limit_begin(&limit, 60000 * FASTER, never, "over");
        limit_end(&limit);
    }
}

int main(int argc, char *argv[]) {
    int code = child_main(argc, argv);
    if (code >= 0) return code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_that_is_kept_is_nothing),
        cmocka_unit_test_setup_teardown(a_consumer_that_does_not_close_ends_the_process, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_producer_that_does_not_close_ends_the_process, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
