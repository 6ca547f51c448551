/* Streams of the audit log: where they start, that they tell each row once, and that no viewer can hurt the service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/audit/audit.h"
#include "chassis/base/health.h"
#include "chassis/events/service.h"
#include "chassis/pages/status.h"
#include "chassis/pages/stream_view.h"
#include "chassis/service/routes.h"
#include "chassis/store/migrations.h"
#include "chassis/web/sse.h"
#include "helper_client.h"

#include <cmocka.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 2, STREAMS = 12, HEARTBEAT_MS = 300, PATIENCE_MS = 400, WAIT_MS = 60000 };

static const struct service service = {.title = "Sales", .duty = "Refunds."};
static const struct settings settings = {.service = "sales", .streams = STREAMS};
static struct runtime runtime;
static char folder[64];
static int rows;

/* In one transaction, as the consumer does it. */
static void append(int n, const char *summary) {
    struct failure why;
    struct connection *c = store_begin(runtime.core.store);
    for (int i = 0; i < n; i++)
        audit_append(
            c, &(struct audit_row){
                   .action = "refund",
                   .outcome = "handled",
                   .actor = "support",
                   .return_id = "R-1",
                   .topic = "t",
                   .offset = rows++,
                   .summary = summary});
    assert_int_equal(store_commit(c, &why), OK);
}

static int start(int life_ms) {
    struct failure why;
    struct http_options web = {
        .host = "127.0.0.1",
        .allowed_hosts = "h",
        .threads = THREADS,
        .body_max = 1000,
        .body_ms = 1000,
        .tables = {chassis_routes},
        .context = &runtime,
        .decorate = status_decorate};
    struct sse_options o = stream_of_audit(runtime.core.store);
    o.streams = STREAMS, o.heartbeat_ms = HEARTBEAT_MS, o.life_ms = life_ms, o.patience_ms = PATIENCE_MS;
    return sse_start(&runtime.sse, &o, &why) != OK || http_start(&runtime.http, &web, &why) != OK;
}

static int setup(void **state) {
    char path[128];
    struct failure why;
    struct migration tables[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", tables, 0);
    *state = NULL;
    rows = 0;
    strcpy(folder, "/tmp/hub-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/x.db", folder);
    runtime = (struct runtime){
        .core = {.service = &service, .settings = &settings, .health = health_new()}, .routes = chassis_routes};
    if (store_open(&runtime.core.store, path, tables, n, &why) != OK) return 1;
    return start(0);
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    http_stop(&runtime.http);
    sse_stop(&runtime.sse);
    store_close(&runtime.core.store);
    health_free(&runtime.core.health);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* --- A viewer that reads */

struct watch {
    int fd;
    size_t n;
    char text[1 << 20];
};

static struct watch *watch_open(const char *target, const char *header) {
    char request[1000];
    struct watch *w = calloc(1, sizeof *w);
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", target, header);
    w->fd = client_open(http_port(runtime.http));
    client_send(w->fd, request, (size_t)n);
    return w;
}

/* Reads until it has that text, or the end. */
static bool watch_until(struct watch *w, const char *text) {
    int64_t end = steady_ms() + WAIT_MS;
    while (!strstr(w->text, text) && steady_ms() < end) {
        if (poll(&(struct pollfd){.fd = w->fd, .events = POLLIN}, 1, 100) <= 0) continue;
        ssize_t got = recv(w->fd, w->text + w->n, sizeof w->text - 1 - w->n, 0);
        if (got <= 0) break;
        w->n += (size_t)got;
    }
    return strstr(w->text, text);
}

/* Whether it was ended by the service. */
static bool watch_ends(struct watch *w) {
    char bytes[4096];
    int64_t end = steady_ms() + WAIT_MS;
    while (steady_ms() < end) {
        if (poll(&(struct pollfd){.fd = w->fd, .events = POLLIN}, 1, 100) <= 0) continue;
        if (recv(w->fd, bytes, sizeof bytes, 0) <= 0) return true;
    }
    return false;
}

static void watch_close(struct watch *w) {
    close(w->fd);
    free(w);
}

static int count(const char *text, const char *part) {
    int n = 0;
    while ((text = strstr(text, part))) n++, text++;
    return n;
}

/* The rows from first to last, each once, in order, and no other. */
static void assert_rows(const char *text, int first, int last) {
    const char *at = strstr(text, "event: audit");
    for (int id = first; id <= last; id++) {
        char head[60];
        snprintf(head, sizeof head, "event: audit\ndata: {\"id\":%d,", id);
        if (!at || strncmp(at, head, strlen(head)) != 0) fail_msg("row %d is not next: %.60s", id, at ? at : "(end)");
        at = strstr(at + 1, "event: audit");
    }
    assert_null(at);
}

static struct answer *get(const char *target, const char *header) {
    struct watch *w = watch_open(target, header);
    struct answer *a = client_read(w->fd, false);
    watch_close(w);
    return a;
}

static void await_watched(int n) {
    int64_t end = steady_ms() + WAIT_MS;
    while (sse_watched(runtime.sse) != n && steady_ms() < end) usleep(1000);
    assert_int_equal(sse_watched(runtime.sse), n);
}

/* --- The hub's thread, held where it waits for news, without its lock */

static atomic_bool held, hold;

static void stand_still(int number) {
    (void)number;
    atomic_store(&held, true);
    while (atomic_load(&hold)) usleep(1000);
}

static pid_t thread_named(const char *name) {
    DIR *threads = opendir("/proc/self/task");
    pid_t found = 0;
    for (struct dirent *entry; threads && !found && (entry = readdir(threads));) {
        char path[300], text[40] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = fopen(path, "re");
        if (comm && fgets(text, sizeof text, comm)) text[strcspn(text, "\n")] = '\0';
        if (comm) fclose(comm);
        if (!strcmp(text, name)) found = (pid_t)atoi(entry->d_name);
    }
    if (threads) closedir(threads);
    return found;
}

static void hub_hold(void) {
    struct sigaction action = {.sa_handler = stand_still};
    sigaction(SIGUSR1, &action, NULL);
    atomic_store(&held, false);
    atomic_store(&hold, true);
    int64_t end = steady_ms() + WAIT_MS;
    while (!thread_named("hub") && steady_ms() < end) usleep(1000);
    assert_int_equal(tgkill(getpid(), thread_named("hub"), SIGUSR1), 0);
    while (!atomic_load(&held) && steady_ms() < end) usleep(1000);
    assert_true(atomic_load(&held));
}

/* --- Tests */

static void test_starts_now_and_tells_each_row(void **state) {
    (void)state;
    append(3, "before");
    struct watch *w = watch_open("/api/stream", "");
    assert_true(watch_until(w, "retry: 1000\nid: 3\n\n"));
    assert_non_null(strstr(w->text, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(w->text, "Cache-Control: no-store\r\n"));
    append(2, "line\nbreak \"заказ\"");
    assert_true(watch_until(w, "id: 5\n"));
    assert_true(watch_until(w, "id: 5\nevent: audit\ndata: {"));
    append(1, "last");
    assert_true(watch_until(w, "\"summary\":\"last\""));
    assert_rows(w->text, 4, 6);
    watch_close(w);
    await_watched(0); /* it is noticed without another row */
}

static void test_a_row_is_what_the_api_shows(void **state) {
    (void)state;
    append(1, "line\nbreak \"заказ\" \x01");
    struct watch *w = watch_open("/api/stream?after=0", "");
    assert_true(watch_until(w, "}\n\n"));
    json_t *told = json_loads(strstr(w->text, "data: ") + 6, JSON_DISABLE_EOF_CHECK, NULL);
    json_t *shown = json_loads(get("/api/audit", "")->body, 0, NULL);
    assert_true(json_equal(told, json_array_get(json_object_get(shown, "rows"), 0)));
    json_decref(told);
    json_decref(shown);
    watch_close(w);
}

static void test_resumes_behind_the_last_id(void **state) {
    (void)state;
    append(50, "row");
    struct watch *header = watch_open("/api/stream?after=7", "Last-Event-ID: 20\r\n");
    struct watch *query = watch_open("/api/stream?after=48", "");
    assert_true(watch_until(header, "data: {\"id\":50,"));
    assert_true(watch_until(query, "data: {\"id\":50,"));
    http_stop(&runtime.http);
    sse_stop(&runtime.sse);
    assert_rows(header->text, 21, 50);
    assert_rows(query->text, 49, 50);
    watch_close(header);
    watch_close(query);
    append(2000, "while nobody served");
    assert_int_equal(start(0), 0);
    struct watch *again = watch_open("/api/stream", "Last-Event-ID: 50\r\n");
    assert_true(watch_until(again, "data: {\"id\":2050,"));
    assert_rows(again->text, 51, 2050);
    watch_close(again);
    struct watch *other = watch_open("/api/stream?after=99999", ""); /* of a log that was longer */
    assert_true(watch_until(other, "id: 2050\n\n"));
    append(1, "next");
    assert_true(watch_until(other, "data: {\"id\":2051,"));
    watch_close(other);
}

static void test_refuses_what_is_no_place(void **state) {
    (void)state;
    assert_int_equal(get("/api/stream?after=-1", "")->status, 400);
    assert_int_equal(get("/api/stream?after=1e3", "")->status, 400);
    assert_int_equal(get("/api/stream", "Last-Event-ID: x\r\n")->status, 400);
    assert_non_null(strstr(get("/api/stream?after=1234567890123456789", "")->text, "1234567890123456789"));
    assert_int_equal(get("/api/stream", "Sec-Fetch-Site: cross-site\r\n")->status, 403);
    assert_int_equal(sse_watched(runtime.sse), 0);
}

static void test_a_light_stream_only_says_that_there_is_news(void **state) {
    (void)state;
    struct watch *w = watch_open("/api/stream?light=1", "");
    assert_true(watch_until(w, "id: 0\n\n"));
    int64_t from = steady_ms();
    for (int i = 0; i < 100; i++) append(1, "row");
    assert_true(watch_until(w, "id: 100\nevent: audit\ndata: {\"id\":100,\"pace\":250}\n\n"));
    assert_in_range(count(w->text, "event: audit"), 1, (steady_ms() - from) / 250 + 1);
    assert_null(strstr(w->text, "summary"));
    watch_close(w);
}

static void test_a_heartbeat_comes_in_silence(void **state) {
    (void)state;
    struct watch *w = watch_open("/api/stream", "");
    int64_t from = steady_ms();
    assert_true(watch_until(w, "still here\n\n: still here\n\n"));
    assert_true(steady_ms() - from >= 2 * HEARTBEAT_MS);
    watch_close(w);
}

/* More viewers than workers: everything else is answered as if they were not there. */
static void test_streams_have_a_cap_and_take_no_workers(void **state) {
    (void)state;
    struct watch *all[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        all[i] = watch_open(i % 2 ? "/api/stream" : "/api/stream?light=1", "");
        assert_true(watch_until(all[i], "id: 0\n\n"));
    }
    struct answer *a = get("/api/stream", "");
    assert_int_equal(a->status, 503);
    assert_non_null(strstr(a->text, "Retry-After: 30\r\n"));
    assert_non_null(strstr(a->text, "application/problem+json"));
    int silent[3 * THREADS]; /* a crowd, which is cut short; streams are no part of it */
    for (int i = 0; i < 3 * THREADS; i++) silent[i] = client_open(http_port(runtime.http));
    assert_int_equal(get("/livez", "")->status, 200);
    for (int i = 0; i < 3 * THREADS; i++) {
        assert_true(poll(&(struct pollfd){.fd = silent[i], .events = POLLIN}, 1, WAIT_MS) > 0);
        close(silent[i]);
    }
    for (int i = 0; i < 20; i++) assert_int_equal(get("/api/status", "")->status, 200);
    append(1, "row");
    for (int i = 0; i < STREAMS; i++) assert_true(watch_until(all[i], "event: audit\ndata: {\"id\":1"));
    watch_close(all[0]);
    await_watched(STREAMS - 1);
    struct watch *next = watch_open("/api/stream", "");
    assert_true(watch_until(next, "id: 1\n\n"));
    watch_close(next);
    for (int i = 1; i < STREAMS; i++) watch_close(all[i]);
}

static void test_who_does_not_read_is_cut_off(void **state) {
    (void)state;
    static char long_text[20001];
    memset(long_text, 'x', sizeof long_text - 1);
    append(400, long_text); /* more than sockets hold */
    struct watch *reads = watch_open("/api/stream", "");
    int64_t from = steady_ms();
    struct watch *not = watch_open("/api/stream?after=0", "");
    await_watched(2);
    assert_true(watch_until(reads, "id: 400\n\n"));
    await_watched(1);
    assert_true(steady_ms() - from >= PATIENCE_MS);
    append(1, "next");
    assert_true(watch_until(reads, "data: {\"id\":401,"));
    assert_true(watch_ends(not ));
    watch_close(reads);
    watch_close(not );
}

/* Each of them is gone before its stream has begun: no more may be kept for it than there are places. */
static void test_those_who_come_and_go_between_two_turns_have_a_bound(void **state) {
    (void)state;
    hub_hold();
    for (int i = 0; i < 4 * STREAMS; i++) {
        watch_close(watch_open("/api/stream", ""));
        (void)get("/livez", "");
    }
    struct answer *full = get("/api/stream", "");
    assert_int_equal(full->status, 503);
    assert_in_range(sse_watched(runtime.sse), 1, STREAMS);
    atomic_store(&hold, false);
    await_watched(0); /* their places are free again */
    struct watch *w = watch_open("/api/stream", "");
    assert_true(watch_until(w, "id: 0\n\n"));
    watch_close(w);
}

static void test_ends_by_itself(void **state) {
    (void)state;
    http_stop(&runtime.http);
    sse_stop(&runtime.sse);
    assert_int_equal(start(500), 0);
    struct watch *w = watch_open("/api/stream", "");
    assert_true(watch_ends(w));
    await_watched(0);
    watch_close(w);
}

static void test_stopping_ends_streams_at_once(void **state) {
    (void)state;
    struct watch *all[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        all[i] = watch_open("/api/stream", "");
        assert_true(watch_until(all[i], "id: 0\n\n"));
    }
    int64_t from = steady_ms();
    http_stop(&runtime.http);
    sse_stop(&runtime.sse);
    assert_true(steady_ms() - from < 1000);
    for (int i = 0; i < STREAMS; i++) {
        assert_true(watch_ends(all[i]));
        watch_close(all[i]);
    }
}

static void test_head_only(void **state) {
    (void)state;
    int fd = client_open(http_port(runtime.http));
    client_send(fd, "HEAD /api/stream HTTP/1.1\r\nHost: h\r\n\r\n", 38);
    assert_int_equal(client_read(fd, true)->status, 200);
    close(fd);
    await_watched(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
        TEST(starts_now_and_tells_each_row),
        TEST(a_row_is_what_the_api_shows),
        TEST(resumes_behind_the_last_id),
        TEST(refuses_what_is_no_place),
        TEST(a_light_stream_only_says_that_there_is_news),
        TEST(a_heartbeat_comes_in_silence),
        TEST(streams_have_a_cap_and_take_no_workers),
        TEST(who_does_not_read_is_cut_off),
        TEST(those_who_come_and_go_between_two_turns_have_a_bound),
        TEST(ends_by_itself),
        TEST(stopping_ends_streams_at_once),
        TEST(head_only)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
