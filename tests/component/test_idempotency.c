/* A POST with an Idempotency-Key has its effect once: repeated, at the same time, after a crash at either side of its
 * commit, and for as long as its answer is kept. */
#include "helper_child.h"
#include "helper_client.h"
#include "helper_fault.h"
#include "helper_probe.h"

#include "chassis/audit/audit.h"
#include "chassis/pages/runtime.h"
#include "chassis/service/commands.h"
#include "chassis/web/idempotency.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HOUR INT64_C(3600000)

/* --- The clock */

static atomic_int_fast64_t clock_step;
int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_ms(void) {
    return __real_clock_ms() + clock_step;
}

/* --- The service: each POST that has its effect leaves an audit row, and answers with an id that no other has */

static atomic_int entered, held; /* held: how many who entered wait until it is 0 */

static void answer_new(struct exchange *x) {
    char id[UUID_TEXT], path[100];
    uuid_text(uuid_make(), id);
    snprintf(path, sizeof path, "/api/notes/%s", id);
    exchange_set_header(x, "Location", path);
    exchange_set_header(x, "ETag", "\"1\"");
    x->status = 201;
    x->data = json_pack("{s:s, s:s}", "id", id, "text", "h\xc3\xa9 <b>");
}

static void note_post(struct exchange *x) {
    struct runtime *rt = x->context;
    struct failure why;
    atomic_fetch_add(&entered, 1);
    while (atomic_load(&held)) usleep(1000);
    struct connection *c = store_begin(rt->core.store);
    audit_append(
        c, &(struct audit_row){.action = "note", .outcome = "accepted", .actor = "api", .summary = "", .trace_id = ""});
    if (exchange_query(x, "refuse"))
        exchange_problem(x, atoi(exchange_query(x, "refuse")), "It is noted that you may not.");
    else if (x->api)
        answer_new(x);
    else
        exchange_redirect(x, "/audit");
    if (exchange_commit(x, c, &why) != OK) exchange_problem(x, 503, "%s", why.text);
}

/* Stores nothing of its own. */
static void look_post(struct exchange *x) {
    int status = exchange_query(x, "status") ? atoi(exchange_query(x, "status")) : 200;
    atomic_fetch_add(&entered, 1);
    if (status >= 400)
        exchange_problem(x, status, "Number %d.", atomic_load(&entered));
    else
        x->status = status, x->data = json_pack("{s:i}", "number", atomic_load(&entered));
    if (!exchange_query(x, "bytes")) return;
    json_t *pad = json_sprintf("%0*d", atoi(exchange_query(x, "bytes")), 0);
    if (status >= 400)
        exchange_problem_member(x, "pad", pad);
    else
        json_object_set_new(x->data, "pad", pad);
}

static void fields_post(struct exchange *x) {
    struct failure why;
    if (exchange_form(x, &x->data, &why) != OK) exchange_problem(x, 400, "%s", why.text);
}

static const struct resource resources[] = {
    {.path = "/notes", .post = note_post, .post_query = "refuse"},
    {.path = "/looks", .post = look_post, .post_query = "status bytes"},
    {.api_path = "/api/fields", .post = fields_post},
    {0}};
static const struct handler handlers[] = {{0}};
static const struct service notes = {
    .title = "Notes", .duty = "Notes.", .subscribes = "support", .handlers = handlers, .resources = resources};

/* --- Asking */

static int port;

struct heard {
    int status;
    bool replayed;
    char location[200], etag[20], type[80], body[2000], text[4000];
};

static void header_of(const char *text, const char *name, char *out, size_t n) {
    const char *at = strcasestr(text, name);
    snprintf(out, n, "%.*s", at ? (int)strcspn(at + strlen(name), "\r") : 0, at ? at + strlen(name) : "");
}

static struct heard heard_read(int fd) {
    struct answer *a = client_read(fd, false);
    struct heard h = {.status = a->status};
    close(fd);
    h.replayed = strstr(a->text, "\r\nIdempotency-Replayed: true\r\n");
    header_of(a->text, "\r\nLocation: ", h.location, sizeof h.location);
    header_of(a->text, "\r\nETag: ", h.etag, sizeof h.etag);
    header_of(a->text, "\r\nContent-Type: ", h.type, sizeof h.type);
    snprintf(h.body, sizeof h.body, "%s", a->body);
    snprintf(h.text, sizeof h.text, "%.3999s", a->text);
    return h;
}

static int send_post(const char *path, const char *headers, const char *body) {
    char request[4000];
    int fd = client_open(port);
    int n = snprintf(
        request, sizeof request, "POST %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
        path, headers, strlen(body), body);
    assert_true(client_send(fd, request, (size_t)n));
    return fd;
}

static struct heard post(const char *path, const char *headers, const char *body) {
    return heard_read(send_post(path, headers, body));
}

static void assert_same(const struct heard *first, const struct heard *again) {
    if (!again->replayed) fail_msg("it was not answered as before:\n%s", again->text);
    assert_false(first->replayed);
    assert_int_equal(again->status, first->status);
    assert_string_equal(again->location, first->location);
    assert_string_equal(again->etag, first->etag);
    assert_string_equal(again->type, first->type);
    assert_string_equal(again->body, first->body);
}

static void assert_status(const struct heard *h, int status) {
    if (h->status != status) fail_msg("not %d:\n%s", status, h->text);
    assert_false(h->replayed);
}

static int64_t noted(struct world *w) {
    return world_int(w, "SELECT COUNT(*) FROM audit WHERE action = 'note'");
}

#define KEY "Idempotency-Key: \"k-1\"\r\n"
#define JSON "Content-Type: application/json\r\n"

static int setup(void **state) {
    clock_step = 0;
    entered = held = 0;
    return probe_setup(state);
}

/* A test that failed leaves nobody waiting. */
static int teardown(void **state) {
    atomic_store(&held, 0);
    fault_mend();
    return probe_teardown(state);
}

static void start(struct world *w) {
    world_start(w, &notes);
    port = http_port(w->rt.http);
}

/* --- Tests */

static void a_repeat_gets_the_first_answer(void **state) {
    struct world *w = *state;
    start(w);
    struct heard first = post("/api/notes", JSON KEY, "{}"), again = post("/api/notes", JSON KEY, "{}");
    assert_status(&first, 201);
    assert_true(*first.location && *first.etag);
    assert_same(&first, &again);
    again = post("/api/notes", JSON "Idempotency-Key: k-1\r\n", "{}"); /* the same key, bare */
    assert_same(&first, &again);
    again = post("/api/notes", JSON KEY "Accept-Encoding: identity\r\n", "{}"); /* how it travels is no part of it */
    assert_same(&first, &again);
    world_stop(w);
    start(w);
    again = post("/api/notes", JSON KEY, "{}");
    assert_same(&first, &again);
    assert_int_equal(noted(w), 1);
    first = post("/api/notes", JSON "Idempotency-Key: k-2\r\n", "{}");
    assert_status(&first, 201);
    (void)post("/api/notes", JSON, "{}");
    (void)post("/api/notes", JSON, "{}"); /* without a key each is one more */
    assert_int_equal(noted(w), 4);
}

static void another_request_with_the_key_is_refused(void **state) {
    struct world *w = *state;
    start(w);
    struct heard h = post("/api/notes", JSON KEY, "{}");
    assert_status(&h, 201);
    h = post("/api/notes", JSON KEY, "{ }");
    assert_status(&h, 422);
    assert_non_null(strstr(h.body, "\\\"k-1\\\" was used for another request (POST /api/notes)"));
    h = post("/api/notes?refuse=404", JSON KEY, "{}");
    assert_status(&h, 422);
    h = post("/notes", JSON KEY, "{}");
    assert_status(&h, 422);
    h = post("/api/looks", JSON KEY, "{}");
    assert_status(&h, 422);
    h = post("/api/notes", "Content-Type: text/plain\r\n" KEY, "{}");
    assert_status(&h, 422);
    h = post("/api/notes", JSON KEY "If-Match: \"2\"\r\n", "{}");
    assert_status(&h, 422);
    assert_int_equal(noted(w), 1);
    assert_int_equal(atomic_load(&entered), 1);
}

static void what_is_no_key_changes_nothing(void **state) {
    struct world *w = *state;
    start(w);
    static const char *const bad[] = {
        "Idempotency-Key:\r\n", "Idempotency-Key: a b\r\n", "Idempotency-Key: \"a\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: a\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct heard h = post("/api/notes", bad[i], "{}");
        assert_status(&h, 400);
        assert_non_null(strstr(h.body, "Idempotency-Key"));
    }
    assert_int_equal(atomic_load(&entered), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency"), 0);
}

static void a_form_may_hold_the_key(void **state) {
    struct world *w = *state;
    start(w);
    const char *type = "Content-Type: application/x-www-form-urlencoded\r\n";
    struct heard first = post("/notes", type, "a=1&idempotency_key=f%2D1");
    struct heard again = post("/notes", type, "a=1&idempotency_key=f%2D1");
    assert_status(&first, 303);
    assert_string_equal(first.location, "/audit");
    assert_same(&first, &again);
    again = post("/notes", type, "a=2&idempotency_key=f-1");
    assert_status(&again, 422);
    again = post("/notes", type, "a=2&idempotency_key=");
    assert_status(&again, 400);
    assert_int_equal(noted(w), 1);
    first = post("/api/fields", type, "a=1&idempotency_key=f-2"); /* the function does not get to see it */
    assert_string_equal(first.body, "{\"a\":\"1\"}");
}

/* What a function decided is kept with its effect, whatever it is; a server's trouble is not. */
static void refusals_are_kept_and_trouble_is_not(void **state) {
    struct world *w = *state;
    static const int kept[] = {200, 202, 400, 404, 409, 412, 422}, open[] = {408, 411, 413, 429, 500, 502, 503};
    char path[80], key[60];
    start(w);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        snprintf(path, sizeof path, "/api/looks?status=%d", kept[i]);
        snprintf(key, sizeof key, "Idempotency-Key: s-%d\r\n", kept[i]);
        struct heard first = post(path, key, ""), again = post(path, key, "");
        assert_status(&first, kept[i]);
        assert_same(&first, &again);
    }
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        snprintf(path, sizeof path, "/api/looks?status=%d", open[i]);
        snprintf(key, sizeof key, "Idempotency-Key: s-%d\r\n", open[i]);
        struct heard first = post(path, key, ""), again = post(path, key, "");
        assert_status(&first, open[i]);
        assert_status(&again, open[i]);
        assert_string_not_equal(first.body, again.body);
    }
    struct heard first = post("/api/notes?refuse=502", KEY, ""), again = post("/api/notes?refuse=502", KEY, "");
    assert_status(&first, 502);
    assert_same(&first, &again);
    assert_int_equal(noted(w), 1);
}

/* What has no effect costs its sender nothing, a refusal or not; what is kept of all of that has a bound. */
static void little_is_kept(struct world *w, int status) {
    struct failure why;
    char path[80];
    start(w);
    struct heard done = post("/api/notes", JSON KEY, "{}");
    assert_status(&done, 201);
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run(c, "UPDATE idempotency SET at = at - 20000"); /* older than all that follow */
    for (int i = 0; i < 1500; i++) {
        char key[20];
        snprintf(key, sizeof key, "old-%d", i);
        (void)store_run(
            c,
            "INSERT INTO idempotency (idempotency_key, at, request, fingerprint, status, content_type, headers, body, "
            "effect) VALUES (?, ?, '', x'00', ?, '', '{}', x'00', 0)",
            value_text(key), value_int(clock_ms() - 10000 + i), value_int(status));
    }
    assert_int_equal(store_commit(c, &why), OK);
    for (int i = 0; i < 30; i++) {
        char key[60];
        snprintf(key, sizeof key, "Idempotency-Key: new-%d\r\n", i);
        snprintf(path, sizeof path, "/api/looks?status=%d", status);
        struct heard h = post(path, key, "");
        assert_status(&h, status);
    }
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency"), 1001);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency WHERE idempotency_key LIKE 'new-%'"), 30);
    snprintf(path, sizeof path, "/api/looks?status=%d&bytes=9000", status);
    struct heard large = post(path, "Idempotency-Key: large\r\n", ""), again;
    assert_status(&large, status);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency WHERE LENGTH(body) > 8192"), 0);
    again = post("/api/notes", JSON KEY, "{}");
    assert_same(&done, &again);
}

static void of_refusals_little_is_kept(void **state) {
    little_is_kept(*state, 422);
}

static void of_answers_without_effect_little_is_kept(void **state) {
    little_is_kept(*state, 200);
}

static void who_comes_while_the_first_runs_is_told_so(void **state) {
    struct world *w = *state;
    start(w);
    atomic_store(&held, 1);
    int fd = send_post("/api/notes", JSON KEY, "{}");
    while (!atomic_load(&entered)) usleep(1000);
    struct heard h = post("/api/notes", JSON KEY, "{}");
    assert_status(&h, 409);
    assert_non_null(strstr(h.text, "\r\nRetry-After: 1\r\n"));
    h = post("/api/notes", JSON KEY, "{ }");
    assert_status(&h, 422);
    atomic_store(&held, 0);
    struct heard first = heard_read(fd), again = post("/api/notes", JSON KEY, "{}");
    assert_status(&first, 201);
    assert_same(&first, &again);
    assert_int_equal(noted(w), 1);
}

/* Many at once with one key, over and over: one effect, and whoever gets an answer gets that one. */
static void of_many_at_once_one_has_the_effect(void **state) {
    enum { N = 12, ROUNDS = 20 };
    struct world *w = *state;
    int fds[N];
    char key[80];
    start(w);
    for (int round = 1; round <= ROUNDS; round++) {
        struct heard first = {0};
        snprintf(key, sizeof key, JSON "Idempotency-Key: r-%d\r\n", round);
        for (int i = 0; i < N; i++) fds[i] = send_post("/api/notes", key, "{}");
        for (int i = 0; i < N; i++) {
            struct heard h = heard_read(fds[i]);
            if (h.status != 409) assert_int_equal(h.status, 201);
            if (h.status == 201 && *first.body) assert_string_equal(h.body, first.body);
            if (h.status == 201) first = h;
        }
        assert_true(*first.body);
        assert_int_equal(noted(w), round);
    }
}

static void answers_are_kept_for_a_day_and_no_longer(void **state) {
    struct world *w = *state;
    start(w);
    struct heard first = post("/api/notes", JSON KEY, "{}");
    for (int i = 0; i < 50; i++) {
        char key[60];
        snprintf(key, sizeof key, "Idempotency-Key: old-%d\r\n", i);
        (void)post("/api/looks", key, "");
    }
    clock_step = 24 * HOUR - 600000;
    struct heard again = post("/api/notes", JSON KEY, "{}");
    assert_same(&first, &again);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency"), 51);
    clock_step = 24 * HOUR + 600000;
    first = post("/api/notes", JSON KEY, "{}");
    assert_status(&first, 201); /* a new request */
    again = post("/api/notes", JSON KEY, "{}");
    assert_same(&first, &again);
    assert_int_equal(noted(w), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency"), 31); /* old ones leave, 20 at a time */
    (void)post("/api/looks", "Idempotency-Key: new-1\r\n", "");
    (void)post("/api/looks", "Idempotency-Key: new-2\r\n", "");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency"), 3);
}

/* A database that fails at any of its calls: what was not stored may be sent again, and what was stored is not done
 * twice. */
static void the_database_fails_at_each_call(void **state) {
    struct world *w = *state;
    char key[80];
    int refused = 0, nth = 0;
    bool met = true;
    start(w);
    while (met && ++nth < 500) {
        snprintf(key, sizeof key, JSON "Idempotency-Key: f-%d\r\n", nth);
        int64_t before = noted(w);
        fault_arm(FAULT_DATABASE, nth, SQLITE_FULL, false);
        struct heard first = post("/api/notes", key, "{}");
        met = fault_count() > 0;
        fault_mend();
        if (first.status == 503 && noted(w) != before) fail_msg("call %d: answered 503, and it is done", nth);
        refused += first.status == 503;
        struct heard last = post("/api/notes", key, "{}");
        if (last.status != 201) fail_msg("call %d, then:\n%s", nth, last.text);
        assert_int_equal(noted(w), before + 1);
    }
    print_message("%d calls, %d refused\n", nth, refused);
    assert_true(refused > 3 && nth < 500);
}

/* --- Crashes */

static void child_port(struct world *w) {
    char path[128], text[20000] = "";
    child_await(w, "msg=ready");
    snprintf(path, sizeof path, "%s/child.log", w->folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    const char *at = strstr(strstr(text, "msg=ready"), "port=");
    assert_non_null(at);
    port = atoi(at + 5 + (at[5] == '"'));
}

static void killed_at(struct world *w, const char *point) {
    pid_t pid = child_start(w, point, "a");
    child_port(w);
    struct heard h = post("/api/notes", JSON KEY, "{}");
    assert_int_equal(h.status, 0); /* no answer came */
    int status = child_wait(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void killed_before_the_commit_it_is_done_anew(void **state) {
    struct world *w = *state;
    killed_at(w, "before answer commit");
    assert_int_equal(noted(w), 0);
    start(w);
    struct heard first = post("/api/notes", JSON KEY, "{}"), again = post("/api/notes", JSON KEY, "{}");
    assert_status(&first, 201);
    assert_same(&first, &again);
    assert_int_equal(noted(w), 1);
}

static void killed_after_the_commit_its_answer_is_there(void **state) {
    struct world *w = *state;
    killed_at(w, "after answer commit");
    assert_int_equal(noted(w), 1);
    start(w);
    struct heard h = post("/api/notes", JSON KEY, "{}"), again = post("/api/notes", JSON KEY, "{}");
    assert_int_equal(h.status, 201);
    assert_true(h.replayed && again.replayed && *h.location);
    assert_string_equal(h.body, again.body);
    assert_int_equal(noted(w), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char *argv[]) {
    if (argc > 1 && !strcmp(argv[1], "as-a-child")) {
        probe_assets_use();
        argv[1] = argv[0];
        return service_main(&notes, "probe", 0, argc - 1, argv + 1);
    }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        TEST(a_repeat_gets_the_first_answer),
        TEST(another_request_with_the_key_is_refused),
        TEST(what_is_no_key_changes_nothing),
        TEST(a_form_may_hold_the_key),
        TEST(refusals_are_kept_and_trouble_is_not),
        TEST(of_refusals_little_is_kept),
        TEST(of_answers_without_effect_little_is_kept),
        TEST(who_comes_while_the_first_runs_is_told_so),
        TEST(of_many_at_once_one_has_the_effect),
        TEST(answers_are_kept_for_a_day_and_no_longer),
        TEST(the_database_fails_at_each_call),
        TEST(killed_before_the_commit_it_is_done_anew),
        TEST(killed_after_the_commit_its_answer_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
