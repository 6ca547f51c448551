/* What Kafka denies is told, by its name, until it is given. */
#include "helper_probe.h"

#include "chassis/kafka/denial.h"
#include "chassis/kafka/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FETCH = 1, FIND_COORDINATOR = 10, JOIN_GROUP = 11, OFFSET_COMMIT = 8 };

static void deny(struct world *w, int request, int times, rd_kafka_resp_err_t error) {
    for (int i = 0; i < times; i++) rd_kafka_mock_push_request_errors(w->cluster, (int16_t)request, 1, error);
}

static void a_denied_group_is_named_until_it_is_given(void **state) {
    struct world *w = *state;
    deny(w, JOIN_GROUP, 3, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    world_start(w, &probe);
    world_await_health(w, "kafka rights", "waiting", "operation Read on the group \"probe\"");
    world_await_health(w, "kafka rights", "ok", "");
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
}

/* Of whose coordinator may not be asked; there is no topic in what librdkafka says of it. */
static void a_denied_coordinator_is_named_until_it_is_given(void **state) {
    struct world *w = *state;
    deny(w, FIND_COORDINATOR, 3, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    world_start(w, &probe);
    world_await_health(w, "kafka rights", "waiting", "operation Describe on the group \"probe\"");
    world_await_health(w, "kafka rights", "ok", "");
}

static void a_denied_topic_is_named_until_it_is_given(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    deny(w, FETCH, 4, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    world_await_health(w, "kafka rights", "waiting", "operation Read on the topic \"support.events\"");
    world_await_health(w, "kafka rights", "ok", "");
    ask(w, 0, "R-1", 2);
    world_await(w, "SELECT COUNT(*) FROM kept", 2);
}

static void a_denied_commit_is_named_until_it_is_given(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    deny(w, OFFSET_COMMIT, 2, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    ask(w, 0, "R-1", 2);
    world_await_health(w, "kafka rights", "waiting", "operation Read on the group \"probe\"");
    world_await_health(w, "kafka rights", "ok", "");
}

static void a_denied_write_is_named_until_it_is_given(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    world_await_health(w, "kafka", "ok", "");
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    break_with = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    break_times = 3;
    break_next_send = w->cluster;
    ask(w, 0, "R-1", 2);
    world_await_health(w, "kafka producer", "waiting", "operation Write on the topic \"probe.events\"");
    world_await_health(w, "kafka producer", "ok", "");
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 2);
}

/* As a rebuild reads: it would else be told the same for ever. */
static void a_reader_of_topics_names_what_is_denied(void **state) {
    struct world *w = *state;
    struct reader *r;
    rd_kafka_message_t *m;
    size_t n;
    struct failure why;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    assert_int_equal(reader_open(&r, &w->settings, &why), OK);
    assert_int_equal(reader_add(r, "support.events", &why), OK);
    deny(w, FETCH, 40, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(reader_get(r, reader_places(r, &n), 30000, &m, &why), RETRY);
    assert_non_null(strstr(why.text, "operation Read on the topic \"support.events\""));
    reader_close(&r);
}

/* --- Words */

static struct settings named(void) {
    static struct property properties[] = {{"sasl.username", "sales"}};
    return (struct settings){.kafka = "kafka:9092", .properties = properties, .properties_n = 1, .properties_given = 1};
}

static void a_denial_names_all_and_what_to_do(void **state) {
    (void)state;
    char text[DENIAL_TEXT], longest[250] = {0};
    const struct settings s = named();
    assert_string_equal(
        denial_text(&s, (struct right){"Read", "topic", "a.events"}, text),
        "Kafka denies User:sales the operation Read on the topic \"a.events\". Allow it, or remove the ACL that denies it: "
        "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal User:sales --operation Read --topic a.events");
    denial_text(&s, (struct right){"Describe", "cluster", ""}, text);
    assert_non_null(strstr(text, "on the cluster."));
    assert_non_null(strstr(text, "--operation Describe --cluster"));
    memset(longest, 'x', sizeof longest - 1);
    denial_text(&s, (struct right){"Read", "topic", longest}, text);
    assert_non_null(strstr(text, longest));
    assert_non_null(strstr(text, "see kafka-acls.sh"));
    assert_string_equal(denial_principal(&(struct settings){.kafka = "k"}, text), "this service's principal");
}

static void who_is_kept_out_is_told_so_wherever_it_waits(void **state) {
    (void)state;
    char text[DENIAL_TEXT];
    const struct settings s = named();
    const struct right right = {"Describe", "topic", "a.events"};
    denial_over();
    assert_false(denial_entry(&s, text));
    assert_false(denial_hear(RD_KAFKA_RESP_ERR__TRANSPORT, "Connection refused"));
    assert_true(denial_hear(
        RD_KAFKA_RESP_ERR__AUTHENTICATION,
        "sasl_ssl://kafka:9092/bootstrap: SASL authentication error: Invalid username or password (after 3ms in state AUTH_REQ)"));
    assert_non_null(strstr(denial_reason(&s, RD_KAFKA_RESP_ERR__TIMED_OUT, right, text), "does not let User:sales in"));
    assert_non_null(strstr(text, "Invalid username or password. See to"));
    assert_null(strstr(text, "AUTH_REQ"));
    assert_null(strstr(denial_reason(&s, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, right, text), "let"));
    denial_over();
    assert_false(denial_entry(&s, text));
}

/* librdkafka says the same of every certificate that is not believed. */
static void which_fault_a_certificate_has_is_told(void **state) {
    (void)state;
    static const struct {
        int number;
        const char *fault, *advice;
    } faults[] = {
        {19, "self-signed certificate in certificate chain (OpenSSL's error 19)", "ssl.ca.location"},
        {10, "certificate has expired (OpenSSL's error 10)", "needs a new one"},
        {62, "hostname mismatch (OpenSSL's error 62)", "by a host that its certificate is for"},
        {23, "certificate revoked (OpenSSL's error 23)", "openssl verify"},
    };
    const struct settings s = named();
    char text[DENIAL_TEXT], said[200];
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        int error = faults[i].number;
        assert_int_equal(denial_certificate(NULL, "k:9092", 1, &error, 0, NULL, 0, said, sizeof said, NULL), 0);
        assert_int_equal(error, faults[i].number);
        assert_true(denial_hear(
            RD_KAFKA_RESP_ERR__SSL,
            "ssl://k:9092/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: x (after 3ms)"));
        assert_true(denial_entry(&s, text));
        assert_non_null(strstr(text, faults[i].fault));
        assert_non_null(strstr(text, faults[i].advice));
    }
    int none = 0;
    assert_int_equal(denial_certificate(NULL, "k:9092", 1, &none, 0, NULL, 0, said, sizeof said, NULL), 1);
    assert_true(denial_hear(RD_KAFKA_RESP_ERR__SSL, "ssl://k:9092/1: SSL handshake failed: wrong version number"));
    assert_true(denial_entry(&s, text));
    assert_non_null(strstr(text, "wrong version number. See to security.protocol"));
    assert_null(strstr(text, "not believed"));
    denial_over();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_denial_names_all_and_what_to_do),
        cmocka_unit_test(who_is_kept_out_is_told_so_wherever_it_waits),
        cmocka_unit_test(which_fault_a_certificate_has_is_told),
        cmocka_unit_test_setup_teardown(a_denied_group_is_named_until_it_is_given, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_denied_coordinator_is_named_until_it_is_given, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_denied_topic_is_named_until_it_is_given, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_reader_of_topics_names_what_is_denied, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_denied_write_is_named_until_it_is_given, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_denied_commit_is_named_until_it_is_given, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
