/* Snapshots: a change makes one, also when it comes while one is under way, and when the process dies before it is
 * noted that one was delivered. */
#include "helper_child.h"
#include "helper_probe.h"

#include "chassis/avro/codec.h"
#include "chassis/base/assets.h"
#include "chassis/base/health.h"
#include "chassis/outgoing/snapshots.h"
#include "chassis/service/commands.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SNAPSHOT                                                                                                       \
    "{\"type\":\"record\",\"name\":\"ThingSnapshot\",\"namespace\":\"returns.probe\",\"fields\":["                     \
    "{\"name\":\"return_id\",\"type\":\"string\"},{\"name\":\"n\",\"type\":\"long\"},"                                 \
    "{\"name\":\"digest\",\"type\":\"string\"},{\"name\":\"at\",\"type\":\"long\"}]}"

static const struct asset assets[] = {
    {"schema.sql",
     "CREATE TABLE thing (return_id TEXT PRIMARY KEY, n BIGINT NOT NULL);"
     "CREATE TABLE snapshot_due (return_id TEXT NOT NULL PRIMARY KEY, change BIGINT NOT NULL, refused TEXT);"
     "INSERT INTO thing VALUES ('R-1', 1); INSERT INTO snapshot_due (return_id, change) VALUES ('R-1', 1), ('R-GONE', 1);",
     0},
    {"Answered.avsc", ANSWERED, sizeof ANSWERED - 1},
    {"ThingSnapshot.avsc", SNAPSHOT, sizeof SNAPSHOT - 1},
};

enum { LARGE = 1000 };
static struct store *_Atomic change_in; /* once, while a snapshot is made */

static void change(struct store *store) {
    struct failure why;
    struct connection *c = store_begin(store);
    (void)store_run(c, "UPDATE thing SET n = n + 1");
    snapshot_due(c, "R-1");
    assert_int_equal(store_commit(c, &why), OK);
}

static json_t *make(struct connection *reader, const char *return_id) {
    int64_t n = store_int(reader, 0, "SELECT n FROM thing WHERE return_id = ?", value_text(return_id));
    struct store *store = n ? atomic_exchange(&change_in, NULL) : NULL;
    if (store) change(store);
    if (n == LARGE) {
        char *text = calloc(1, EVENT_BYTES_MAX + 1);
        json_t *large = json_pack("{s:s, s:I}", "return_id", memset(text, 'x', EVENT_BYTES_MAX), "n", (json_int_t)n);
        free(text);
        return large;
    }
    return n ? json_pack("{s:s, s:I}", "return_id", return_id, "n", (json_int_t)n) : NULL;
}

static const struct snapshot_source source = {"ThingSnapshot.avsc", make};
static const struct handler handlers[] = {{0}};
static const struct service things = {
    .title = "Things", .duty = "Has things.", .subscribes = "support", .handlers = handlers, .snapshots = &source};

static int setup(void **state) {
    change_in = NULL;
    int failed = probe_setup(state);
    assets_of_service(assets, sizeof assets / sizeof *assets);
    struct world *w = *state;
    assert_int_equal(rd_kafka_mock_topic_create(w->cluster, "probe.snapshots", 6, 1), 0);
    return failed;
}

static void read_n(const rd_kafka_message_t *m, void *last) {
    struct schema *schema;
    struct failure why;
    json_t *said;
    char digest[SNAPSHOT_DIGEST];
    assert_int_equal(schema_parse(SNAPSHOT, strlen(SNAPSHOT), &schema, &why), OK);
    assert_int_equal(codec_decode(schema, (const char *)m->payload + FRAME_SIZE, m->len - FRAME_SIZE, &said, &why), OK);
    assert_true(snapshot_digest(said, digest));
    assert_string_equal(json_string_value(json_object_get(said, "digest")), digest);
    assert_memory_equal(m->key, "R-1", 3);
    *(json_int_t *)last = json_integer_value(json_object_get(said, "n"));
    json_decref(said);
    schema_free(&schema);
}

static void assert_published(struct world *w, int records, json_int_t n) {
    json_int_t last = 0;
    world_await(w, "SELECT COUNT(*) FROM snapshot_due", 0);
    assert_int_equal(world_records(w, "probe.snapshots"), records);
    assert_int_equal(world_read(w, "probe.snapshots", records, read_n, &last), records);
    assert_int_equal(last, n);
}

static void many_changes_make_one(void **state) {
    struct world *w = *state;
    w->registry_down = true;
    world_start(w, &things);
    for (int i = 0; i < 5; i++) change(w->rt.core.store);
    assert_int_equal(world_int(w, "SELECT change FROM snapshot_due WHERE return_id = 'R-1'"), 6);
    w->registry_down = false;
    assert_published(w, 1, 6);
}

/* The delivery of the first one does not take out what changed since it was made. */
static void a_change_while_one_is_made_makes_another(void **state) {
    struct world *w = *state;
    w->registry_down = true;
    world_start(w, &things);
    atomic_store(&change_in, w->rt.core.store);
    w->registry_down = false;
    assert_published(w, 2, 2);
}

static void run(struct store *store, const char *sql) {
    struct failure why;
    struct connection *c = store_begin(store);
    (void)store_run_values(c, sql, NULL, 0);
    assert_int_equal(store_commit(c, &why), OK);
}

#define MANY "WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 20) "

/* They come before the others in their order, and are more than are made at once. */
static void large_ones_hold_up_no_other(void **state) {
    struct world *w = *state;
    w->registry_down = true;
    world_start(w, &things);
    run(w->rt.core.store, MANY "INSERT INTO thing SELECT 'A-' || i, 1000 FROM k");
    run(w->rt.core.store, MANY "INSERT INTO snapshot_due (return_id, change) SELECT 'A-' || i, 1 FROM k");
    w->registry_down = false;
    world_await(w, "SELECT COUNT(*) FROM snapshot_due WHERE return_id = 'R-1'", 0);
    world_await(w, "SELECT COUNT(*) FROM snapshot_due WHERE refused IS NOT NULL", 20);
    assert_int_equal(world_records(w, "probe.snapshots"), 1);
    world_await_health(w, "snapshots", "failed", "20 cannot be published");
    assert_true(health_ready(w->rt.core.health));
    run(w->rt.core.store, "UPDATE thing SET n = 2 WHERE return_id = 'A-7'");
    struct failure why;
    struct connection *c = store_begin(w->rt.core.store);
    snapshot_due(c, "A-7");
    assert_int_equal(store_commit(c, &why), OK);
    world_await(w, "SELECT COUNT(*) FROM snapshot_due", 19);
    assert_int_equal(world_records(w, "probe.snapshots"), 2);
}

/* All of a batch get the error of one. */
static void the_guilty_one_of_a_batch(void **state) {
    static const rd_kafka_resp_err_t errors[] = {
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE};
    struct world *w = *state;
    w->registry_down = true;
    world_start(w, &things);
    run(w->rt.core.store, "DELETE FROM snapshot_due");
    /* Of one partition: the same hash. */
    run(w->rt.core.store, "INSERT INTO thing VALUES ('A-1', 1), ('A-2', 1)");
    run(w->rt.core.store, "INSERT INTO snapshot_due (return_id, change) VALUES ('A-1', 1), ('A-2', 1)");
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        rd_kafka_mock_push_request_errors(w->cluster, 0 /* Produce */, 1, errors[i]);
    w->registry_down = false;
    world_await(w, "SELECT COUNT(*) FROM snapshot_due WHERE refused IS NOT NULL", 1);
    world_await(w, "SELECT COUNT(*) FROM snapshot_due", 1);
    assert_true(world_records(w, "probe.snapshots") >= 1);
}

static void a_crash_loses_none(void **state) {
    struct world *w = *state;
    int status = child_wait(child_start(w, "after snapshots", "a"));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM snapshot_due"), 2);
    assert_int_equal(world_records(w, "probe.snapshots"), 1);
    world_start(w, &things);
    assert_published(w, 2, 1);
}

int main(int argc, char *argv[]) {
    if (argc > 1 && !strcmp(argv[1], "as-a-child")) {
        assets_of_service(assets, sizeof assets / sizeof *assets);
        argv[1] = argv[0];
        return service_main(&things, "probe", 0, argc - 1, argv + 1);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(many_changes_make_one, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_change_while_one_is_made_makes_another, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(large_ones_hold_up_no_other, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(the_guilty_one_of_a_batch, setup, probe_teardown),
        cmocka_unit_test_setup_teardown(a_crash_loses_none, setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
