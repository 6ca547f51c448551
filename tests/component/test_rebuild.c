/* A rebuild: the state is made anew from the topics, row for row, and nothing is published by it. */
#include "helper_child.h"
#include "helper_client.h"
#include "helper_probe.h"

#include "chassis/audit/counts.h"
#include "chassis/base/assets.h"
#include "chassis/base/health.h"
#include "chassis/events/decision.h"
#include "chassis/kafka/client.h"
#include "chassis/outgoing/relay.h"
#include "chassis/rebuild/rebuild.h"
#include "chassis/service/commands.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before cmocka has a macro of that name. */
static verdict refuse(struct failure *why, int64_t n) {
    return fail(why, REJECT, "n is %lld, which is not allowed", (long long)n);
}

#include <cmocka.h>

/* --- A service whose answers depend on who was first over all partitions, that decides by itself, and can be called.
 */

#define DECIDED                                                                                                        \
    "{\"type\":\"record\",\"name\":\"Decided\",\"namespace\":\"returns.probe\",\"fields\":["                           \
    "{\"name\":\"event_id\",\"type\":\"string\"},{\"name\":\"version\",\"type\":\"long\"},"                            \
    "{\"name\":\"occurred_at\",\"type\":\"long\"},"                                                                    \
    "{\"name\":\"caused_by\",\"type\":[\"null\",\"string\"],\"default\":null},{\"name\":\"left\",\"type\":\"long\"}]}"
#define CANCELLED                                                                                                      \
    "{\"type\":\"record\",\"name\":\"Cancelled\",\"namespace\":\"returns.support\",\"fields\":[" COMMON "]}"
#define TABLES                                                                                                         \
    "CREATE TABLE stock (one BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL CHECK (n >= 0));"                          \
    "INSERT INTO stock (one, n) VALUES (1, 5);"                                                                        \
    "CREATE TABLE given (return_id TEXT NOT NULL PRIMARY KEY, place BIGINT NOT NULL, at BIGINT NOT NULL);"             \
    "CREATE TABLE cancelled (return_id TEXT NOT NULL PRIMARY KEY);"                                                    \
    "CREATE TABLE order_of (n BIGINT NOT NULL, what TEXT NOT NULL);"                                                   \
    "CREATE TABLE private (secret TEXT NOT NULL PRIMARY KEY);"

struct asked {
    int64_t n;
};
static const struct field asked_fields[] = {FIELD_INT(struct asked, n)};
static _Atomic int64_t answer_more;  /* another logic: what is added to each answer */
static _Atomic int64_t refused_from; /* another rule: larger ones are rejected; 0: none */

static void noted(struct connection *c, const char *what) {
    int64_t n = store_int(c, 0, "SELECT COUNT(*) FROM order_of WHERE what NOT LIKE 'silent%'");
    (void)store_run(c, "INSERT INTO order_of (n, what) VALUES (?, ?)", value_int(n), value_text(what));
}

/* From stock: how much is left is in the answer, so it tells who was first. One that was cancelled before gets none,
 * silently. */
static verdict give(struct reaction *r, const void *fields, struct failure *why) {
    const struct asked *q = fields;
    if (q->n < 0 || (refused_from && q->n >= refused_from)) return refuse(why, q->n);
    if (store_int(r->store, 0, "SELECT 1 FROM cancelled WHERE return_id = ?", value_text(r->event->return_id)))
        return OK;
    int64_t left = store_int(r->store, -1, "UPDATE stock SET n = n - 1 WHERE one = 1 AND n > 0 RETURNING n");
    (void)store_run(
        r->store, "INSERT INTO given (return_id, place, at) VALUES (?, ?, ?)", value_text(r->event->return_id),
        value_int(left), value_int(r->now));
    noted(r->store, r->event->return_id);
    reaction_emit(r, "Answered", json_pack("{s:I}", "n", (json_int_t)(left + answer_more)));
    reaction_audit(r, "handled", "give", "%lld left", (long long)left);
    return OK;
}

static verdict cancel(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields, (void)why;
    (void)store_run(
        r->store, "INSERT INTO cancelled (return_id) VALUES (?) ON CONFLICT DO NOTHING",
        value_text(r->event->return_id));
    return OK;
}

static void decided(struct connection *c, const struct event *own) {
    (void)store_run(
        c, "UPDATE stock SET n = n + ? WHERE one = 1",
        value_int(json_integer_value(json_object_get(own->data, "left"))));
    noted(c, "decision");
}

static const struct handler handlers[] = {
    {"returns.support.Asked", FIELDS(asked_fields, struct asked), give},
    {"returns.support.Cancelled", NULL, 0, 0, cancel},
    {0}};
static const struct service giver = {
    .title = "Probe",
    .duty = "Gives.",
    .subscribes = "support",
    .handlers = handlers,
    .decided = decided,
    .kept = "private",
    .call = {"/api/asked", "returns.support.Asked"}};
static const struct asset assets[] = {
    {"schema.sql", TABLES, 0},
    {"Answered.avsc", ANSWERED, sizeof ANSWERED - 1},
    {"Decided.avsc", DECIDED, sizeof DECIDED - 1},
};

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(assets, sizeof assets / sizeof *assets);
    answer_more = refused_from = 0;
    world_open(w);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

/* --- What happens to it */

static void decide_more(struct world *w, int n) {
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    struct outgoing e = {.type = "Decided", .key = "K", .version = 1, .fields = json_pack("{s:i}", "left", n)};
    if (decide(&w->rt.core, c, &e, NULL, &why) != OK) fail_msg("%s", why.text);
    if (store_commit(c, &why) != OK) fail_msg("%s", why.text);
    relay_wake(w->rt.relay);
}

static void cancel_it(struct world *w, int partition, const char *return_id) {
    char json[400], id[UUID_TEXT];
    snprintf(
        json, sizeof json,
        "{\"event_id\":\"%s\",\"return_id\":\"%s\",\"version\":2,\"occurred_at\":7,\"caused_by\":null}",
        uuid_text(uuid_make(), id), return_id);
    world_publish_event(w, partition, world_schema(w, CANCELLED), json);
}

static void post(struct world *w, const char *path, const char *body, int status) {
    char request[900];
    int n = snprintf(
        request, sizeof request,
        "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        path, strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != status) fail_msg("%s: %s", path, a->text);
}

/* One after another, so that it is known who was first; partitions in another order than they are read in later. */
static int ask_in_turn(struct world *w, int from, int n) {
    for (int i = from; i < from + n; i++) {
        char id[20], sql[200];
        snprintf(id, sizeof id, "R-%d", i);
        ask(w, 5 - i % 6, id, i);
        snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM given WHERE return_id = '%s'", id);
        world_await(w, sql, 1);
    }
    return from + n;
}

static void same_again(struct world *w, int partition, int schema, const char *id, const char *return_id, int n) {
    char json[400];
    snprintf(
        json, sizeof json, "{\"event_id\":\"%s\",\"return_id\":\"%s\",\"version\":1,\"occurred_at\":1,\"n\":%d}", id,
        return_id, n);
    world_publish_event(w, partition, schema, json);
}

/* Stock runs out in between, is filled up by decisions; letters, redrives, duplicates, cancels before and after, calls.
 */
static void live(struct world *w) {
    int schema = world_schema(w, ASKED), ahead = 0;
    world_start(w, &giver);
    world_await_health(w, "schemas", "ok", "");
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    (void)store_run(c, "INSERT INTO private (secret) VALUES ('kept')");
    assert_int_equal(store_commit(c, &why), OK);
    ask_in_turn(w, 1, 4);
    decide_more(w, 3);
    same_again(w, 2, schema, "019a0000-0000-7000-8000-00000000000a", "R-twice", 1);
    same_again(w, 2, schema, "019a0000-0000-7000-8000-00000000000a", "R-twice", 1);
    world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'duplicate'", 1);
    ask(w, 3, "R-bad", -1);
    /* Quarantined since its schema is not known, redriven once others had their turn and its return was cancelled. */
    ahead = world_schema_unread(w, ASKED "  ");
    char body[64];
    struct buffer record = BUFFER(1000);
    struct schema *parsed;
    json_t *value = json_loads(
        "{\"event_id\":\"019a0000-0000-7000-8000-00000000000b\",\"return_id\":\"R-late\",\"version\":1,\"occurred_at\":1,\"n\":8}",
        0, NULL);
    assert_int_equal(schema_parse(ASKED "  ", strlen(ASKED "  "), &parsed, &why), OK);
    frame_write(&record, ahead);
    assert_int_equal(codec_encode(parsed, value, &record, &why), OK);
    world_publish(w, 0, "R-late", record.data, record.length);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 2);
    ask_in_turn(w, 5, 2);
    assert_int_equal(world_schema(w, ASKED "  "), ahead);
    post(w, "/api/dead-letters/2/redrive", "", 200);
    world_await(w, "SELECT COUNT(*) FROM given WHERE return_id = 'R-late'", 1);
    post(w, "/api/asked", "{\"return_id\":\"R-called\",\"n\":1}", 201);
    decide_more(w, 2);
    ask_in_turn(w, 7, 1);
    cancel_it(w, 4, "R-early");
    ask(w, 4, "R-early", 4);
    cancel_it(w, 1, "R-4");
    world_await(w, "SELECT COUNT(*) FROM cancelled", 2);
    world_await(w, "SELECT SUM(next_offset) FROM consumer_offset", world_records(w, "support.events"));
    snprintf(body, sizeof body, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'");
    world_await(w, body, 0);
    buffer_free(&record);
    json_decref(value);
    schema_free(&parsed);
}

/* --- Rebuilding */

static verdict rebuild(struct world *w, struct rebuild_options o, json_t **report, struct failure *why) {
    char flags[WORLD_FLAGS][200], *argv[WORLD_FLAGS], *environment[] = {NULL};
    struct settings settings;
    int argc = world_flags(w, flags, argv);
    if (!o.most) o.most = 10;
    verdict v = settings_read(&settings, w->name, 0, argc, argv, environment, why);
    if (v == OK) v = rebuild_run(&giver, &settings, &o, report, why);
    settings_free(&settings);
    return v;
}

static json_t *rebuilt(struct world *w, struct rebuild_options o) {
    struct failure why;
    json_t *report = NULL;
    if (rebuild(w, o, &report, &why) != OK) fail_msg("%s", why.text);
    return report;
}

static void is_identical(json_t *report, bool switched) {
    char *text = json_dumps(report, JSON_INDENT(1));
    if (!json_is_true(json_object_get(report, "identical")) ||
        json_integer_value(json_object_get(json_object_get(report, "events"), "different")) ||
        json_integer_value(json_object_get(report, "unexplained")) ||
        json_is_true(json_object_get(report, "switched")) != switched)
        fail_msg("%s", text);
    assert_string_equal(
        json_string_value(json_object_get(report, "hash")), json_string_value(json_object_get(report, "hash_before")));
    free(text);
    json_decref(report);
}

static int64_t published(struct world *w) {
    return world_records(w, "probe.events") + world_records(w, "probe.dead-letters");
}

static void outside(struct world *w, const char *sql) {
    char path[128], *error = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/%s.db", w->folder, w->name);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
    sqlite3_busy_timeout(db, 1000);
    if (sqlite3_exec(db, sql, NULL, NULL, &error)) fail_msg("%s: %s", sql, error);
    sqlite3_close(db);
}

static void a_shadow_beside_the_running_service_is_identical_and_changes_nothing(void **state) {
    struct world *w = *state;
    live(w);
    int64_t before = published(w);
    is_identical(rebuilt(w, (struct rebuild_options){.shadow = true}), false);
    assert_int_equal(published(w), before);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE action = 'rebuild the state'"), 0);
    ask_in_turn(w, 20, 2); /* it serves on */
}

static void a_switch_keeps_all_and_goes_on(void **state) {
    struct world *w = *state;
    live(w);
    int64_t rows = world_int(w, "SELECT COUNT(*) FROM audit"), sent = world_int(w, "SELECT MAX(id) FROM outbox");
    world_stop(w);
    int64_t before = published(w);
    is_identical(rebuilt(w, (struct rebuild_options){0}), true);
    is_identical(rebuilt(w, (struct rebuild_options){0}), true); /* and from what was rebuilt */
    assert_int_equal(published(w), before);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM private"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), rows + 2);
    assert_int_equal(world_int(w, "SELECT MAX(id) FROM outbox"), sent);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'"), 1);
    assert_int_equal(world_int(w, "SELECT n FROM pile WHERE name = 'open letters'"), 1);
    assert_int_equal(world_int(w, "SELECT n FROM pile_redriven"), 1);
    world_start(w, &giver);
    ask_in_turn(w, 20, 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(world_int(w, "SELECT n FROM outbox_waiting"), 0);
    assert_int_equal(published(w), before + 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given WHERE return_id LIKE 'R-2_'"), 2);
    world_stop(w);
    is_identical(rebuilt(w, (struct rebuild_options){.shadow = true}), false);
}

static void stop_after_two_more(void *context) {
    struct world *w = context;
    ask_in_turn(w, 30, 2);
    decide_more(w, 1);
    ask_in_turn(w, 40, 1);
    world_stop(w);
}

static void what_comes_while_it_rebuilds_is_caught_up(void **state) {
    struct world *w = *state;
    live(w);
    is_identical(rebuilt(w, (struct rebuild_options){.caught_up = stop_after_two_more, .context = w}), true);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given WHERE return_id LIKE 'R-3_' OR return_id = 'R-40'"), 3);
}

/* Decided and not published yet: Kafka was away. */
static void what_waits_in_the_outbox_counts(void **state) {
    struct world *w = *state;
    live(w);
    world_stop(w);
    outside(w, "UPDATE outbox_mark SET through = 3; INSERT INTO outbox_exception (id, state) VALUES (2, 'waiting')");
    is_identical(rebuilt(w, (struct rebuild_options){0}), true);
    assert_true(world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'") > 3);
}

static void a_planted_difference_is_found_and_not_switched_to(void **state) {
    struct world *w = *state;
    live(w);
    world_stop(w);
    outside(
        w, "UPDATE given SET place = 99 WHERE return_id = 'R-3'; DELETE FROM given WHERE return_id = 'R-5';"
           "INSERT INTO cancelled VALUES ('R-planted')");
    json_t *report = rebuilt(w, (struct rebuild_options){0});
    const json_t *differences = json_object_get(report, "differences"), *line;
    assert_true(json_is_false(json_object_get(report, "switched")));
    assert_int_equal(json_integer_value(json_object_get(differences, "rows")), 3);
    line = json_array_get(json_object_get(differences, "lines"), 0);
    assert_string_equal(json_string_value(json_object_get(line, "table")), "cancelled");
    assert_true(json_is_null(json_object_get(line, "new")));
    line = json_array_get(json_object_get(differences, "lines"), 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(line, "key"), "return_id")), "R-3");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(line, "old"), "place")), 99);
    json_decref(report);
    assert_int_equal(world_int(w, "SELECT place FROM given WHERE return_id = 'R-3'"), 99);
    json_decref(rebuilt(w, (struct rebuild_options){.switch_anyway = true}));
    assert_int_not_equal(world_int(w, "SELECT place FROM given WHERE return_id = 'R-3'"), 99);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given WHERE return_id = 'R-5'"), 1);
}

static void a_shadow_tells_what_another_logic_would_publish(void **state) {
    struct world *w = *state;
    live(w);
    answer_more = 100;
    json_t *report = rebuilt(w, (struct rebuild_options){.shadow = true, .most = 2});
    const json_t *events = json_object_get(report, "events"), *line;
    assert_true(json_is_true(json_object_get(report, "identical"))); /* the tables are */
    assert_int_equal(
        json_integer_value(json_object_get(events, "different")),
        json_integer_value(json_object_get(report, "answered")));
    assert_int_equal(json_array_size(json_object_get(events, "lines")), 2);
    line = json_array_get(json_object_get(events, "lines"), 0);
    assert_non_null(strstr(json_string_value(json_object_get(line, "was")), "probe.events["));
    assert_true(json_integer_value(json_object_get(json_object_get(line, "fields"), "n")) >= 99);
    json_decref(report);
}

/* Of those that live() makes: were answered, R-early was not, R-late was redriven. */
enum { REFUSED_FROM = 4, REFUSED = 6 };
#define QUARANTINED "SELECT COUNT(*) FROM audit WHERE outcome = 'quarantined'"
#define OPEN "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'"

static void rejects(json_t *report, int n, bool switched) {
    char *text = json_dumps(report, JSON_INDENT(1));
    const json_t *rejected = json_object_get(report, "rejected");
    if (json_integer_value(json_object_get(rejected, "n")) != n ||
        json_is_true(json_object_get(report, "switched")) != switched ||
        json_is_true(json_object_get(report, "identical")))
        fail_msg("%s", text);
    assert_true((int)json_array_size(json_object_get(rejected, "lines")) == n);
    const json_t *line = json_array_get(json_object_get(rejected, "lines"), 0);
    assert_non_null(strstr(json_string_value(json_object_get(line, "reason")), "which is not allowed"));
    assert_string_equal(json_string_value(json_object_get(line, "topic")), "support.events");
    free(text);
    json_decref(report);
}

static void without_a_switch_what_is_rejected_is_only_told(void **state) {
    struct world *w = *state;
    live(w);
    world_stop(w);
    int64_t rows = world_int(w, "SELECT COUNT(*) FROM audit"), before = published(w), open = world_int(w, OPEN);
    refused_from = REFUSED_FROM;
    rejects(rebuilt(w, (struct rebuild_options){.shadow = true}), REFUSED, false);
    rejects(rebuilt(w, (struct rebuild_options){0}), REFUSED, false);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit"), rows);
    assert_int_equal(world_int(w, OPEN), open);
    assert_int_equal(published(w), before);
}

static void what_a_rebuild_rejects_is_quarantined(void **state) {
    struct world *w = *state;
    live(w);
    world_stop(w);
    int64_t quarantined = world_int(w, QUARANTINED), open = world_int(w, OPEN);
    int64_t letters = world_records(w, "probe.dead-letters"), events = world_records(w, "probe.events");
    refused_from = REFUSED_FROM;
    rejects(rebuilt(w, (struct rebuild_options){.switch_anyway = true}), REFUSED, true);
    assert_int_equal(world_int(w, OPEN), open + REFUSED);
    assert_int_equal(world_int(w, "SELECT n FROM pile WHERE name = 'open letters'"), open + REFUSED);
    assert_int_equal(world_int(w, QUARANTINED), quarantined + REFUSED);
    assert_int_equal(
        world_int(
            w, "SELECT COUNT(*) FROM audit WHERE outcome = 'quarantined' AND return_id = 'R-5' AND topic IS NULL "
               "AND event_type = 'returns.support.Asked' AND summary LIKE '%support.events[0]@%not allowed'"),
        1);
    assert_int_equal(
        world_int(
            w, "SELECT COUNT(*) FROM dead_letter d JOIN audit a USING (topic, partition, record_offset) WHERE "
               "d.rebuilt = 1 AND a.outcome = 'handled' AND length(d.value) > 20"),
        REFUSED - 1);
    json_t *again = rebuilt(w, (struct rebuild_options){0}); /* it is a state like any */
    assert_true(json_is_true(json_object_get(again, "identical")) && json_is_true(json_object_get(again, "switched")));
    assert_int_equal(json_integer_value(json_object_get(again, "unexplained")), 0);
    json_decref(again);
    world_start(w, &giver);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    world_stop(w);
    world_start(w, &giver);
    assert_int_equal(world_records(w, "probe.dead-letters"), letters + REFUSED);
    assert_int_equal(world_records(w, "probe.events"), events);
}

/* What they were answered by stays published, and is not published again. */
static void what_was_rejected_is_redriven_and_not_answered_twice(void **state) {
    struct world *w = *state;
    live(w);
    world_stop(w);
    int64_t given = world_int(w, "SELECT COUNT(*) FROM given"), events = world_records(w, "probe.events");
    int64_t letters = world_records(w, "probe.dead-letters");
    refused_from = REFUSED_FROM;
    rejects(rebuilt(w, (struct rebuild_options){.switch_anyway = true}), REFUSED, true);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given"), given - REFUSED + 1);
    refused_from = 0;
    world_start(w, &giver);
    for (int i = 2; i <= REFUSED + 1; i++) {
        char path[80];
        snprintf(path, sizeof path, "/api/dead-letters/%d/redrive", i);
        post(w, path, "", 200);
    }
    assert_int_equal(world_int(w, OPEN), 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given WHERE return_id IN ('R-5', 'R-6', 'R-7')"), 3);
    assert_int_equal(world_records(w, "probe.events"), events);
    assert_int_equal(world_records(w, "probe.dead-letters"), letters + 2 * REFUSED); /* so others know of it */
    world_stop(w);
    json_t *report = rebuilt(w, (struct rebuild_options){.shadow = true});
    char *text = json_dumps(report, JSON_INDENT(1));
    if (!json_is_true(json_object_get(report, "identical"))) fail_msg("%s", text);
    free(text);
    json_decref(report);
}

/* --- An event that a rebuild rejected, and that is published once more. It has one effect, and was answered. */

enum { LATE = 8, LATE_LETTER = 2 }; /* R-late's n is the largest: it alone is rejected */

static void late_again(struct world *w, int partition) {
    same_again(w, partition, world_schema(w, ASKED), "019a0000-0000-7000-8000-00000000000b", "R-late", LATE);
}

/* Returns how many events were published until then. */
static int64_t late_is_rejected(struct world *w, int more_stock) {
    live(w);
    if (more_stock) decide_more(w, more_stock);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    world_stop(w);
    refused_from = LATE;
    rejects(rebuilt(w, (struct rebuild_options){.switch_anyway = true}), 1, true);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given WHERE return_id = 'R-late'"), 0);
    return world_records(w, "probe.events");
}

static void redrive(struct world *w, int letter) {
    char path[80];
    snprintf(path, sizeof path, "/api/dead-letters/%d/redrive", letter);
    post(w, path, "", 200);
}

static void late_is_answered_once(struct world *w, int64_t events) {
    world_await(w, "SELECT COUNT(*) FROM given WHERE return_id = 'R-late'", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(world_records(w, "probe.events"), events);
    is_identical(rebuilt(w, (struct rebuild_options){.shadow = true}), false);
}

static void what_was_rejected_and_comes_again_is_not_answered_twice(void **state) {
    struct world *w = *state;
    int64_t events = late_is_rejected(w, 1);
    refused_from = 0;
    world_start(w, &giver);
    ask(w, 0, "R-before", 3); /* all in the partition of the first record */
    late_again(w, 0);
    ask(w, 0, "R-behind", 3);
    world_await(w, "SELECT COUNT(*) FROM given WHERE return_id IN ('R-before', 'R-behind')", 2);
    late_is_answered_once(w, events + 2);
    assert_int_equal(world_int(w, OPEN), 1); /* so its letter was redriven by it */
    redrive(w, LATE_LETTER);
    late_is_answered_once(w, events + 2);
    world_stop(w);
    is_identical(rebuilt(w, (struct rebuild_options){0}), true);
}

/* The rule still stands when it comes again, so it is in two letters. */
static void rejected_twice_it_is_not_answered_twice(struct world *w, int other_first) {
    int64_t events = late_is_rejected(w, 0);
    world_start(w, &giver);
    late_again(w, 2);
    world_await(w, "SELECT MAX(id) FROM dead_letter", LATE_LETTER + 1);
    redrive(w, LATE_LETTER + other_first);
    assert_int_equal(world_int(w, OPEN), 3);
    refused_from = 0;
    redrive(w, LATE_LETTER + other_first);
    late_is_answered_once(w, events);
    redrive(w, LATE_LETTER + !other_first);
    assert_int_equal(world_int(w, OPEN), 1);
    late_is_answered_once(w, events);
}

static void rejected_twice_and_the_first_letter_redriven_first(void **state) {
    rejected_twice_it_is_not_answered_twice(*state, 0);
}

static void rejected_twice_and_the_second_letter_redriven_first(void **state) {
    rejected_twice_it_is_not_answered_twice(*state, 1);
}

static json_t *counted(struct world *w) {
    struct store *s;
    struct failure why;
    char path[128];
    snprintf(path, sizeof path, "%s/%s.db", w->folder, w->name);
    assert_int_equal(store_open_readonly(&s, path, &why), OK);
    json_t *k = json_object();
    json_t *all = counts_take(k, store_reader(s), true);
    json_decref(k);
    store_close(&s);
    return all;
}

static int64_t outcome(const json_t *counts, const char *name) {
    const json_t *partition, *one;
    size_t i, k;
    int64_t n = 0;
    json_array_foreach(counts, i, partition) json_array_foreach(
        json_object_get(partition, "outcomes"), k,
        one) if (!strcmp(json_string_value(json_object_get(one, "outcome")), name)) n +=
        json_integer_value(json_object_get(one, "n"));
    return n;
}

static int64_t redriven(const json_t *counts) {
    const json_t *partition;
    size_t i;
    int64_t n = 0;
    json_array_foreach(counts, i, partition) n += json_integer_value(json_object_get(partition, "redriven"));
    return n;
}

/* The figures that others reconcile: each record once, and by what became of it in the end. */
static void what_was_rejected_is_counted_as_quarantined(void **state) {
    struct world *w = *state;
    live(w);
    world_stop(w);
    json_t *before = counted(w);
    refused_from = REFUSED_FROM;
    rejects(rebuilt(w, (struct rebuild_options){.switch_anyway = true}), REFUSED, true);
    json_t *after = counted(w);
    int64_t moved = REFUSED - 1; /* one was quarantined and redriven before */
    assert_int_equal(outcome(after, "handled"), outcome(before, "handled") - moved);
    assert_int_equal(outcome(after, "quarantined"), outcome(before, "quarantined") + moved);
    assert_int_equal(outcome(after, "duplicate"), outcome(before, "duplicate"));
    assert_int_equal(redriven(before), 1);
    assert_int_equal(redriven(after), 0);
    json_decref(before);
    json_decref(after);
}

static void without_a_database_the_topics_bring_it_back(void **state) {
    struct world *w = *state;
    char command[300];
    live(w);
    /* A call is in no topic, and what was asked for here is answered only after the rebuild. */
    int64_t last = world_int(w, "SELECT MAX(id) FROM outbox");
    int64_t given = world_int(w, "SELECT COUNT(*) FROM given WHERE return_id <> 'R-called'");
    /* Who loses the database may keep its log: of one that was killed, or that was removed while it was open. */
    snprintf(command, sizeof command, "cp %s/probe.db-wal %s/left", w->folder, w->folder);
    assert_int_equal(system(command), 0);
    world_stop(w);
    ask(w, 0, "R-50", 50);
    ask(w, 3, "R-51", 51);
    int64_t before = published(w);
    snprintf(command, sizeof command, "rm %s/probe.db*; mv %s/left %s/probe.db-wal", w->folder, w->folder, w->folder);
    assert_int_equal(system(command), 0);
    json_t *report = rebuilt(w, (struct rebuild_options){0});
    assert_true(json_is_true(json_object_get(report, "lost")));
    assert_true(json_is_true(json_object_get(report, "switched")));
    json_decref(report);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    assert_int_equal(published(w), before);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given"), given);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM cancelled"), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 2);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'"), 1);
    assert_true(world_int(w, "SELECT MAX(id) FROM outbox") <= last);
    world_start(w, &giver);
    world_await(w, "SELECT COUNT(*) FROM given WHERE return_id IN ('R-50', 'R-51')", 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(published(w), before + 2);
}

/* How far the group has said that it is. */
static int64_t committed(struct world *w, int partition) {
    char flags[WORLD_FLAGS][200], *argv[WORLD_FLAGS], *environment[] = {NULL};
    const struct property group[] = {{"group.id", "probe"}, {0}};
    struct settings settings;
    struct failure why;
    rd_kafka_t *rk;
    int argc = world_flags(w, flags, argv);
    assert_int_equal(settings_read(&settings, w->name, 0, argc, argv, environment, &why), OK);
    assert_int_equal(kafka_open(&rk, RD_KAFKA_CONSUMER, &settings, NULL, NULL, group, &why), OK);
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, "support.events", partition);
    int64_t offset = rd_kafka_committed(rk, one, 5000) ? -1 : one->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(one);
    rd_kafka_destroy(rk);
    settings_free(&settings);
    return offset;
}

static void stop_it(void *world) {
    world_stop(world);
}

/* It would handle and answer all a second time. The database that it made meanwhile is nobody's loss. */
static void a_lost_database_is_held_until_it_is_rebuilt(void **state) {
    struct world *w = *state;
    char command[300];
    world_start(w, &giver);
    world_await_health(w, "history", "ok", "");
    for (int i = 0; i < 3; i++) ask(w, i, (const char *[]){"R-0", "R-1", "R-2"}[i], i);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    world_stop(w);
    snprintf(command, sizeof command, "rm %s/probe.db*", w->folder);
    assert_int_equal(system(command), 0);
    ask(w, 4, "R-4", 4);
    int64_t before = published(w);
    world_start(w, &giver);
    world_await_health(w, "history", "failed", "that this database never published");
    world_await_health(w, "history", "failed", "./returns rebuild probe");
    assert_false(health_ready(w->rt.core.health));
    post(w, "/api/asked", "{\"return_id\":\"R-5\",\"n\":1}", 503);
    sleep(1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given"), 0);
    assert_int_equal(published(w), before);
    json_t *report = rebuilt(w, (struct rebuild_options){.caught_up = stop_it, .context = w});
    assert_true(json_is_true(json_object_get(report, "lost")));
    json_decref(report);
    world_start(w, &giver);
    world_await(w, "SELECT COUNT(*) FROM given WHERE return_id = 'R-4'", 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(published(w), before + 1);
    assert_true(health_ready(w->rt.core.health));
}

/* Of one that publishes nothing, what its group has read is all that is known. */
static void what_only_its_group_knows_holds_it_too(void **state) {
    struct world *w = *state;
    char command[300];
    world_start(w, &giver);
    cancel_it(w, 2, "R-0");
    world_await(w, "SELECT SUM(next_offset) FROM consumer_offset", 1);
    int64_t until = steady_ms() + 30000, offset = 0;
    while (offset != 1 && steady_ms() < until) offset = committed(w, 2);
    assert_int_equal(offset, 1);
    world_stop(w);
    assert_int_equal(published(w), 0);
    snprintf(command, sizeof command, "rm %s/probe.db*", w->folder);
    assert_int_equal(system(command), 0);
    world_start(w, &giver);
    world_await_health(w, "history", "failed", "its group has read of the topic \"support.events\"");
    world_stop(w);
    json_decref(rebuilt(w, (struct rebuild_options){0}));
    world_start(w, &giver);
    world_await_health(w, "kafka", "ok", "reads");
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM cancelled"), 1);
}

/* Another program publishes what this service does, and did so before it. */
static void what_others_published_to_its_topic_holds_nobody(void **state) {
    struct world *w = *state;
    assert_int_equal(
        rd_kafka_producev(
            w->producer, RD_KAFKA_V_TOPIC("probe.events"), RD_KAFKA_V_VALUE((void *)"of another", 10),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
        0);
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
    world_start(w, &giver);
    world_await_health(w, "history", "ok", "nothing was published before");
    ask(w, 0, "R-0", 0);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
}

/* It takes orders, and does the rest once Kafka has answered. */
static void a_newcomer_without_kafka_begins_when_it_comes(void **state) {
    struct world *w = *state;
    ask(w, 0, "R-0", 1);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    world_start(w, &giver);
    world_await_health(w, "history", "waiting", "Kafka is asked");
    assert_true(health_ready(w->rt.core.health));
    post(w, "/api/asked", "{\"return_id\":\"R-called\",\"n\":1}", 201);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'"), 0);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    world_await(w, "SELECT COUNT(*) FROM given", 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    world_await_health(w, "history", "ok", "");
}

/* The database's file as a backup would have it: while the service runs, and put back while it does not. */
static void copy(struct world *w, const char *from, const char *to) {
    char command[500];
    snprintf(
        command, sizeof command, "cd %s && rm -f %s* && cp %s %s && for e in wal shm; do rm -f %s-$e; done", w->folder,
        to, from, to, to);
    assert_int_equal(system(command), 0);
}

/* What it took before Kafka said that it was lost is in no topic: a rebuild takes it over, behind all that is there,
 * and it is published. So are the answers that were given, for those who ask again with the same key. */
static void what_a_lost_one_took_without_kafka_is_taken_over(void **state) {
    struct world *w = *state;
    char command[300];
    world_start(w, &giver);
    ask(w, 0, "R-0", 0);
    decide_more(w, 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 2);
    world_stop(w);
    snprintf(command, sizeof command, "rm %s/probe.db*", w->folder);
    assert_int_equal(system(command), 0);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    world_start(w, &giver);
    world_await_health(w, "history", "waiting", "");
    decide_more(w, 3);
    decide_more(w, 4);
    outside(
        w,
        "INSERT INTO private VALUES ('of then'); INSERT INTO idempotency VALUES ('key', 1, 'POST', x'00', 201, 't', '', x'', 1)");
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    world_await_health(w, "history", "failed", "");
    int64_t before = published(w);
    json_t *report = rebuilt(w, (struct rebuild_options){.caught_up = stop_it, .context = w});
    assert_int_equal(published(w), before);
    assert_int_equal(json_integer_value(json_object_get(report, "left")), 2);
    assert_int_equal(access(json_string_value(json_object_get(report, "before")), F_OK), 0);
    json_decref(report);
    assert_int_equal(world_int(w, "SELECT n FROM stock"), 5 - 1 + 1 + 3 + 4);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM private WHERE secret = 'of then'"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM idempotency"), 1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE action = 'take over' AND outcome = 'accepted'"), 2);
    world_start(w, &giver);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(published(w), before + 2);
    world_stop(w);
    is_identical(rebuilt(w, (struct rebuild_options){0}), true);
}

/* Of yesterday: its topic has answers that it knows nothing of, and would get them a second time. */
static void an_older_copy_is_held_until_it_is_rebuilt(void **state) {
    struct world *w = *state;
    world_start(w, &giver);
    ask_in_turn(w, 0, 3);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    world_stop(w);
    copy(w, "probe.db", "yesterday");
    world_start(w, &giver);
    ask_in_turn(w, 3, 2);
    decide_more(w, 7);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 6);
    world_stop(w);
    copy(w, "yesterday", "probe.db");
    int64_t before = published(w);
    world_start(w, &giver);
    world_await_health(w, "history", "failed", "is older than its topics");
    world_await_health(w, "history", "failed", "./returns rebuild probe");
    assert_false(health_ready(w->rt.core.health));
    post(w, "/api/asked", "{\"return_id\":\"R-5\",\"n\":1}", 503);
    world_stop(w);
    world_start(w, &giver); /* and again, as it is still */
    world_await_health(w, "history", "failed", "is older than its topics");
    sleep(1);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given"), 3);
    assert_int_equal(published(w), before);
    json_t *report = rebuilt(w, (struct rebuild_options){.caught_up = stop_it, .context = w});
    assert_true(json_is_true(json_object_get(report, "lost")));
    assert_true(json_is_true(json_object_get(report, "switched")));
    assert_int_equal(json_integer_value(json_object_get(report, "left")), 0);
    assert_int_equal(access(json_string_value(json_object_get(report, "before")), F_OK), 0);
    json_decref(report);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given"), 5);
    assert_int_equal(world_int(w, "SELECT n FROM stock"), 5 - 5 + 7);
    world_start(w, &giver);
    ask_in_turn(w, 5, 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(published(w), before + 1);
    assert_true(health_ready(w->rt.core.health));
}

/* Before Kafka says so it takes orders, whose numbers are those of others in the topic. One that waited in the copy was
 * published since, and is not again. */
static void what_an_older_copy_took_without_kafka_is_taken_over(void **state) {
    struct world *w = *state;
    world_start(w, &giver);
    ask_in_turn(w, 0, 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 1);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    decide_more(w, 1);
    world_stop(w);
    copy(w, "probe.db", "yesterday");
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    world_start(w, &giver);
    decide_more(w, 2);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    world_stop(w);
    copy(w, "yesterday", "probe.db");
    int64_t before = published(w);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    world_start(w, &giver);
    world_await_health(w, "history", "waiting", "Kafka is asked");
    for (int i = 0; i < 4; i++) decide_more(w, 10);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    world_await_health(w, "history", "failed", "is older than its topics");
    json_t *report = rebuilt(w, (struct rebuild_options){.caught_up = stop_it, .context = w});
    assert_int_equal(json_integer_value(json_object_get(report, "left")), 4);
    json_decref(report);
    assert_int_equal(world_int(w, "SELECT n FROM stock"), 5 - 1 + 1 + 2 + 40);
    world_start(w, &giver);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
    assert_int_equal(published(w), before + 4);
}

/* As it is after a kill between Kafka's taking and our noting: it did publish that. And what others wrote there by
 * hand, without a number of ours, says nothing about it. */
static void what_it_sent_and_did_not_note_holds_nothing(void **state) {
    struct world *w = *state;
    world_start(w, &giver);
    ask_in_turn(w, 0, 3);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state = 'sent'", 3);
    world_stop(w);
    outside(w, "UPDATE outbox_mark SET through = 1; DELETE FROM outbox_place");
    rd_kafka_resp_err_t error = rd_kafka_producev(
        w->producer, RD_KAFKA_V_TOPIC("probe.events"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE((void *)"x", 1),
        RD_KAFKA_V_END);
    assert_int_equal(error, 0);
    assert_int_equal(rd_kafka_flush(w->producer, 30000), 0);
    world_start(w, &giver);
    world_await_health(w, "history", "ok", "");
    ask_in_turn(w, 3, 1);
    world_await(w, "SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'", 0);
}

static void another_log_is_refused(void **state) {
    struct world *w = *state;
    struct failure why;
    json_t *report = NULL;
    live(w);
    world_stop(w);
    outside(w, "UPDATE consumer_offset SET mark = mark + 1 WHERE partition = 2");
    assert_int_equal(rebuild(w, (struct rebuild_options){0}, &report, &why), REJECT);
    assert_non_null(strstr(why.text, "support.events[2]"));
    outside(w, "UPDATE consumer_offset SET next_offset = 9000 WHERE partition = 2");
    assert_int_equal(rebuild(w, (struct rebuild_options){0}, &report, &why), REJECT);
    assert_non_null(strstr(why.text, "before offset 9000"));
}

/* The subcommand, in a process of its own. Returns its wait status. */
static int command(struct world *w, const char *crash_at, const char *option) {
    char flags[WORLD_FLAGS][200], *argv[WORLD_FLAGS + 4], self[] = "/proc/self/exe", as[] = "rebuild", given[40];
    int argc = world_flags(w, flags, argv + 2) + 2, status;
    argv[0] = self, argv[1] = as;
    snprintf(given, sizeof given, "%s", option);
    argv[2] = given; /* in place of the program's name */
    argv[argc] = NULL;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        if (crash_at) setenv("RETURNS_CRASH_AT", crash_at, 1);
        execv(self, argv);
        _exit(126);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* The database in use is whole, and the next rebuild works. */
static void killed_in_the_middle_nothing_is_lost(void **state) {
    static const char *const points[] = {"during rebuild", "during rebuild:20", "before the switch"};
    struct world *w = *state;
    live(w);
    world_stop(w);
    int64_t given = world_int(w, "SELECT COUNT(*) FROM given"), before = published(w);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        int status = command(w, points[i], "--json");
        if (!WIFSIGNALED(status)) fail_msg("%s: not killed", points[i]);
        assert_int_equal(world_int(w, "SELECT COUNT(*) FROM given"), given);
    }
    assert_int_equal(command(w, NULL, "--shadow"), 0);
    assert_int_equal(command(w, NULL, "--json"), 0);
    assert_int_equal(published(w), before);
    world_start(w, &giver);
    ask_in_turn(w, 20, 1);
    world_stop(w);
    outside(w, "UPDATE stock SET n = n + 1");
    assert_int_equal(WEXITSTATUS(command(w, NULL, "--shadow")), 1);
    assert_int_equal(WEXITSTATUS(command(w, NULL, "--nonsense")), 2);
}

/* Each unknown id alone is waited for as long as all of them are together. */
static void many_unknown_schema_ids_hold_it_as_long_as_one(void **state) {
    enum { IDS = 8, WAIT_MS = 2000 };
    struct world *w = *state;
    char sql[] = "SELECT COUNT(*) FROM dead_letter WHERE state = 'open'", more[] = "--unknown-id-ms=2000";
    for (int i = 0; i < IDS; i++) {
        struct buffer record = BUFFER(100);
        frame_write(&record, 500 + i); /* of which the registry has none */
        buffer_bytes(&record, "\2x", 2);
        world_publish(w, 0, "R-1", record.data, record.length);
        buffer_free(&record);
    }
    world_start(w, &giver);
    world_await(w, sql, IDS);
    world_stop(w);
    w->more[w->more_n++] = more;
    int64_t start = steady_ms();
    is_identical(rebuilt(w, (struct rebuild_options){.shadow = true}), false);
    assert_in_range(steady_ms() - start, WAIT_MS / 2, WAIT_MS * IDS / 2);
}

int main(int argc, char *argv[]) {
    if (argc > 1 && !strcmp(argv[1], "rebuild")) {
        assets_of_service(assets, sizeof assets / sizeof *assets);
        return service_main(&giver, "probe", 0, argc, argv);
    }
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(a_shadow_beside_the_running_service_is_identical_and_changes_nothing),
        T(a_switch_keeps_all_and_goes_on),
        T(what_comes_while_it_rebuilds_is_caught_up),
        T(what_waits_in_the_outbox_counts),
        T(a_planted_difference_is_found_and_not_switched_to),
        T(a_shadow_tells_what_another_logic_would_publish),
        T(without_a_switch_what_is_rejected_is_only_told),
        T(what_a_rebuild_rejects_is_quarantined),
        T(what_was_rejected_is_redriven_and_not_answered_twice),
        T(what_was_rejected_and_comes_again_is_not_answered_twice),
        T(rejected_twice_and_the_second_letter_redriven_first),
        T(rejected_twice_and_the_first_letter_redriven_first),
        T(what_was_rejected_is_counted_as_quarantined),
        T(without_a_database_the_topics_bring_it_back),
        T(a_lost_database_is_held_until_it_is_rebuilt),
        T(what_only_its_group_knows_holds_it_too),
        T(what_others_published_to_its_topic_holds_nobody),
        T(a_newcomer_without_kafka_begins_when_it_comes),
        T(what_a_lost_one_took_without_kafka_is_taken_over),
        T(an_older_copy_is_held_until_it_is_rebuilt),
        T(what_an_older_copy_took_without_kafka_is_taken_over),
        T(what_it_sent_and_did_not_note_holds_nothing),
        T(another_log_is_refused),
        T(killed_in_the_middle_nothing_is_lost),
        T(many_unknown_schema_ids_hold_it_as_long_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
