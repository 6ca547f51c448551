/* The reader of topics: from where to where, and what it does where Kafka does not answer. */
#include "helper_probe.h"

#include "chassis/kafka/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FETCH = 1, WAIT_MS = 30000 };
static const char TOPIC[] = "support.events";

static struct reader *opened(struct world *w, struct place **places) {
    struct reader *r;
    struct failure why;
    size_t n;
    if (reader_open(&r, &w->settings, &why) != OK || reader_add(r, TOPIC, &why) != OK) fail_msg("%s", why.text);
    *places = reader_places(r, &n);
    return r;
}

static void publish(struct world *w, int partition, int n) {
    while (n--) world_publish(w, partition, "R-1", "x", 1);
}

/* How many there are from here on. Of each partition they come in order. */
static int read_rest(struct reader *r) {
    struct failure why;
    rd_kafka_message_t *m;
    int64_t next[64] = {0};
    int n = 0;
    verdict v;
    while ((v = reader_next(r, &m, &why)) == OK && m) {
        assert_true(m->offset >= next[m->partition]);
        next[m->partition] = m->offset + 1;
        rd_kafka_message_destroy(m);
        n++;
    }
    if (v != OK) fail_msg("%s", why.text);
    return n;
}

static void the_end_stays_until_it_is_moved(void **state) {
    struct world *w = *state;
    struct place *places;
    struct failure why;
    publish(w, 0, 3);
    publish(w, 1, 1);
    struct reader *r = opened(w, &places);
    publish(w, 0, 2);
    assert_int_equal(read_rest(r), 4);
    assert_int_equal(read_rest(r), 0);
    assert_int_equal(reader_extend(r, &why), OK);
    assert_int_equal(read_rest(r), 2);
    assert_int_equal(places[0].next, 5);
    reader_close(&r);
}

static void one_place_after_another_as_it_is_wanted(void **state) {
    struct world *w = *state;
    struct place *places;
    struct failure why;
    rd_kafka_message_t *m;
    publish(w, 0, 2);
    publish(w, 1, 2);
    struct reader *r = opened(w, &places);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(reader_get(r, &places[i % 2], WAIT_MS, &m, &why), OK);
        assert_int_equal(m->partition, i % 2);
        assert_int_equal(m->offset, i / 2);
        rd_kafka_message_destroy(m);
    }
    assert_int_equal(reader_get(r, &places[0], WAIT_MS, &m, &why), OK);
    assert_null(m);
    reader_close(&r);
}

static void what_is_followed_is_not_waited_for(void **state) {
    struct world *w = *state;
    struct place *places;
    struct failure why;
    rd_kafka_message_t *m;
    publish(w, 0, 1);
    struct reader *r = opened(w, &places);
    places[0].next = places[0].end;
    places[0].end = INT64_MAX;
    assert_int_equal(reader_get(r, &places[0], 0, &m, &why), OK);
    assert_null(m);
    publish(w, 0, 1);
    assert_int_equal(reader_get(r, &places[0], WAIT_MS, &m, &why), OK);
    assert_int_equal(m->offset, 1);
    rd_kafka_message_destroy(m);
    reader_close(&r);
}

static void what_is_gone_is_rejected(void **state) {
    struct world *w = *state;
    struct reader *r;
    struct failure why;
    rd_kafka_message_t *m;
    size_t n;
    publish(w, 0, 1);
    assert_int_equal(reader_open(&r, &w->settings, &why), OK);
    assert_int_equal(reader_add_part(r, TOPIC, 0, 100, 101, &why), OK);
    assert_int_equal(reader_get(r, reader_places(r, &n), WAIT_MS, &m, &why), REJECT);
    assert_non_null(strstr(why.text, "support.events[0] has no offset 100 any more"));
    reader_close(&r);
}

static void break_fetches(struct world *w, int n, rd_kafka_resp_err_t error) {
    while (n--) rd_kafka_mock_push_request_errors(w->cluster, FETCH, 1, error);
}

static void a_partition_that_moves_is_waited_for(void **state) {
    struct world *w = *state;
    struct place *places;
    publish(w, 0, 3);
    struct reader *r = opened(w, &places);
    break_fetches(w, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    break_fetches(w, 3, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
    assert_int_equal(read_rest(r), 3);
    reader_close(&r);
}

static void a_long_silence_is_said(void **state) {
    struct world *w = *state;
    struct place *places;
    struct failure why;
    rd_kafka_message_t *m;
    publish(w, 0, 3);
    struct reader *r = opened(w, &places);
    break_fetches(w, 5000, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    assert_int_equal(reader_get(r, &places[0], 1000, &m, &why), RETRY);
    assert_non_null(strstr(why.text, "did not give support.events[0] from offset 0 on within 1 s"));
    assert_null(m);
    reader_close(&r);
}

/* The service reads the same topic meanwhile. */
static int setup(void **state) {
    probe_setup(state);
    world_start(*state, &probe);
    return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, probe_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(the_end_stays_until_it_is_moved),      T(one_place_after_another_as_it_is_wanted),
        T(what_is_followed_is_not_waited_for),   T(what_is_gone_is_rejected),
        T(a_partition_that_moves_is_waited_for), T(a_long_silence_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
