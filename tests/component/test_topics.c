/* What lies in Kafka, looked at from outside. */
#include "helper_probe.h"

#include "chassis/kafka/raw.h"
#include "chassis/kafka/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct gathered {
    struct reader *reader;
    int n, unreadable;
    int64_t sum, next[64];
    char header[100], type[100], key[100];
};

static verdict gather(void *context, const rd_kafka_message_t *m, struct failure *why) {
    struct gathered *g = context;
    json_auto_t *data = NULL;
    const char *type = NULL;
    verdict v = reader_decode(g->reader, m, &type, &data, why);
    if (v != OK && v != REJECT) return v;
    g->n++;
    assert_int_equal(m->offset, g->next[m->partition]++);
    if (!data) {
        g->unreadable++;
        return OK;
    }
    g->sum += json_integer_value(json_object_get(data, "n"));
    snprintf(g->type, sizeof g->type, "%s", type);
    snprintf(g->key, sizeof g->key, "%.*s", (int)m->key_len, m->key ? (const char *)m->key : "");
    message_header(m, "ce_sequence", g->header, sizeof g->header);
    return OK;
}

static struct gathered opened(const struct settings *s, const char *topic) {
    struct gathered g = {0};
    struct failure why;
    verdict v = reader_open(&g.reader, s, &why);
    if (v == OK) v = reader_add(g.reader, topic, &why);
    if (v != OK) fail_msg("%s", why.text);
    return g;
}

static struct gathered read_with(const struct settings *s, const char *topic) {
    struct gathered g = opened(s, topic);
    struct failure why;
    if (reader_each(g.reader, gather, &g, &why) != OK) fail_msg("%s", why.text);
    reader_close(&g.reader);
    return g;
}

static struct gathered read_all(struct world *w, const char *topic) {
    return read_with(&w->settings, topic);
}

static void every_record_is_read_once_and_decoded(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    for (int i = 1; i <= 12; i++) ask(w, i % 4, "R-1", i);
    world_publish(w, 2, "R-2", "\7bad", 4);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 13);
    struct gathered asked = read_all(w, "support.events"), answered = read_all(w, "probe.events");
    assert_int_equal(asked.n, 13);
    assert_int_equal(asked.unreadable, 1);
    assert_int_equal(asked.sum, 78);
    assert_int_equal(answered.n, 12);
    assert_int_equal(answered.sum, 78);
    assert_string_equal(answered.type, "returns.probe.Answered");
    assert_string_equal(answered.key, "R-1");
    assert_int_equal(strlen(answered.header), 19);
    assert_int_equal(read_all(w, "probe.dead-letters").n, 1);
}

/* What a slow registry stumbles over is asked for again, and is not taken for something that nobody can read. */
static void a_registry_that_stumbles_makes_nothing_unreadable(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    struct settings patient = w->settings;
    patient.unknown_id_ms = 10000;
    w->registry_stumbles = 4;
    struct gathered answered = read_with(&patient, "probe.events");
    assert_int_equal(w->registry_stumbles, 0);
    assert_int_equal(answered.n, 1);
    assert_int_equal(answered.unreadable, 0);
}

static void the_owners_of_topics_are_found_by_their_ending(void **state) {
    struct world *w = *state;
    struct reader *r;
    struct failure why;
    json_t *names = NULL;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    assert_int_equal(reader_open(&r, &w->settings, &why), OK);
    assert_int_equal(reader_owners(r, &topic_spec_events, &names, &why), OK);
    char *text = json_dumps(names, JSON_COMPACT);
    assert_non_null(strstr(text, "\"support\""));
    assert_non_null(strstr(text, "\"probe\""));
    assert_null(strstr(text, "dead-letters"));
    free(text);
    json_decref(names);
    reader_close(&r);
}

static void an_outage_is_said(void **state) {
    struct world *w = *state;
    struct failure why;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    struct gathered g = opened(&w->settings, "probe.events");
    w->registry_down = true;
    assert_int_equal(reader_each(g.reader, gather, &g, &why), RETRY);
    assert_non_null(strstr(why.text, w->registry_url));
    assert_int_equal(g.n, 0);
    reader_close(&g.reader);
}

static void a_reading_can_be_stopped(void **state) {
    struct world *w = *state;
    struct failure why;
    atomic_bool stop = false;
    world_start(w, &probe);
    for (int i = 1; i <= 12; i++) ask(w, 0, "R-1", i);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 12);
    struct gathered g = opened(&w->settings, "probe.events");
    reader_stop(g.reader, &stop);
    stop = true;
    assert_int_equal(reader_each(g.reader, gather, &g, &why), RETRY);
    assert_int_equal(g.n, 1);
    assert_int_equal(reader_add(g.reader, "probe.events", &why), RETRY);
    reader_close(&g.reader);
}

/* Kafka says no to a group, and there is no topic in its answer. Whoever reads by offsets needs none. */
static void a_reading_needs_no_right_on_any_group(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    for (int i = 1; i <= 12; i++) ask(w, i % 4, "R-1", i);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 12);
    for (int i = 0; i < 1000; i++)
        rd_kafka_mock_push_request_errors(
            w->cluster, 10 /* FindCoordinator */, 1, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    assert_int_equal(read_all(w, "support.events").n, 12);
    assert_int_equal(read_all(w, "probe.events").n, 12);
}

/* Each read of a partition is refused. */
static void a_denied_reading_names_the_topic_and_the_right(void **state) {
    struct world *w = *state;
    struct failure why;
    world_start(w, &probe);
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    struct gathered g = opened(&w->settings, "probe.events");
    for (int i = 0; i < 100; i++)
        rd_kafka_mock_push_request_errors(w->cluster, 1 /* Fetch */, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(reader_each(g.reader, gather, &g, &why), RETRY);
    assert_non_null(strstr(why.text, "operation Read on the topic"));
    assert_non_null(strstr(why.text, "\"probe.events\""));
    reader_close(&g.reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_record_is_read_once_and_decoded, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_registry_that_stumbles_makes_nothing_unreadable, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(the_owners_of_topics_are_found_by_their_ending, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(an_outage_is_said, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_reading_can_be_stopped, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_reading_needs_no_right_on_any_group, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_denied_reading_names_the_topic_and_the_right, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
