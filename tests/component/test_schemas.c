/* Schemas that are given to a running program: used once the registry has them, and never in the way. */
#include "helper_probe.h"

#include "chassis/avro/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What is new comes first, so that bytes of the one make no sense by the other; n is dropped. */
#define GIVEN                                                                                                          \
    "{\"type\":\"record\",\"name\":\"Answered\",\"namespace\":\"returns.probe\",\"fields\":["                          \
    "{\"name\":\"added\",\"type\":\"string\",\"default\":\"by default\"}," COMMON "]}"

static char folder_flag[200];

/* A folder with one file, in the world's own. */
static void give(struct world *w, const char *name, const char *text) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    snprintf(folder_flag, sizeof folder_flag, "--schemas=%s", w->folder);
    w->more[0] = folder_flag;
    w->more_n = 1;
}

struct read {
    struct world *w;
    char events[10][400];
    int n;
};

/* Decoded by the schema that its frame names, as every reader does. */
static void read_one(const rd_kafka_message_t *m, void *context) {
    struct read *r = context;
    int32_t id;
    const void *body;
    size_t n;
    struct failure why;
    struct schema *schema;
    json_t *event;
    assert_int_equal(frame_read(m->payload, m->len, &id, &body, &n, &why), OK);
    assert_in_range(id, 1, r->w->schemas_n);
    const char *text = r->w->schemas[id - 1];
    assert_int_equal(schema_parse(text, strlen(text), &schema, &why), OK);
    if (codec_decode(schema, body, n, &event, &why) != OK) fail_msg("%s", why.text);
    char *json = json_dumps(event, JSON_COMPACT);
    snprintf(r->events[r->n++], sizeof r->events[0], "%s", json);
    free(json);
    json_decref(event);
    schema_free(&schema);
}

static const char *event_of(const struct read *r, const char *return_id) {
    char member[100];
    snprintf(member, sizeof member, "\"return_id\":\"%s\"", return_id);
    for (int i = 0; i < r->n; i++)
        if (strstr(r->events[i], member)) return r->events[i];
    fail_msg("there is no event of %s", return_id);
    return "";
}

static void what_was_decided_by_one_schema_is_sent_by_it(void **state) {
    struct world *w = *state;
    w->registry_down = true;
    int asked = world_schema(w, ASKED);
    assert_true(asked);
    world_start(w, &probe);
    w->registry_down = false; /* for the reader; what is to be published is asked for later */
    w->registry_refuses = true;
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 1);
    world_stop(w);
    w->registry_refuses = false;
    give(w, "Answered.avsc", GIVEN);
    world_start(w, &probe);
    world_await_health(w, "schemas", "ok", "1 in use from");
    ask(w, 0, "R-2", 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 2);
    world_stop(w);
    w->more_n = 0; /* back to the program's own */
    world_start(w, &probe);
    ask(w, 0, "R-3", 3);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    struct read seen = {.w = w};
    assert_int_equal(world_read(w, "probe.events", 3, read_one, &seen), 3);
    assert_non_null(strstr(event_of(&seen, "R-1"), "\"n\":1"));
    assert_null(strstr(event_of(&seen, "R-2"), "\"n\":"));
    assert_non_null(strstr(event_of(&seen, "R-2"), "\"added\":\"by default\""));
    assert_non_null(strstr(event_of(&seen, "R-3"), "\"n\":3"));
}

/* Rows that wait by a given schema are sent by it, also when the program goes by its own again. */
static void what_was_given_and_taken_back_is_still_sent_by_it(void **state) {
    struct world *w = *state;
    give(w, "Answered.avsc", GIVEN);
    world_start(w, &probe);
    world_await_health(w, "schemas", "ok", "1 in use from");
    w->more_n = 0;
    break_next_send = w->cluster; /* its delivery fails, and the process ends before it is tried again */
    break_times = 100;
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM kept", 1);
    world_stop(w);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'"), 1);
    rd_kafka_mock_clear_request_errors(w->cluster, 0);
    break_times = 1;
    world_start(w, &probe);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    struct read seen = {.w = w};
    assert_int_equal(world_read(w, "probe.events", 1, read_one, &seen), 1);
    assert_non_null(strstr(event_of(&seen, "R-1"), "\"added\":\"by default\""));
}

static void one_that_the_registry_refuses_is_not_used(void **state) {
    struct world *w = *state;
    w->registry_refuses_text = "by default";
    give(w, "Answered.avsc", GIVEN);
    world_start(w, &probe);
    world_await_health(w, "schemas", "failed", "returns.probe.Answered is not used");
    ask(w, 0, "R-1", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    struct read seen = {.w = w};
    assert_int_equal(world_read(w, "probe.events", 1, read_one, &seen), 1);
    assert_non_null(strstr(event_of(&seen, "R-1"), "\"n\":1"));
}

static void refused(struct world *w, const char *says) {
    struct failure why;
    assert_int_equal(world_try(w, &probe, &why), REJECT);
    if (!strstr(why.text, says)) fail_msg("should say \"%s\": %s", says, why.text);
    world_stop(w);
}

static void a_bad_folder_is_refused_at_the_start(void **state) {
    struct world *w = *state;
    w->more[0] = "--schemas=/nowhere";
    w->more_n = 1;
    refused(w, "schemas=\"/nowhere\": there is no such folder");
    give(w, "Answered.avsc", "{\"type\":\"record\"}");
    refused(w, "Answered.avsc\": could not read the schema: a record has no list of \"fields\"");
    give(w, "Answered.avsc", ASKED);
    refused(w, "is the schema of \"returns.support.Asked\"; in this file must be that of \"returns.probe.Answered\"");
    give(w, "Answered.avsc", GIVEN);
    world_start(w, &probe);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, probe_setup, probe_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_decided_by_one_schema_is_sent_by_it),
        TEST(what_was_given_and_taken_back_is_still_sent_by_it),
        TEST(one_that_the_registry_refuses_is_not_used),
        TEST(a_bad_folder_is_refused_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
