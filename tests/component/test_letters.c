/* What a team has put aside, support reads from the team's dead letters: that return is not handled, needs attention
 * and leads to the letter, until the team has published something about it. */
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

extern const struct service service; /* support's declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static struct service own;

static int setup(void **state) {
    static const char *const topics[] = {
        "sales.events", "support.dead-letters", "support.snapshots", "sales.dead-letters"};
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    for (int i = 0; i < 4; i++) assert_int_equal(rd_kafka_mock_topic_create(w->cluster, topics[i], 6, 1), 0);
    w->name = "support";
    own = service;
    own.watch_subscribers = false; /* librdkafka 2.0 leaks a queue when it ends in the middle of such a question */
    world_start(w, &own);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

/* --- Asking */

/* Of what is asked for by method and path; in the test's own memory until the next one. */
static struct answer *ask(struct world *w, const char *method, const char *path, const char *headers) {
    struct buffer request = BUFFER(20000);
    int port = http_port(w->rt.http);
    buffer_format(
        &request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n%sContent-Length: 0\r\n\r\n", method,
        path, port, headers);
    int fd = client_open(port);
    assert_true(client_send(fd, request.data, request.length));
    struct answer *a = client_read(fd, false);
    close(fd);
    buffer_free(&request);
    return a;
}

static json_t *ask_json(struct world *w, const char *path) {
    struct answer *a = ask(w, "GET", path, "");
    if (a->status != 200) fail_msg("%s: %d", path, a->status);
    return json_loads(a->body, 0, NULL);
}

static void assert_text(const json_t *object, const char *name, const char *expected) {
    assert_string_equal(json_string_value(json_object_get(object, name)), expected);
}

/* As a team's relay publishes it. */
static void put_aside(struct world *w, const char *topic, const char *offset, const char *reason) {
    char value[] = "x";
    assert_int_equal(
        rd_kafka_producev(
            w->producer, RD_KAFKA_V_TOPIC("sales.dead-letters"), RD_KAFKA_V_PARTITION(2), RD_KAFKA_V_KEY("R-1", 3),
            RD_KAFKA_V_VALUE(value, 1), RD_KAFKA_V_HEADER("dead-letter.reason", reason, -1),
            RD_KAFKA_V_HEADER("dead-letter.service", "sales", -1), RD_KAFKA_V_HEADER("dead-letter.topic", topic, -1),
            RD_KAFKA_V_HEADER("dead-letter.partition", "0", -1), RD_KAFKA_V_HEADER("dead-letter.offset", offset, -1),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
        0);
}

static void execute(struct world *w, const char *sql) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run(c, sql);
    assert_int_equal(store_commit(c, &why), OK);
}

/* Sales has passed two returns, whose requests are in its topic. */
static void two_are_passed(struct world *w) {
    world_request(w, "R-1", "O-1", "SN-1");
    world_request(w, "R-2", "O-2", "SN-2");
    world_await(w, "SELECT COUNT(*) FROM return_request WHERE record_offset IS NOT NULL", 2);
    execute(w, "INSERT INTO subscriber_offset (team, partition, next_offset) VALUES ('sales', 0, 2)");
}

static void assert_is(struct world *w, const char *path, const char *status, bool attention) {
    json_t *one = ask_json(w, path);
    assert_text(one, "status", status);
    assert_int_equal(json_is_true(json_object_get(one, "attention")), attention);
    json_decref(one);
}

static void assert_totals(struct world *w, int handled, int attention) {
    json_t *board = ask_json(w, "/api/board"), *totals = json_object_get(board, "totals");
    assert_int_equal(json_integer_value(json_object_get(totals, "handled_by_all")), handled);
    assert_int_equal(json_integer_value(json_object_get(totals, "waiting")), 2 - handled);
    assert_int_equal(json_integer_value(json_object_get(totals, "attention")), attention);
    json_decref(board);
}

static void what_is_put_aside_is_not_handled(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    execute(w, "INSERT INTO subscriber_offset (team, partition, next_offset) VALUES ('accounting', 0, 2)");
    assert_is(w, "/api/returns/R-1", "handled", false);
    assert_totals(w, 2, 0);
    put_aside(w, "other.events", "0", "of another topic");
    put_aside(w, "support.events", "0", "no <stock>");
    put_aside(w, "support.events", "0", "no <stock>"); /* a letter may be there twice */
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    assert_is(w, "/api/returns/R-1", "requested", true);
    assert_is(w, "/api/returns/R-1?version=1", "requested", true);
    assert_is(w, "/api/returns/R-2", "handled", false);
    assert_totals(w, 1, 1);
    const char *page = ask(w, "GET", "/returns/R-1", "")->body;
    assert_non_null(strstr(page, "It needs attention."));
    assert_non_null(strstr(page, "no &lt;stock&gt;"));
    assert_non_null(strstr(page, " sales could not handle it"));
    assert_non_null(strstr(page, "Look at what sales has put aside"));
    assert_null(strstr(page, "accounting could not handle it")); /* it did its part */
    assert_null(strstr(page, "Nothing is left"));
    assert_non_null(strstr(ask(w, "GET", "/returns/R-2", "")->body, "Nothing is left to do"));
}

static void cancel(struct world *w) {
    static const char text[] =
        "POST /api/returns/R-1/cancel HTTP/1.1\r\nHost: h\r\nIf-Match: *\r\nContent-Type: application/json\r\n"
        "Content-Length: 10\r\nConnection: close\r\n\r\n{\"by\":\"x\"}";
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, text, sizeof text - 1));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status / 100 != 2) fail_msg("%s", a->text);
}

/* Before it was cancelled it needed attention; and its newest version is now. */
static void what_was_put_aside_and_is_cancelled_was_not_handled(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    put_aside(w, "support.events", "0", "no stock");
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    assert_is(w, "/api/returns/R-1", "requested", true);
    cancel(w);
    assert_is(w, "/api/returns/R-1?version=1", "requested", true);
    json_t *now = ask_json(w, "/api/returns/R-1"), *then = ask_json(w, "/api/returns/R-1?version=2");
    assert_text(now, "status", "cancelled");
    json_t *team = json_array_get(json_object_get(now, "teams"), 0);
    assert_true(json_is_false(json_object_get(team, "handled")));
    assert_null(json_object_get(team, "put_aside"));
    assert_true(json_equal(json_object_get(now, "teams"), json_object_get(then, "teams")));
    assert_true(json_equal(json_object_get(now, "attention"), json_object_get(then, "attention")));
    json_decref(now);
    json_decref(then);
}

/* Redriven, it has its effect, of which the team tells. */
static void what_was_redriven_is_handled(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    put_aside(w, "support.events", "0", "no stock");
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    world_publish_as(
        w, "sales.events", "sales/OrderRefunded",
        json_pack("{s:s, s:s, s:s}", "return_id", "R-1", "order_id", "O-1", "serial_number", "SN-1"));
    world_await(w, "SELECT COUNT(*) FROM history WHERE team = 'sales'", 1);
    assert_is(w, "/api/returns/R-1", "handled", false);
    assert_totals(w, 2, 0);
}

/* As above, of what a rebuild rejected. */
static void taken_back(struct world *w, const char *answered_at, const char *redriven) {
    char value[] = "x";
    assert_int_equal(
        rd_kafka_producev(
            w->producer, RD_KAFKA_V_TOPIC("sales.dead-letters"), RD_KAFKA_V_PARTITION(2), RD_KAFKA_V_KEY("R-1", 3),
            RD_KAFKA_V_VALUE(value, 1), RD_KAFKA_V_HEADER("dead-letter.reason", "no stock", -1),
            RD_KAFKA_V_HEADER("dead-letter.topic", "support.events", -1),
            RD_KAFKA_V_HEADER("dead-letter.partition", "0", -1), RD_KAFKA_V_HEADER("dead-letter.offset", "0", -1),
            RD_KAFKA_V_HEADER("dead-letter.answered-at", answered_at, -1),
            RD_KAFKA_V_HEADER("dead-letter.redriven", redriven, -1), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_END),
        0);
}

/* What the team published before counts no more, until it says that the return has its effect again. */
static void what_a_rebuild_takes_back_needs_attention(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    world_publish_as(
        w, "sales.events", "sales/OrderRefunded",
        json_pack("{s:s, s:s, s:s}", "return_id", "R-1", "order_id", "O-1", "serial_number", "SN-1"));
    world_await(w, "SELECT COUNT(*) FROM history WHERE team = 'sales'", 1);
    assert_is(w, "/api/returns/R-1", "handled", false);
    char answered[TIME_TEXT];
    time_text(world_int(w, "SELECT at FROM history WHERE team = 'sales'"), answered);
    taken_back(w, answered, "");
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    assert_is(w, "/api/returns/R-1", "requested", true);
    assert_is(w, "/api/returns/R-1?version=1", "requested", true);
    assert_totals(w, 1, 1);
    usleep(5000); /* Kafka's timestamps tell which is the newer one */
    taken_back(w, answered, "true");
    world_await(w, "SELECT COUNT(*) FROM letter WHERE redriven = 1", 1);
    assert_is(w, "/api/returns/R-1", "handled", false);
    assert_totals(w, 2, 0);
}

/* Nor need the team publish anything about the return. What is put aside again counts. */
static void what_was_redriven_and_publishes_nothing_is_handled(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    put_aside(w, "support.events", "0", "no stock");
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    assert_is(w, "/api/returns/R-1", "requested", true);
    usleep(5000);
    taken_back(w, "", "true");
    world_await(w, "SELECT COUNT(*) FROM letter WHERE redriven = 1", 1);
    assert_is(w, "/api/returns/R-1", "handled", false);
    assert_is(w, "/api/returns/R-1?version=1", "handled", false);
    assert_totals(w, 2, 0);
    usleep(5000);
    put_aside(w, "support.events", "0", "no stock");
    world_await(w, "SELECT COUNT(*) FROM letter WHERE redriven = 0", 1);
    assert_is(w, "/api/returns/R-1", "requested", true);
    assert_totals(w, 1, 1);
}

/* Topics have partitions, so the redrive may be read first, and both may be of one ms. */
static void in_whatever_order_letters_are_read(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    for (int i = 0; i < 4; i++) {
        struct put_aside put = {.service = "sales", .at = 100, .reason = "no stock"}, done = put;
        struct failure why;
        struct connection *c = store_begin(w->rt.core.store);
        done.at = i < 2 ? 200 : 100, done.redriven = true;
        (void)store_run(c, "DELETE FROM letter");
        own.put_aside(c, i % 2 ? &put : &done);
        own.put_aside(c, i % 2 ? &done : &put);
        assert_int_equal(store_commit(c, &why), OK);
        assert_is(w, "/api/returns/R-1", "handled", false);
    }
}

/* The letters are in Kafka: support reads them again. */
static void a_lost_table_is_read_again(void **state) {
    struct world *w = *state;
    two_are_passed(w);
    put_aside(w, "support.events", "0", "no stock");
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    execute(w, "DELETE FROM letter");
    world_stop(w);
    own.watch_subscribers = false;
    world_start(w, &own);
    world_await(w, "SELECT COUNT(*) FROM letter", 1);
    assert_is(w, "/api/returns/R-1", "requested", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_aside_is_not_handled, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_put_aside_and_is_cancelled_was_not_handled, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_redriven_is_handled, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_rebuild_takes_back_needs_attention, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_redriven_and_publishes_nothing_is_handled, setup, teardown),
        cmocka_unit_test_setup_teardown(in_whatever_order_letters_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_table_is_read_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
