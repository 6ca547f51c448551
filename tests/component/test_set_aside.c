/* What can never be published is set aside with its reason; nothing waits behind it, and what was taken is not sent
 * again. */
#include "helper_client.h"
#include "helper_fault.h"
#include "helper_probe.h"

#include "chassis/base/health.h"
#include "chassis/outgoing/delivery.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PRODUCE = 0, BIG = 5 << 20 };
#define E(name) RD_KAFKA_RESP_ERR_##name
#define SENT "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'"
#define ASIDE "SELECT COUNT(*) FROM outbox_state WHERE state = 'set aside'"

static json_t *call(struct world *w, const char *method, const char *path, int status) {
    char request[500];
    int n = snprintf(
        request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path,
        http_port(w->rt.http));
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != status) fail_msg("%s %s: %s", method, path, a->text);
    return json_loads(a->body, JSON_DECODE_ANY, NULL);
}

static void set_aside_is(struct world *w, int n, const char *reason) {
    json_t *status = call(w, "GET", "/api/status", 200), *outbox = json_object_get(status, "outbox");
    assert_int_equal(json_integer_value(json_object_get(outbox, "set_aside")), n);
    assert_int_equal(json_integer_value(json_object_get(outbox, "depth")), 0);
    json_t *one = json_array_get(json_object_get(outbox, "refused"), 0);
    if (n) assert_non_null(strstr(json_string_value(json_object_get(one, "reason")), reason));
    json_decref(status);
    if (n) world_await_health(w, "outbox", "failed", "set aside");
    assert_true(health_ready(w->rt.core.health)); /* it goes on accepting and handling */
}

struct order {
    int n;
    char ns[40];
};

static void note_n(const rd_kafka_message_t *m, void *context) {
    struct order *o = context;
    struct seen seen = {0};
    look_at(m, &seen);
    json_t *event = json_loads(seen.last_json, 0, NULL);
    if (o->n < (int)sizeof o->ns - 1) o->ns[o->n++] = (char)('a' + json_integer_value(json_object_get(event, "n")));
    json_decref(event);
}

/* Of one return, and so of one partition: in this order, and each once. */
static void assert_published(struct world *w, const char *ns) {
    struct order order = {0};
    assert_int_equal(world_records(w, "probe.events"), strlen(ns));
    world_read(w, "probe.events", (int)strlen(ns), note_n, &order);
    assert_string_equal(order.ns, ns);
}

/* All is in the outbox, and the next start publishes it. */
static void decided(struct world *w, int n) {
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM outbox", n);
    world_stop(w);
    w->registry_refuses = false;
}

/* So many of one return. Behind the first they go out together. */
static void ask_together(struct world *w, int n) {
    w->registry_refuses = true;
    w->more[w->more_n++] = "-Xlinger.ms=100";
    for (int i = 0; i < n; i++) ask(w, 0, "R-1", i);
    decided(w, n);
}

/* What each of the next requests is answered. */
static void answers(struct world *w, const rd_kafka_resp_err_t *errors, size_t n) {
    for (size_t i = 0; i < n; i++) rd_kafka_mock_push_request_errors(w->cluster, PRODUCE, 1, errors[i]);
}
#define ANSWERS(w, ...)                                                                                                \
    answers(                                                                                                           \
        w, (const rd_kafka_resp_err_t[]){__VA_ARGS__},                                                                 \
        sizeof((const rd_kafka_resp_err_t[]){__VA_ARGS__}) / sizeof(rd_kafka_resp_err_t))

static void the_guilty_one_of_a_batch(void **state) {
    struct world *w = *state;
    static const rd_kafka_resp_err_t refusals[] = {E(MSG_SIZE_TOO_LARGE), E(RECORD_LIST_TOO_LARGE), E(INVALID_MSG_SIZE),
                                                   E(INVALID_TIMESTAMP),  E(POLICY_VIOLATION),      E(INVALID_RECORD)};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) assert_true(delivery_refuses(refusals[i]));
    ask_together(w, 4);
    /* a, the first; the others together; b alone; c alone */
    ANSWERS(w, E(NO_ERROR), E(INVALID_RECORD), E(NO_ERROR), E(INVALID_RECORD));
    world_start(w, &probe);
    world_await(w, SENT, 3);
    assert_published(w, "abd");
    set_aside_is(w, 1, "Kafka refused it");
    assert_int_equal(world_int(w, "SELECT id FROM outbox_state WHERE state = 'set aside'"), 3);
}

/* Each is small enough, and all together are not. */
static void a_batch_of_innocent_ones(void **state) {
    struct world *w = *state;
    ask_together(w, 4);
    ANSWERS(w, E(NO_ERROR), E(MSG_SIZE_TOO_LARGE)); /* the first; the others together */
    world_start(w, &probe);
    world_await(w, SENT, 4);
    ask(w, 0, "R-1", 4);
    world_await(w, SENT, 5);
    assert_published(w, "abcde");
    set_aside_is(w, 0, "");
}

/* A broker takes whatever comes first of a new producer, as the mock cluster takes everything: so nothing of a return
 * may be on its way behind the first, be that refused or have to wait. */
static void nothing_overtakes_a_first_record(struct world *w, rd_kafka_resp_err_t error) {
    ask_together(w, 8);
    w->more[w->more_n++] = "-Xbatch.num.messages=2";
    ANSWERS(w, error);
    world_start(w, &probe);
}

static void nothing_overtakes_a_first_record_that_is_refused(void **state) {
    struct world *w = *state;
    nothing_overtakes_a_first_record(w, E(MSG_SIZE_TOO_LARGE));
    world_await(w, SENT, 7);
    assert_published(w, "bcdefgh");
    set_aside_is(w, 1, "too large");
}

static void nothing_overtakes_a_first_record_that_waits(void **state) {
    struct world *w = *state;
    nothing_overtakes_a_first_record(w, E(NOT_ENOUGH_REPLICAS));
    world_await(w, SENT, 8);
    assert_published(w, "abcdefgh");
}

static void each_of_them(void **state) {
    struct world *w = *state;
    ask_together(w, 3);
    for (int i = 0; i < 3; i++) ANSWERS(w, E(MSG_SIZE_TOO_LARGE));
    world_start(w, &probe);
    world_await(w, ASIDE, 3);
    ask(w, 0, "R-1", 3);
    world_await(w, SENT, 1);
    assert_published(w, "d");
    set_aside_is(w, 3, "too large");
    json_decref(call(w, "POST", "/api/outbox/send-again", 200));
    world_await(w, SENT, 4);
    assert_published(w, "dabc");
    set_aside_is(w, 0, "");
    world_await_health(w, "outbox", "ok", "nothing");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE action = 'send again'"), 1);
}

/* What passes is tried again, and what was taken meanwhile is not sent again. */
static void a_passing_error_beside(void **state) {
    struct world *w = *state;
    w->registry_refuses = true;
    for (int i = 0; i < 6; i++) {
        char id[] = {'R', '-', (char)('0' + i), 0};
        ask(w, i, id, i);
    }
    decided(w, 6);
    ANSWERS(w, E(TOPIC_AUTHORIZATION_FAILED));
    world_start(w, &probe);
    world_await(w, SENT, 6);
    set_aside_is(w, 0, "");
    assert_int_equal(world_records(w, "probe.events"), 6);
    break_times = 3; /* alone, it is still not at fault */
    break_next_send = w->cluster;
    ask(w, 0, "R-1", 6);
    world_await(w, SENT, 7);
    set_aside_is(w, 0, "");
    assert_int_equal(world_records(w, "probe.events"), 7);
}

static void spoil(struct world *w, const char *sql) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run_values(c, sql, NULL, 0);
    assert_int_equal(store_commit(c, &why), OK);
}

/* An event of 3 kB, and a small one behind it. */
static void large_and_small(struct world *w) {
    w->registry_refuses = true;
    ask(w, 0, "R-1", 1);
    ask(w, 0, "R-1", 2);
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM outbox", 2);
    spoil(w, "UPDATE outbox SET body = zeroblob(3000) WHERE id = 1");
    world_stop(w);
    w->registry_refuses = false;
}

static void await_behind(struct world *w, const char *reason) {
    world_start(w, &probe);
    world_await(w, SENT, 1);
    assert_int_equal(world_int(w, "SELECT id FROM outbox_state WHERE state = 'sent'"), 2);
    world_await(w, ASIDE, 1);
    set_aside_is(w, 1, reason);
}

static void larger_than_the_producer_takes(void **state) {
    struct world *w = *state;
    large_and_small(w);
    w->more[w->more_n++] = "-Xmessage.max.bytes=2000";
    await_behind(w, "too large");
}

/* It is "full" for that one for ever. */
static void larger_than_the_producers_queue(void **state) {
    struct world *w = *state;
    large_and_small(w);
    w->more[w->more_n++] = "-Xqueue.buffering.max.kbytes=2";
    await_behind(w, "full");
}

/* --- Dead letters */

static void publish_big(struct world *w, size_t key_n, size_t header_n, int headers, size_t value_n) {
    char *bytes = malloc(BIG * 2L), *key = malloc(key_n + 1);
    memset(bytes, 0xfe, BIG * 2L);
    memset(key, 'K', key_n + 1);
    rd_kafka_headers_t *all = rd_kafka_headers_new(4);
    for (int i = 0; i < headers; i++) rd_kafka_header_add(all, "big", -1, bytes, (ssize_t)header_n);
    rd_kafka_header_add(all, "small", -1, "s", 1);
    assert_int_equal(
        rd_kafka_producev(
            w->producer, RD_KAFKA_V_TOPIC("support.events"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY(key, key_n),
            RD_KAFKA_V_VALUE(bytes, value_n), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(all),
            RD_KAFKA_V_END),
        0);
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
    assert_int_equal(w->delivered, 0);
    free(bytes);
    free(key);
}

static void note_headers(const rd_kafka_message_t *m, void *context) {
    char *out = context;
    rd_kafka_headers_t *all;
    const char *name;
    const void *value;
    size_t n;
    *out = '\0';
    assert_int_equal(rd_kafka_message_headers(m, &all), 0);
    for (size_t i = 0; !rd_kafka_header_get_all(all, i, &name, &value, &n); i++)
        if (n < 100) sprintf(out + strlen(out), "%s=%.*s ", name, (int)n, (const char *)value);
}

static void letter_has(struct world *w, const char *header) {
    char headers[4000];
    world_await(w, SENT, 2);
    assert_int_equal(world_records(w, "probe.dead-letters"), 1);
    assert_int_equal(world_read(w, "probe.dead-letters", 1, note_headers, headers), 1);
    if (!strstr(headers, header)) fail_msg("no \"%s\" in: %s", header, headers);
    set_aside_is(w, 0, "");
}

static void two_headers_of_5_mb(void **state) {
    struct world *w = *state;
    publish_big(w, 3, BIG, 2, 8);
    ask(w, 0, "R-1", 2);
    world_start(w, &probe);
    letter_has(w, "dead-letter.omitted-headers=1 ");
    letter_has(w, "small=s");
}

static void a_key_of_9_mb(void **state) {
    struct world *w = *state;
    publish_big(w, 9 << 20, 1, 0, 8);
    ask(w, 0, "R-1", 2);
    world_start(w, &probe);
    letter_has(w, "dead-letter.omitted-key-bytes=9437184 ");
}

/* The topic takes less than it was made for: what came with it is left out, and the letter goes all the same. */
static void a_letter_that_is_refused(void **state) {
    struct world *w = *state;
    w->registry_refuses = true;
    publish_big(w, 3, 1, 0, 5000);
    decided(w, 1);
    ANSWERS(w, E(MSG_SIZE_TOO_LARGE), E(MSG_SIZE_TOO_LARGE));
    world_start(w, &probe);
    world_await(w, SENT, 1);
    ask(w, 0, "R-1", 2);
    letter_has(w, "dead-letter.omitted-bytes=5000 ");
}

/* librdkafka takes the success of the second batch for the first's too. */
static void letters_that_no_broker_said_it_took(void **state) {
    struct world *w = *state;
    w->registry_refuses = true;
    for (int i = 0; i < 6; i++) publish_big(w, 3, 1, 0, 8);
    decided(w, 6);
    w->more[w->more_n++] = "-Xbatch.num.messages=2";
    ANSWERS(w, E(NOT_ENOUGH_REPLICAS));
    world_start(w, &probe);
    world_await(w, SENT, 6);
    int there = world_records(w, "probe.dead-letters");
    if (there < 6) fail_msg("only %d of 6 are in the topic", there); /* or more: each at least once */
    set_aside_is(w, 0, "");
}

static void a_letter_that_cannot_be_read(struct world *w, const char *sql, const char *reason) {
    w->registry_refuses = true;
    publish_big(w, 3, 1, 0, 8);
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM outbox", 1);
    spoil(w, sql);
    ask(w, 0, "R-1", 2);
    world_await(w, "SELECT COUNT(*) FROM outbox", 2);
    world_stop(w);
    w->registry_refuses = false;
    world_start(w, &probe);
    world_await(w, SENT, 1);
    world_await(w, ASIDE, 1);
    set_aside_is(w, 1, reason);
}

static void letters_headers_that_cannot_be_read(void **state) {
    a_letter_that_cannot_be_read(*state, "UPDATE dead_letter SET headers = '[[\"a\"'", "cannot be read");
}

static void a_letter_that_is_gone(void **state) {
    a_letter_that_cannot_be_read(*state, "DELETE FROM dead_letter", "there is no dead letter");
}

/* Memory may be there again: nothing is set aside for want of it, and the want is not met at full speed. */
static void a_letter_without_memory(void **state) {
    enum { TRIED_MS = 3000, TRIES = 12 }; /* six, as the pause begins at 0.1 s and doubles */
    struct world *w = *state;
    world_start(w, &probe);
    world_await_health(w, "schemas", "ok", "");
    world_await_health(w, "kafka producer", "ok", "");
    fault_thread = "relay";
    fault_arm(FAULT_JSON, 1, 0, true);
    publish_big(w, 3, 1, 0, 8);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 1);
    world_await_health(w, "kafka producer", "waiting", "out of memory");
    usleep(TRIED_MS * 1000); /* the longer it takes, the fewer there are */
    int tries = fault_count();
    fault_mend();
    fault_thread = NULL;
    if (tries > TRIES) fail_msg("%d tries", tries);
    world_await(w, SENT, 1);
    world_await_health(w, "kafka producer", "ok", "publishes");
    set_aside_is(w, 0, "");
    assert_int_equal(world_records(w, "probe.dead-letters"), 1);
}

int main(int argc, char *argv[]) {
    fault_json();
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_guilty_one_of_a_batch, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_batch_of_innocent_ones, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(nothing_overtakes_a_first_record_that_is_refused, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(nothing_overtakes_a_first_record_that_waits, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(each_of_them, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_passing_error_beside, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(larger_than_the_producer_takes, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(larger_than_the_producers_queue, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(two_headers_of_5_mb, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_key_of_9_mb, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(letters_that_no_broker_said_it_took, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_letter_that_is_refused, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(letters_headers_that_cannot_be_read, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_letter_that_is_gone, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_letter_without_memory, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
