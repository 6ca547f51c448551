/* Dead letters: what is kept and published of them, and their redrive. */
#include "helper_client.h"
#include "helper_probe.h"

#include "chassis/web/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static json_t *call(struct world *w, const char *method, const char *path, int status) {
    char request[500];
    int n = snprintf(
        request, sizeof request, "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method,
        path);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != status) fail_msg("%s %s: %s", method, path, a->text);
    return json_loads(a->body, 0, NULL);
}

static json_t *redrive(struct world *w, const char *id, const char *state) {
    char path[100];
    snprintf(path, sizeof path, "/api/dead-letters/%s/redrive", id);
    json_t *said = call(w, "POST", path, 200);
    if (state) assert_string_equal(json_string_value(json_object_get(said, "state")), state);
    return said;
}

static bool intact(struct world *w) {
    json_t *said = call(w, "GET", "/api/audit/verify", 200);
    bool yes = json_is_true(json_object_get(said, "intact"));
    json_decref(said);
    return yes;
}

static void
publish_raw(struct world *w, const void *key, size_t key_n, const void *value, size_t n, rd_kafka_headers_t *headers) {
    assert_int_equal(
        rd_kafka_producev(
            w->producer, RD_KAFKA_V_TOPIC("support.events"), RD_KAFKA_V_PARTITION(2), RD_KAFKA_V_KEY(key, key_n),
            RD_KAFKA_V_VALUE((void *)value, n), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
        0);
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
}

/* An Asked under a schema id that the registry does not tell of yet. Its event id is always the same. */
static int ask_ahead(struct world *w, int n) {
    struct failure why;
    struct schema *schema;
    struct buffer record = BUFFER(1000);
    char json[300];
    int id = world_schema_unread(w, ASKED);
    snprintf(
        json, sizeof json,
        "{\"event_id\":\"019a0000-0000-7000-8000-000000000007\",\"return_id\":\"R-1\",\"version\":1,\"occurred_at\":1,\"n\":%d}",
        n);
    json_t *value = json_loads(json, 0, NULL);
    assert_int_equal(schema_parse(ASKED, strlen(ASKED), &schema, &why), OK);
    frame_write(&record, id);
    assert_int_equal(codec_encode(schema, value, &record, &why), OK);
    world_publish(w, 2, "R-1", record.data, record.length);
    buffer_free(&record);
    json_decref(value);
    schema_free(&schema);
    return id;
}

struct letters {
    int n, tombstones, empty, binary;
};

static void header_is(const rd_kafka_message_t *m, const char *name, const char *expected) {
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    if (rd_kafka_header_get_last(headers, name, &value, &n)) fail_msg("no header %s", name);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(value, expected, n);
}

static void look_at_letter(const rd_kafka_message_t *m, void *context) {
    struct letters *l = context;
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;
    header_is(m, "dead-letter.service", "probe");
    header_is(m, "dead-letter.topic", "support.events");
    header_is(m, "dead-letter.partition", "2");
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    assert_int_equal(rd_kafka_header_get_last(headers, "dead-letter.reason", &value, &n), 0);
    assert_true(n > 10);
    l->tombstones += !m->payload;
    l->empty += m->payload && !m->len;
    l->n++;
    if (m->len != 4) return;
    l->binary++;
    header_is(m, "dead-letter.offset", "2");
    header_is(m, "plain", "ünï");
    assert_int_equal(rd_kafka_header_get_last(headers, "raw", &value, &n), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(value, "\xff\0\x01", 3);
    assert_int_equal(rd_kafka_header_get_last(headers, "none", &value, &n), 0);
    assert_null(value);
    assert_int_equal(m->key_len, 2);
    assert_memory_equal(m->key, "\xfe\0", 2);
    assert_memory_equal(m->payload, "\x07\0\xffx", 4);
}

static void a_dead_letter_is_published_as_it_came(void **state) {
    struct world *w = *state;
    struct letters letters = {0};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(3);
    rd_kafka_header_add(headers, "plain", -1, "ünï", -1);
    rd_kafka_header_add(headers, "raw", -1, "\xff\0\x01", 3);
    rd_kafka_header_add(headers, "none", -1, NULL, 0);
    world_start(w, &probe);
    publish_raw(w, "R-1", 3, NULL, 0, NULL);
    publish_raw(w, "R-1", 3, "", 0, NULL);
    publish_raw(w, "\xfe\0", 2, "\x07\0\xffx", 4, headers);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    assert_int_equal(world_read(w, "probe.dead-letters", 3, look_at_letter, &letters), 3);
    assert_int_equal(letters.tombstones, 1);
    assert_int_equal(letters.empty, 1);
    assert_int_equal(letters.binary, 1);
    json_t *page = call(w, "GET", "/api/dead-letters?limit=2", 200), *one;
    assert_int_equal(json_integer_value(json_object_get(page, "open")), 3);
    assert_int_equal(json_integer_value(json_object_get(page, "next")), 2);
    one = json_array_get(json_object_get(page, "dead_letters"), 0);
    assert_string_equal(json_string_value(json_object_get(one, "value")), "0700ff78");
    assert_string_equal(json_string_value(json_object_get(one, "state")), "open");
    one = json_array_get(json_object_get(page, "dead_letters"), 1);
    assert_string_equal(json_string_value(json_object_get(one, "value")), "");
    json_decref(page);
    page = call(w, "GET", "/api/dead-letters/1", 200);
    assert_true(json_is_null(json_object_get(page, "value")));
    json_decref(page);
    json_decref(call(w, "GET", "/api/dead-letters?before=x", 400));
    json_decref(call(w, "POST", "/api/dead-letters/99/redrive", 404));
    json_decref(call(w, "POST", "/api/dead-letters/1;/redrive", 404));
}

/* That it was is published too, with its place, for who waits for its return. */
static void count_redriven(const rd_kafka_message_t *m, void *context) {
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;
    header_is(m, "dead-letter.topic", "support.events");
    header_is(m, "dead-letter.partition", "2");
    header_is(m, "dead-letter.offset", "0");
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    *(int *)context += !rd_kafka_header_get_last(headers, "dead-letter.redriven", &value, &n);
}

/* Registered after all: it has its effect then, once, and a later event of its return did not wait for it. */
static void a_redrive_has_its_effect_once(void **state) {
    struct world *w = *state;
    int redriven = 0, other = world_schema(w, ASKED " ");
    (void)world_schema(w, ANSWERED);
    world_start(w, &probe);
    int id = ask_ahead(w, 7);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 1);
    json_decref(redrive(w, "1", "open")); /* not yet */
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'refused' AND topic IS NULL"), 1);
    assert_int_equal(world_schema(w, ASKED), id);
    world_publish_event(
        w, 2, other,
        "{\"event_id\":\"019a0000-0000-7000-8000-000000000008\",\"return_id\":\"R-1\",\"version\":1,\"occurred_at\":1,\"n\":8}");
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    json_t *page = call(w, "GET", "/api/dead-letters", 200);
    json_t *one = json_array_get(json_object_get(page, "dead_letters"), 0);
    assert_int_equal(json_integer_value(json_object_get(one, "later_handled")), 1);
    assert_non_null(strstr(json_string_value(json_object_get(one, "said")), "does not know the schema id"));
    json_decref(page);
    json_decref(redrive(w, "1", "redriven"));
    json_decref(redrive(w, "1", "redriven"));
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept WHERE n = 7"), 1);
    assert_int_equal(
        world_int(
            w, "SELECT COUNT(*) FROM audit WHERE topic IS NULL AND outcome = 'handled' AND actor = 'api' AND "
               "summary = 'redriven from support.events[2]@0: kept 7' AND return_id = 'R-1'"),
        1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), 4); /* quarantined, refused, 8, redriven */
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent' AND dead_letter IS NULL", 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent' AND dead_letter IS NOT NULL", 2);
    assert_int_equal(world_read(w, "probe.dead-letters", 2, count_redriven, &redriven), 2);
    assert_int_equal(redriven, 1);
    assert_true(intact(w));
}

/* The same event came again, and was handled, before its dead letter is redriven. */
static void a_redrive_of_what_was_handled_since_has_no_effect(void **state) {
    struct world *w = *state;
    (void)world_schema(w, ANSWERED);
    world_start(w, &probe);
    (void)ask_ahead(w, 7);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 1);
    (void)world_schema(w, ASKED);
    json_t *all = redrive(w, "all", NULL);
    assert_int_equal(json_integer_value(json_object_get(all, "redriven")), 1);
    json_decref(all);
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run(c, "UPDATE dead_letter SET state = 'open'"); /* as if two had asked at once */
    assert_int_equal(store_commit(c, &why), OK);
    json_t *said = redrive(w, "1", "redriven");
    assert_string_equal(json_string_value(json_object_get(said, "outcome")), "duplicate");
    json_decref(said);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox WHERE dead_letter IS NULL"), 1);
}

static void what_is_still_refused_stays_open(void **state) {
    struct world *w = *state;
    world_start(w, &probe);
    ask(w, 2, "R-1", -5);
    ask(w, 2, "R-1", 13);
    ask(w, 2, "R-1", 6);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    json_t *all = redrive(w, "all", NULL);
    assert_int_equal(json_integer_value(json_object_get(all, "open")), 2);
    assert_int_equal(json_integer_value(json_object_get(all, "redriven")), 0);
    json_decref(all);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM event_seen"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox WHERE dead_letter IS NULL"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open' AND said = reason"), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'refused' AND actor = 'api'"), 2);
    assert_true(intact(w));
}

/* A service that was started anew knows no schema yet: what one letter waits for in vain does not keep the next one. */
static void an_unknown_schema_does_not_use_up_the_time_of_other_letters(void **state) {
    struct world *w = *state;
    (void)world_schema(w, ANSWERED);
    world_start(w, &probe);
    publish_raw(w, "R-0", 3, "\0\0\0\0czz", 7, NULL); /* schema id 99 */
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 1);
    (void)ask_ahead(w, 7);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 2);
    world_stop(w);
    (void)world_schema(w, ASKED);
    w->more[w->more_n++] = "--unknown-id-ms=60000";
    world_start(w, &probe);
    json_t *all = redrive(w, "all", NULL);
    assert_int_equal(json_integer_value(json_object_get(all, "redriven")), 1);
    assert_int_equal(json_integer_value(json_object_get(all, "open")), 1);
    json_decref(all);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM kept WHERE n = 7"), 1);
    /* That it does not know the id, or, where it takes its time, that it is being asked. */
    assert_int_equal(
        world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE id = 1 AND said LIKE '%schema registry%'"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dead_letter_is_published_as_it_came, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_redrive_has_its_effect_once, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_redrive_of_what_was_handled_since_has_no_effect, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(what_is_still_refused_stays_open, probe_setup, probe_teardown),
        cmocka_unit_test_setup_teardown(
            an_unknown_schema_does_not_use_up_the_time_of_other_letters, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
