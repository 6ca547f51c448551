/* What is refused moves no version: a valid command at the version that one saw succeeds whatever was refused
 * meanwhile, and however often somebody is refused, so much is stored and no more. */
#include "helper_client.h"
#include "helper_world.h"

#include "chassis/base/assets.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RACERS = 40, KEPT = 100 };

extern const struct service service; /* support's declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static char return_id[RETURN_ID];

static int post(struct world *w, const char *path, const char *headers, const char *body) {
    char request[1500];
    int n = snprintf(
        request, sizeof request,
        "POST /api/returns%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
        path, http_port(w->rt.http), headers, strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    return fd;
}

/* The answer's status; what it said is in *said, the test's own, until the next one. */
static int answer(int fd, json_t **said) {
    struct answer *a = client_read(fd, false);
    close(fd);
    json_decref(*said);
    *said = json_loads(a->body, 0, NULL);
    return a->status;
}

static json_t *said;

static json_int_t said_version(void) {
    return json_integer_value(json_object_get(said, "version"));
}

static int command_post(struct world *w, const char *name, int version, const char *key) {
    char path[60], headers[200];
    snprintf(path, sizeof path, "/%s/%s", return_id, name);
    int n = snprintf(headers, sizeof headers, "If-Match: \"%d\"\r\n", version);
    if (key) snprintf(headers + n, sizeof headers - (size_t)n, "Idempotency-Key: %s\r\n", key);
    return post(w, path, headers, "");
}

static int command(struct world *w, const char *name, int version) {
    return answer(command_post(w, name, version, NULL), &said);
}

static void submit(struct world *w) {
    static int serial;
    char body[600];
    snprintf(
        body, sizeof body,
        "{\"order_id\":\"O-1\",\"model\":\"M-1\",\"shipment_id\":\"S-1\",\"serial_number\":\"SN-%d\",\"location\":\"Lyon\","
        "\"cost\":{\"amount\":\"149.90\",\"currency\":\"EUR\"},\"customer_id\":\"C-1\",\"reason\":\"broken\"}",
        ++serial);
    assert_int_equal(answer(post(w, "", "Content-Type: application/json\r\n", body), &said), 202);
    snprintf(return_id, sizeof return_id, "%s", json_string_value(json_object_get(said, "return_id")));
}

static void execute(struct world *w, const char *sql) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run(c, sql);
    assert_int_equal(store_commit(c, &why), OK);
}

/* Every subscriber has passed every return that there is. */
static void all_is_handled(struct world *w) {
    execute(w, "UPDATE return_request SET partition = 0, record_offset = 0");
    execute(w, "DELETE FROM subscriber_offset");
    execute(w, "INSERT INTO subscriber_offset (team, partition, next_offset) VALUES ('sales', 0, 1)");
}

static int64_t now(struct world *w, const char *what) {
    char sql[300];
    snprintf(sql, sizeof sql, "SELECT %s WHERE return_id = '%s'", what, return_id);
    return world_int(w, sql);
}

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    w->name = "support";
    w->more[w->more_n++] = "--kafka=127.0.0.1:9"; /* deciding needs neither */
    w->registry_down = true;
    world_start(w, &service);
    submit(w);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    json_decref(said);
    said = NULL;
    return 0;
}

static void a_refusal_moves_no_version(void **state) {
    struct world *w = *state;
    assert_int_equal(command(w, "close", 1), 409);
    assert_int_equal(said_version(), 1);
    assert_int_equal(command(w, "cancel", 7), 412);
    assert_int_equal(said_version(), 1);
    assert_int_equal(now(w, "version FROM return_request"), 1);
    assert_int_equal(now(w, "COUNT(*) FROM audit"), 3);
    assert_int_equal(command(w, "cancel", 1), 200);
    assert_int_equal(said_version(), 2);
    assert_int_equal(command(w, "cancel", 2), 409);
    assert_int_equal(said_version(), 2);
}

static void of_many_who_cancel_and_close_one_wins(void **state) {
    struct world *w = *state;
    int fds[RACERS], won = 0;
    all_is_handled(w);
    for (int i = 0; i < RACERS; i++) fds[i] = command_post(w, i % 2 ? "cancel" : "close", 1, NULL);
    for (int i = 0; i < RACERS; i++) {
        int status = answer(fds[i], &said);
        won += status == 200;
        if (status != 200) assert_int_equal(status, 412);
        assert_int_equal(said_version(), 2);
    }
    assert_int_equal(won, 1);
    assert_int_equal(now(w, "version FROM return_request"), 2);
    assert_int_equal(now(w, "COUNT(*) FROM outbox"), 1 + RACERS);
}

static void what_is_refused_again_and_again_is_bounded(void **state) {
    struct world *w = *state;
    for (int i = 0; i < KEPT + 30; i++) {
        assert_int_equal(command(w, "close", 1), 409);
        const char *detail = json_string_value(json_object_get(said, "detail"));
        assert_true(!!strstr(detail, "kept in its history") == (i < KEPT));
    }
    assert_int_equal(now(w, "COUNT(*) FROM outbox"), 1 + KEPT);
    assert_int_equal(now(w, "COUNT(*) FROM audit"), 1 + KEPT);
    assert_int_equal(command(w, "cancel", 1), 200);
    assert_int_equal(command(w, "close", 1), 412); /* at another version it is kept again */
    assert_int_equal(now(w, "COUNT(*) FROM outbox"), 1 + KEPT + 2);
}

/* Also one that is not kept itself. */
static void a_key_gets_its_refusal_again(void **state) {
    struct world *w = *state;
    assert_int_equal(answer(command_post(w, "close", 1, "k1"), &said), 409);
    for (int i = 0; i < KEPT; i++) assert_int_equal(command(w, "close", 1), 409);
    assert_int_equal(answer(command_post(w, "close", 1, "k2"), &said), 409);
    all_is_handled(w);
    assert_int_equal(answer(command_post(w, "close", 1, "k1"), &said), 409);
    assert_int_equal(answer(command_post(w, "close", 1, "k2"), &said), 409);
    assert_int_equal(answer(command_post(w, "close", 1, "k3"), &said), 200);
}

static void a_version_that_cannot_be_counted_further_is_refused(void **state) {
    struct world *w = *state;
    char request[200];
    execute(w, "UPDATE return_request SET version = 9223372036854775807");
    snprintf(request, sizeof request, "/%s/cancel", return_id);
    assert_int_equal(answer(post(w, request, "If-Match: \"9223372036854775807\"\r\n", ""), &said), 409);
    assert_non_null(strstr(json_string_value(json_object_get(said, "detail")), "cannot be counted"));
    assert_int_equal(answer(post(w, request, "If-Match: *\r\n", ""), &said), 409);
    assert_int_equal(now(w, "COUNT(*) FROM outbox"), 3); /* the request, and what was refused */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_refusal_moves_no_version, setup, teardown),
        cmocka_unit_test_setup_teardown(of_many_who_cancel_and_close_one_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_refused_again_and_again_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_gets_its_refusal_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_version_that_cannot_be_counted_further_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
