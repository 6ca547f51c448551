/* Support's copy of sales' customers and orders: whatever the order in which their events come, it is the same. */
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

/* It asks nobody for offsets: librdkafka 2.0 leaks a queue when it ends in the middle of such a question. */
static const struct service *folding(void) {
    static struct service own;
    own = service;
    own.watch_subscribers = false;
    return &own;
}
extern const struct asset service_assets[];
extern const size_t service_assets_n;

enum { KINDS = 5 };
static const char *const names[KINDS] = {
    "CustomerRegistered", "OrderPlaced", "OrderChanged", "OrderChanged", "OrderCompleted"};
/* One order's life; each # is the number of customer and order. Line 2 goes, line 3 comes, and line 4 goes and comes
 * again as another item; version 2 says nothing of the shipment. */
static const char *const life[KINDS] = {
    "\"version\":1,\"occurred_at\":1000,\"customer_id\":\"C-#\",\"name\":\"ÅSA Möbel\",\"location\":\"Lyon\"",
    "\"version\":1,\"occurred_at\":2000,\"order_id\":\"O-#\",\"customer_id\":\"C-#\",\"shipment_id\":\"S-1\",\"items\":["
    "{\"line\":1,\"model\":\"M\",\"price\":{\"amount\":\"10.00\",\"currency\":\"EUR\"},\"serial_number\":null},"
    "{\"line\":2,\"model\":\"N\",\"price\":{\"amount\":\"20.00\",\"currency\":\"EUR\"},\"serial_number\":\"SN-2\"},"
    "{\"line\":4,\"model\":\"Q\",\"price\":{\"amount\":\"40.00\",\"currency\":\"EUR\"},\"serial_number\":\"SN-4\"}]",
    "\"version\":2,\"occurred_at\":3000,\"order_id\":\"O-#\",\"items\":["
    "{\"line\":1,\"price\":{\"amount\":\"9.50\",\"currency\":\"EUR\"}},{\"line\":2,\"removed\":true},"
    "{\"line\":3,\"model\":\"P\",\"price\":{\"amount\":\"30.00\",\"currency\":\"CHF\"}},{\"line\":4,\"removed\":true}]",
    "\"version\":3,\"occurred_at\":4000,\"order_id\":\"O-#\",\"shipment_id\":\"S-2\",\"items\":["
    "{\"line\":1,\"model\":\"M2\"},{\"line\":4,\"model\":\"R\",\"price\":{\"amount\":\"41.00\",\"currency\":\"EUR\"}}]",
    "\"version\":4,\"occurred_at\":5000,\"order_id\":\"O-#\",\"shipment_id\":\"S-3\",\"items\":["
    "{\"line\":1,\"serial_number\":\"SN-1\"},{\"line\":3,\"serial_number\":\"SN-3\"}]"};

static int events_made;

static int setup(void **state) {
    static const char *const topics[] = {"sales.events", "support.dead-letters"};
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    for (int i = 0; i < 2; i++) assert_int_equal(rd_kafka_mock_topic_create(w->cluster, topics[i], 6, 1), 0);
    w->name = "support";
    events_made = 0;
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

static void publish(struct world *w, const char *topic, int partition, const char *name, const char *json) {
    char file[100];
    json_t *value = json_loads(json, 0, NULL);
    if (!value) fail_msg("no JSON: %s", json);
    snprintf(file, sizeof file, "sales/%s", name);
    world_publish_to(w, topic, partition, file, value);
}

/* An event of the given rest, with an id of its own. */
static void tell(struct world *w, int partition, const char *name, const char *rest) {
    char json[2000];
    snprintf(json, sizeof json, "{\"event_id\":\"019a0000-0000-7000-8000-%012d\",%s}", ++events_made, rest);
    publish(w, "sales.events", partition, name, json);
}

/* With the number wherever there is a #. */
static void tell_life(struct world *w, int partition, int kind, const char *number) {
    struct buffer rest = BUFFER(2000);
    for (const char *p = life[kind]; *p; p++)
        buffer_bytes(&rest, *p == '#' ? number : p, *p == '#' ? strlen(number) : 1);
    assert_non_null(rest.data);
    tell(w, partition, names[kind], rest.data);
    buffer_free(&rest);
}

static void assert_life(struct world *w, int orders) {
    char sql[700];
    struct {
        const char *what;
        int times;
    } is[] = {
        {"customer WHERE name = 'ÅSA Möbel' AND location = 'Lyon' AND version = 1 AND registered_at = 1000 "
         "AND search LIKE 'åsa möbel%c-%'",
         1},
        {"customer_order WHERE version = 4 AND changed_at = 5000 AND placed_at = 2000 AND completed_at = 5000 "
         "AND shipment_id = 'S-3' AND SUBSTR(customer_id, 3) = SUBSTR(order_id, 3)",
         1},
        {"order_item WHERE line = 1 AND present = 1 AND model = 'M2' AND price_minor = 950 AND price_currency = 'EUR' "
         "AND serial_number = 'SN-1'",
         1},
        {"order_item WHERE line = 2 AND present = 0 AND model IS NULL AND price_minor IS NULL AND serial_number IS NULL",
         1},
        {"order_item WHERE line = 3 AND present = 1 AND model = 'P' AND price_minor = 3000 AND price_currency = 'CHF' "
         "AND serial_number = 'SN-3'",
         1},
        {"order_item WHERE line = 4 AND present = 1 AND model = 'R' AND price_minor = 4100 AND serial_number IS NULL",
         1},
        {"order_item", 4},
        {"(SELECT DISTINCT line, present, line_version, model, model_version, price_minor, price_version, serial_number, "
         "serial_version FROM order_item)",
         0},
    };
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM %s", is[i].what);
        world_await(w, sql, is[i].times ? is[i].times * orders : 4);
    }
}

/* The nth permutation of the events. */
static void order_of(int n, int kinds[KINDS]) {
    bool used[KINDS] = {false};
    for (int i = 0, left = 120; i < KINDS; i++) {
        left /= KINDS - i;
        int skip = n / left, kind = 0;
        n %= left;
        for (;; kind++)
            if (!used[kind] && !skip--) break;
        used[kinds[i] = kind] = true;
    }
}

static void in_whatever_order_they_come(void **state) {
    struct world *w = *state;
    int kinds[KINDS];
    char number[12];
    world_start(w, folding());
    for (int n = 0; n < 120; n++) {
        order_of(n, kinds);
        snprintf(number, sizeof number, "%d", n);
        for (int i = 0; i < KINDS; i++) tell_life(w, n % 6, kinds[i], number);
    }
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
    world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled' AND action = 'note'", 120 * KINDS);
    assert_life(w, 120);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM history"), 0);
}

static void across_restarts_and_with_duplicates(void **state) {
    struct world *w = *state;
    char json[2000];
    for (int i = 0; i < KINDS; i++) {
        tell_life(w, i, i, "1");
        assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
        if (i % 3 != 1) continue; /* two, then three */
        world_start(w, folding());
        world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'", i + 1);
        world_stop(w);
    }
    /* Version 2 once more, as a relay that crashed sends it. */
    snprintf(
        json, sizeof json,
        "{\"event_id\":\"019a0000-0000-7000-8000-%012d\",\"version\":2,\"occurred_at\":3000,\"order_id\":\"O-1\","
        "\"items\":[{\"line\":1,\"removed\":true}]}",
        3);
    publish(w, "sales.events", 2, "OrderChanged", json);
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
    world_start(w, folding());
    world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'duplicate'", 1);
    assert_life(w, 1);
}

static void what_cannot_be_understood_is_put_aside_whole(void **state) {
    struct world *w = *state;
    world_start(w, folding());
    tell(
        w, 0, "CustomerRegistered",
        "\"version\":0,\"occurred_at\":1,\"customer_id\":\"C-1\",\"name\":\"N\",\"location\":\"L\"");
    tell(
        w, 0, "CustomerRegistered",
        "\"version\":1,\"occurred_at\":1,\"customer_id\":\"\",\"name\":\"N\",\"location\":\"L\"");
    tell(
        w, 0, "OrderPlaced",
        "\"version\":1,\"occurred_at\":1,\"order_id\":\"O-1\",\"customer_id\":\"C-1\",\"items\":["
        "{\"line\":1,\"model\":\"M\",\"price\":{\"amount\":\"1.00\",\"currency\":\"EUR\"}},"
        "{\"line\":2,\"model\":\"M\",\"price\":{\"amount\":\"1.00\",\"currency\":\"euros\"}}]");
    tell_life(w, 0, 0, "2");
    /* What the teams' own topic does not say is no order. */
    publish(
        w, "support.events", 0, "CustomerRegistered",
        "{\"event_id\":\"019a0000-0000-7000-8000-00000000ffff\",\"version\":1,\"occurred_at\":1,\"customer_id\":\"C-9\","
        "\"name\":\"N\",\"location\":\"L\"}");
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
    world_await(w, "SELECT COUNT(*) FROM audit WHERE outcome = 'handled'", 2);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", 3);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM customer"), 1);
    assert_int_equal(
        world_int(w, "SELECT (SELECT COUNT(*) FROM customer_order) + (SELECT COUNT(*) FROM order_item)"), 0);
}

/* However often an item came back, its order is shown, with the newest of its returns. */
static void of_an_items_returns_the_newest_are_listed(void **state) {
    struct world *w = *state;
    struct failure why;
    char id[40];
    world_start(w, folding());
    tell_life(w, 0, 1, "1");
    assert_int_equal(rd_kafka_flush(w->producer, 10000), 0);
    world_await(w, "SELECT COUNT(*) FROM order_item WHERE serial_number = 'SN-2'", 1);
    struct connection *c = store_begin(w->rt.core.store);
    for (int i = 1; i <= 50; i++) {
        snprintf(id, sizeof id, "R-%02d", i);
        (void)store_run(
            c,
            "INSERT INTO return_request (return_id, version, requested_at, order_id, model, shipment_id, serial_number, "
            "location, cost_minor, cost_currency, state) VALUES (?, 1, ?, 'O-1', 'N', 'S-1', 'SN-2', 'L', 1, 'EUR', "
            "'closed')",
            value_text(id), value_int(i));
    }
    assert_int_equal(store_commit(c, &why), OK);
    int fd = client_open(http_port(w->rt.http));
    const char *get = "GET /api/orders/O-1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_true(client_send(fd, get, strlen(get)));
    json_t *order = json_loads(client_read(fd, false)->body, 0, NULL);
    json_t *returns = json_object_get(json_array_get(json_object_get(order, "items"), 1), "returns");
    close(fd);
    assert_int_equal(json_array_size(returns), 20);
    assert_string_equal(json_string_value(json_object_get(json_array_get(returns, 0), "return_id")), "R-50");
    assert_string_equal(json_string_value(json_object_get(json_array_get(returns, 19), "return_id")), "R-31");
    json_decref(order);
}

/* A thousand orders of a thousand items each: only some may be read at once. */
static void a_customer_with_a_limit_is_a_long_read(void **state) {
    (void)state;
    const struct resource *r = service.resources;
    while (!r->path || strcmp(r->path, "/customers/{id}") != 0) r++;
    assert_non_null(strstr(r->query, "limit"));
    if (!r->long_read || strcmp(r->long_read, "limit") != 0)
        fail_msg("%s is no long read when it has a limit", r->path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_whatever_order_they_come, setup, teardown),
        cmocka_unit_test_setup_teardown(across_restarts_and_with_duplicates, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_understood_is_put_aside_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(of_an_items_returns_the_newest_are_listed, setup, teardown),
        cmocka_unit_test(a_customer_with_a_limit_is_a_long_read),
    };
    return cmocka_run_group_tests_name("orders", tests, NULL, NULL);
}
