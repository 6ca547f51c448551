/* The traditional way into a service: the same rules, the same audit, one effect, and nothing published. */
#include "helper_client.h"
#include "helper_fault.h"
#include "helper_probe.h"

#include "chassis/web/http.h"

#include <poll.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct asked {
    int64_t n;
};
static const struct field asked_fields[] = {FIELD_INT(struct asked, n)};

/* The probe's rules, and one that declines. */
static verdict keep(struct reaction *r, const void *fields, struct failure *why) {
    const struct asked *q = fields;
    if (q->n == 99) {
        reaction_audit(r, "declined", "leave it", "99 is not kept");
        return OK;
    }
    (void)store_run(
        r->store, "INSERT INTO kept (n, return_id) VALUES (?, ?)", value_int(q->n), value_text(r->event->return_id));
    reaction_emit(r, "Answered", json_pack("{s:I}", "n", (json_int_t)q->n));
    reaction_audit(r, "handled", "keep", "kept %lld", (long long)q->n);
    return q->n < 0 ? (fail)(why, REJECT, "n is %lld, and must not be negative", (long long)q->n) : OK;
}

static const struct handler handlers[] = {{"returns.support.Asked", FIELDS(asked_fields, struct asked), keep}, {0}};
static const struct service callable = {
    .title = "Probe",
    .duty = "Keeps numbers.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/keep-requests", "returns.support.Asked"}};

static struct answer *answer_of(struct world *w, const char *header, const char *body) {
    char request[2000];
    int n = snprintf(
        request, sizeof request,
        "POST /api/keep-requests HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s",
        header, strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    return a;
}

/* Posts the body, with the header line when it is not NULL; the answer is the caller's. */
static json_t *call(struct world *w, const char *header, const char *body, int status) {
    struct answer *a = answer_of(w, header ? header : "", body);
    if (a->status != status) fail_msg("%s: not %d: %s", body, status, a->text);
    json_t *said = json_loads(a->body, 0, NULL);
    assert_non_null(said);
    return said;
}

static void text_is(const json_t *said, const char *name, const char *expected) {
    const char *text = json_string_value(json_object_get(said, name));
    if (!text || strcmp(text, expected)) fail_msg("%s is %s, not %s", name, text ? text : "no text", expected);
}

static void a_call_has_the_handlers_effect_and_answer(void **state) {
    struct world *w = *state;
    world_start(w, &callable);
    json_t *said = call(w, NULL, "{\"return_id\":\"R-1\",\"n\":7,\"more\":true}", 201);
    text_is(said, "return_id", "R-1");
    text_is(said, "outcome", "handled");
    text_is(said, "summary", "kept 7");
    text_is(said, "event_type", "returns.probe.Answered");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(said, "fields"), "n")), 7);
    json_decref(said);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept WHERE n = 7 AND return_id = 'R-1'"), 1);
    assert_int_equal(
        world_int(
            w, "SELECT COUNT(*) FROM audit WHERE topic IS NULL AND actor = 'call' AND outcome = 'handled' AND "
               "action = 'keep' AND summary = 'kept 7' AND return_id = 'R-1' AND length(trace_id) = 32 AND "
               "event_type = 'returns.support.Asked' AND length(event_id) = 16"),
        1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 0); /* its caller alone is told */
}

/* The same handler by an event and by a call: what differs in the audit row is who asked, and where. */
static void an_event_and_a_call_are_audited_alike(void **state) {
    struct world *w = *state;
    world_start(w, &callable);
    ask(w, 2, "R-1", 5);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    json_decref(call(w, NULL, "{\"return_id\":\"R-2\",\"n\":6}", 201));
    assert_int_equal(
        world_int(
            w, "SELECT COUNT(*) FROM audit a JOIN audit b ON a.action = b.action AND a.outcome = b.outcome "
               "AND a.event_type = b.event_type WHERE a.topic = 'support.events' AND b.topic IS NULL"),
        1);
    ask(w, 2, "R-3", 6); /* the rules are the same ones: 6 is kept already */
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 1);
}

/* How many answers were. */
static int64_t forget(struct world *w) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    int64_t n = store_run(c, "DELETE FROM idempotency");
    assert_int_equal(store_commit(c, &why), OK);
    return n;
}

static void a_repeated_call_has_no_second_effect(void **state) {
    struct world *w = *state;
    const char *key = "Idempotency-Key: k-1\r\n";
    world_start(w, &callable);
    json_decref(call(w, NULL, "{\"return_id\":\"R-1\",\"n\":7}", 201));
    json_t *said = call(w, NULL, "{\"return_id\":\"R-1\",\"n\":7}", 200);
    text_is(said, "outcome", "handled");
    text_is(said, "summary", "kept 7");
    assert_true(json_is_true(json_object_get(said, "repeated")));
    json_decref(said);
    json_decref(call(w, key, "{\"return_id\":\"R-1\",\"n\":8}", 201)); /* another key is another call */
    said = call(w, key, "{\"return_id\":\"R-1\",\"n\":8}", 201);       /* the first answer itself */
    assert_true(json_is_false(json_object_get(said, "repeated")));
    json_decref(said);
    json_decref(call(w, key, "{\"return_id\":\"R-1\",\"n\":9}", 422)); /* not its answer */
    /* Long after, when that answer is forgotten, the key has had its effect all the same. */
    assert_int_equal(forget(w), 1);
    json_decref(call(w, key, "{\"return_id\":\"R-1\",\"n\":8}", 200));
    assert_int_equal(forget(w), 1);
    json_decref(call(w, key, "{\"return_id\":\"R-2\",\"n\":9}", 422));
    json_decref(call(w, NULL, "{\"return_id\":\"R-3\",\"n\":99}", 409));
    json_decref(call(w, NULL, "{\"return_id\":\"R-3\",\"n\":99}", 409));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'duplicate' AND actor = 'call'"), 4);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'declined'"), 1);
}

static void what_is_wrong_is_said_by_field(void **state) {
    struct world *w = *state;
    world_start(w, &callable);
    json_t *said = call(w, NULL, "{\"n\":\"seven\"}", 400), *errors = json_object_get(said, "errors");
    assert_int_equal(json_array_size(errors), 2);
    text_is(json_array_get(errors, 0), "field", "return_id");
    text_is(json_array_get(errors, 1), "field", "n");
    json_decref(said);
    json_decref(call(w, NULL, "{\"return_id\":\"\",\"n\":1}", 400));
    json_decref(call(w, NULL, "[]", 400));
    json_decref(call(w, NULL, "{\"n\":", 400));
    json_decref(call(w, "Content-Type: text/plain\r\n", "{}", 400)); /* twice: cannot be read in one way */
    said = call(w, NULL, "{\"return_id\":\"R-1\",\"n\":99}", 409);
    text_is(said, "outcome", "declined");
    text_is(said, "detail", "Declined: 99 is not kept.");
    json_decref(said);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), 1);
}

/* By the handler, and by the database's own rule; the key is not used up by that. */
static void a_refused_call_leaves_an_audit_row_alone(void **state) {
    struct world *w = *state;
    world_start(w, &callable);
    json_decref(call(w, NULL, "{\"return_id\":\"R-1\",\"n\":-5}", 422));
    json_decref(call(w, NULL, "{\"return_id\":\"R-1\",\"n\":13}", 422));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM event_seen"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'refused' AND actor = 'call'"), 2);
    json_decref(call(w, NULL, "{\"return_id\":\"R-1\",\"n\":5}", 201));
}

/* Half of the threads wait while another process holds the database; who comes then is told so at once. All of them
 * make the same call, so it has its effect once. */
static void more_calls_than_may_wait_are_told_at_once(void **state) {
    static const char request[] = "POST /api/keep-requests HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                                  "Content-Length: 25\r\nConnection: close\r\n\r\n{\"return_id\":\"R-1\",\"n\":7}";
    enum { N = 9 };
    struct world *w = *state;
    struct pollfd clients[N];
    char path[128];
    sqlite3 *db;
    int seen[600] = {0};
    world_start(w, &callable);
    snprintf(path, sizeof path, "%s/probe.db", w->folder);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000); /* the service may be writing that it has begun */
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < N; i++) {
        clients[i] = (struct pollfd){.fd = client_open(http_port(w->rt.http)), .events = POLLIN};
        assert_true(client_send(clients[i].fd, request, sizeof request - 1));
    }
    assert_int_equal(poll(clients, N, 4000), 1); /* before the first of those who wait is told, after 5 s */
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int i = 0; i < N; i++) {
        seen[client_read(clients[i].fd, false)->status]++;
        close(clients[i].fd);
    }
    assert_int_equal(seen[503], 1);
    assert_int_equal(seen[201], 1);
    assert_int_equal(seen[200], 7);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 1);
}

/* Each allocation of a call fails, one after the other: its caller is told to come again, and is answered then. */
static void a_call_without_memory_may_be_made_again(void **state) {
    struct world *w = *state;
    int refused = 0, untold = 0, nth = 0;
    char body[80];
    bool met = true;
    world_start(w, &callable);
    fault_thread = "civetweb-worker";
    while (met && ++nth < 1000) {
        snprintf(body, sizeof body, "{\"return_id\":\"R-%d\",\"n\":%d}", nth, 100 + nth);
        fault_arm(FAULT_MEMORY, nth, 0, false);
        struct answer *a = answer_of(w, "", body);
        met = fault_count() > 0;
        fault_mend();
        bool kept = world_int(w, "SELECT COUNT(*) FROM kept") == nth;
        if (a->status == 503 && (kept || (strstr(a->body, "Send it again") && !strstr(a->text, "\r\nRetry-After: "))))
            fail_msg("allocation %d: %s: %s", nth, kept ? "kept" : "not kept", a->text);
        refused += a->status == 503;
        untold += strstr(a->body, "out of memory for the answer") != NULL;
        if (!kept && a->status / 100 == 2) fail_msg("allocation %d: not kept: %s", nth, a->text);
        json_decref(call(w, NULL, body, kept ? 200 : 201));
    }
    fault_thread = NULL;
    print_message("%d allocations, %d refused\n", nth, refused);
    assert_true(refused > 10 && untold > 0 && nth < 1000);
}

static void without_the_comparison_nothing_is_called(void **state) {
    struct world *w = *state;
    w->more[w->more_n++] = "--comparison=0";
    world_start(w, &callable);
    json_t *said = call(w, NULL, "{\"return_id\":\"R-1\",\"n\":1}", 404);
    assert_non_null(strstr(json_string_value(json_object_get(said, "detail")), "--comparison"));
    json_decref(said);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, probe_setup, probe_teardown)

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    fault_exempt = true;
    fault_json();
    const struct CMUnitTest tests[] = {
        TEST(a_call_has_the_handlers_effect_and_answer), TEST(an_event_and_a_call_are_audited_alike),
        TEST(a_repeated_call_has_no_second_effect),      TEST(what_is_wrong_is_said_by_field),
        TEST(a_refused_call_leaves_an_audit_row_alone),  TEST(more_calls_than_may_wait_are_told_at_once),
        TEST(a_call_without_memory_may_be_made_again),   TEST(without_the_comparison_nothing_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
