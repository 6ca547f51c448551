/* Sales takes orders while its database and its memory fail: what it answers well to is stored whole, and what it
 * refuses is not. What is wrong is said by its field. And its tables are what its events say: made anew from those
 * alone, they are the same. */
#include "helper_client.h"
#include "helper_fault.h"
#include "helper_world.h"

#include "chassis/base/assets.h"
#include "chassis/store/migrations.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NTH_MAX = 3000 };

extern const struct service service; /* sales' declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    w->name = "sales";
    w->more[w->more_n++] = "--kafka=127.0.0.1:9"; /* deciding needs neither */
    w->registry_down = true;
    world_start(w, &service);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

/* The answer; NULL: none came. headers: each with its end of line. */
static struct answer *ask(struct world *w, const char *path, const char *headers, const char *body) {
    char request[4000];
    int n = snprintf(
        request, sizeof request, "POST %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
        path, headers, strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    bool sent = client_send(fd, request, (size_t)n);
    struct answer *a = sent ? client_read(fd, false) : NULL;
    close(fd);
    return a;
}

#define JSON "Content-Type: application/json\r\n"
#define FORM "Content-Type: application/x-www-form-urlencoded\r\n"

/* The answer's status; 0: none came. tag: of If-Match, or "". */
static int post(struct world *w, const char *path, const char *tag, const char *body) {
    char headers[200], under[200];
    snprintf(headers, sizeof headers, JSON "%s%s%s", *tag ? "If-Match: " : "", tag, *tag ? "\r\n" : "");
    snprintf(under, sizeof under, "/api%s", path);
    struct answer *a = ask(w, under, headers, body);
    return a ? a->status : 0;
}

static int order(struct world *w, int number) {
    char body[700];
    snprintf(
        body, sizeof body,
        "{\"order_id\":\"O-%d\",\"customer_id\":\"C-1\",\"items\":["
        "{\"model\":\"M\",\"price\":{\"amount\":\"10\",\"currency\":\"EUR\"},\"serial_number\":\"SN-%d\"},"
        "{\"model\":\"N\",\"price\":{\"amount\":\"20\",\"currency\":\"EUR\"}}]}",
        number, number);
    return post(w, "/orders", "", body);
}

static int change(struct world *w, int number) {
    char path[60], body[300];
    snprintf(path, sizeof path, "/orders/O-%d/change", number);
    snprintf(
        body, sizeof body,
        "{\"shipment_id\":\"S\",\"items\":[{\"line\":2,\"serial_number\":\"SN-%d-2\"},"
        "{\"model\":\"P\",\"price\":{\"amount\":\"30\",\"currency\":\"EUR\"}}]}",
        number);
    return post(w, path, "\"1\"", body);
}

__attribute__((format(printf, 2, 3))) static int64_t count(struct world *w, const char *sql, ...) {
    char text[300];
    va_list arguments;
    va_start(arguments, sql);
    vsnprintf(text, sizeof text, sql, arguments);
    va_end(arguments);
    return world_int(w, text);
}

#define PLACED "SELECT COUNT(*) FROM customer_order WHERE order_id = 'O-%d'"
#define ITEMS "SELECT COUNT(*) FROM order_item WHERE order_id = 'O-%d'"
#define SERIALS "SELECT COUNT(*) FROM order_item WHERE order_id = 'O-%d' AND serial_number IS NOT NULL"
#define EVENTS "SELECT COUNT(*) FROM outbox WHERE return_id = 'O-%d'"
#define CHANGED "SELECT COUNT(*) FROM customer_order WHERE order_id = 'O-%d' AND version = 2 AND shipment_id = 'S'"

static void placed_or_not(struct world *w, int number, int status, const char *what) {
    bool whole = count(w, PLACED, number) == 1 && count(w, ITEMS, number) == 2 && count(w, SERIALS, number) == 1 &&
                 count(w, EVENTS, number) == 1;
    bool none = !count(w, PLACED, number) && !count(w, ITEMS, number) && !count(w, EVENTS, number);
    if (!whole && !none) fail_msg("%s: half of order %d is kept", what, number);
    if (status == 201 && !whole) fail_msg("%s: answered 201, and order %d is not kept", what, number);
    if ((status == 503 || status / 100 == 4) && !none) fail_msg("%s: answered %d, and it is kept", what, status);
}

static void changed_or_not(struct world *w, int number, int status, const char *what) {
    bool whole = count(w, CHANGED, number) == 1 && count(w, ITEMS, number) == 3 && count(w, SERIALS, number) == 2 &&
                 count(w, EVENTS, number) == 2;
    bool none = !count(w, CHANGED, number) && count(w, ITEMS, number) == 2 && count(w, SERIALS, number) == 1 &&
                count(w, EVENTS, number) == 1;
    if (!whole && !none)
        fail_msg(
            "%s: half of the change of %d is kept: %d, changed %d, items %d, serials %d, events %d", what, number,
            status, (int)count(w, CHANGED, number), (int)count(w, ITEMS, number), (int)count(w, SERIALS, number),
            (int)count(w, EVENTS, number));
    if (status == 200 && !whole) fail_msg("%s: answered 200, and the change of %d is not kept", what, number);
    if ((status == 503 || status / 100 == 4) && !none) fail_msg("%s: answered %d, and it is kept", what, status);
}

static void fail_each(struct world *w, enum fault kind, int code, bool changes, const char *what) {
    int refused = 0, done = 0, otherwise = 0, nth = 0;
    bool met = true;
    assert_int_equal(post(w, "/customers", "", "{\"customer_id\":\"C-1\",\"name\":\"N\",\"location\":\"L\"}"), 201);
    while (met && ++nth < NTH_MAX) {
        if (changes) assert_int_equal(order(w, nth), 201);
        fault_arm(kind, nth, code, false);
        int status = changes ? change(w, nth) : order(w, nth);
        met = fault_count() > 0;
        fault_mend();
        (changes ? changed_or_not : placed_or_not)(w, nth, status, what);
        refused += status == 503;
        done += status / 100 == 2;
        otherwise += status / 100 != 2 && status != 503;
    }
    print_message("%s: %d refused with 503, %d done, %d otherwise\n", what, refused, done, otherwise);
    assert_true(nth > 5 && nth < NTH_MAX && refused > 0 && done > 0);
    assert_int_equal(order(w, 0), 201);
}

static void a_call_of_the_database_fails(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_FULL, false, "placing, SQLite's call");
}

static void a_call_of_the_database_fails_for_a_change(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_FULL, true, "changing, SQLite's call");
}

static void an_allocation_fails(void **state) {
    fail_each(*state, FAULT_MEMORY, 0, false, "placing, the allocation");
}

static void an_allocation_fails_for_a_change(void **state) {
    fail_each(*state, FAULT_MEMORY, 0, true, "changing, the allocation");
}

/* --- What is wrong is said by its field, and what is sent again is done once */

static void refused_by(struct world *w, const char *path, const char *headers, const char *body, const char *field) {
    struct answer *a = ask(w, path, headers, body);
    if (a->status != 422 || !strstr(a->text, field)) fail_msg("%s\nnot 422 for %s: %s", body, field, a->text);
}

/* Support reads them by the one rule for ids, and would have to put the event aside. */
static void what_others_take_for_an_id_is_held_to_the_rule_for_ids(void **state) {
    struct world *w = *state;
    char long_id[300] = "", body[900], name[60];
    static const char *const fields[] = {"model", "serial_number", "shipment_id", "customer_id"};
    for (int i = 0; i < 90; i++) strcat(long_id, "\xe6\xa9\x9f");
    const char *const bad[] = {".", "..", long_id};
    assert_int_equal(post(w, "/customers", "", "{\"customer_id\":\"C-1\",\"name\":\"N\",\"location\":\"L\"}"), 201);
    assert_int_equal(order(w, 1), 201);
    for (int i = 0; i < 12; i++) {
        const char *value[] = {"M", "SN-9", "S-9", "C-1"};
        value[i % 4] = bad[i / 4];
        snprintf(name, sizeof name, "\"field\":\"%s%s\"", i % 4 < 2 ? "items.0." : "", fields[i % 4]);
        snprintf(
            body, sizeof body,
            "{\"items\":[{\"model\":\"%s\",\"price\":{\"amount\":\"10\",\"currency\":\"EUR\"},\"serial_number\":\"%s\"}],"
            "\"shipment_id\":\"%s\",\"customer_id\":\"%s\"}",
            value[0], value[1], value[2], value[3]);
        refused_by(w, "/api/orders", JSON, body, name);
        if (i % 4 == 3) continue; /* a change names no customer */
        snprintf(
            body, sizeof body,
            "{\"items\":[{\"line\":1,\"model\":\"%s\",\"serial_number\":\"%s\"}],\"shipment_id\":\"%s\"}", value[0],
            value[1], value[2]);
        refused_by(w, "/api/orders/O-1/change", JSON "If-Match: \"1\"\r\n", body, name);
    }
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM outbox"), 2);
}

static void a_form_with_a_price_and_its_parts_is_refused_by_field(void **state) {
    struct world *w = *state;
    refused_by(
        w, "/orders", FORM,
        "order_id=O-1&customer_id=C-1&items.0.model=M&items.0.price=x&items.0.price.amount=1&items.0.price.currency=EUR",
        "items.0.price");
    refused_by(w, "/orders", FORM, "items.0.model=M&items.0.price.amount=1&items.0.price=x", "items.0.price");
}

/* Presses the button of the order's form at the path twice. */
static void press_twice(struct world *w, const char *path, const char *fields) {
    char body[700];
    int fd = client_open(http_port(w->rt.http));
    const char *get = "GET /orders/O-1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_true(client_send(fd, get, strlen(get)));
    const char *page = client_read(fd, false)->text, *form = strstr(page, path);
    close(fd);
    if (!form) fail_msg("no form of %s in %s", path, page);
    const char *key = strstr(form, "name=\"idempotency_key\" value=\""), *end = strstr(form, "</form>");
    if (!key || key > end) fail_msg("the form of %s has no key", path);
    key += strlen("name=\"idempotency_key\" value=\"");
    snprintf(body, sizeof body, "%s&idempotency_key=%.*s", fields, (int)strcspn(key, "\""), key);
    struct answer *a = ask(w, path, FORM, body);
    if (a->status != 303 || strstr(a->text, "Idempotency-Replayed")) fail_msg("not done: %s", a->text);
    a = ask(w, path, FORM, body);
    if (a->status != 303 || !strstr(a->text, "Idempotency-Replayed: true") ||
        !strstr(a->text, "Location: /orders/O-1\r\n"))
        fail_msg("not the first answer: %s", a->text);
}

static void a_form_sent_twice_is_answered_as_the_first_time(void **state) {
    struct world *w = *state;
    assert_int_equal(post(w, "/customers", "", "{\"customer_id\":\"C-1\",\"name\":\"N\",\"location\":\"L\"}"), 201);
    assert_int_equal(order(w, 1), 201);
    press_twice(w, "/orders/O-1/change", "version=1&from=1&shipment_id=S-1&items.0.line=2&items.0.serial_number=SN-2");
    press_twice(w, "/orders/O-1/complete", "version=2");
    assert_int_equal(count(w, EVENTS, 1), 3);
}

/* --- From the events alone */

static char *tables_dump(struct connection *c) {
    struct buffer all = BUFFER(1 << 20);
    static const char *const queries[] = {
        "SELECT * FROM customer ORDER BY customer_id", "SELECT * FROM customer_order ORDER BY order_id",
        "SELECT * FROM order_item ORDER BY order_id, line"};
    for (size_t i = 0; i < 3; i++) {
        json_t *rows = store_json_values(c, queries[i], NULL, 0);
        char *text = json_dumps(rows, JSON_SORT_KEYS | JSON_INDENT(1));
        buffer_text(&all, text);
        free(text);
        json_decref(rows);
    }
    return all.data;
}

static struct schema *schema_of(const char *type) {
    char name[100];
    struct schema *schema;
    struct failure why;
    snprintf(name, sizeof name, "%s.avsc", strrchr(type, '.') + 1);
    const struct asset *file = asset_find(name);
    assert_non_null(file);
    assert_int_equal(schema_parse(file->bytes, file->n, &schema, &why), OK);
    return schema;
}

static void event_replay(struct connection *to, const struct rows *r) {
    size_t n;
    json_t *data = NULL;
    struct failure why;
    const void *body = rows_blob(r, 1, &n);
    struct schema *schema = schema_of(rows_text(r, 0));
    if (codec_decode(schema, body, n, &data, &why) != OK) fail_msg("%s", why.text);
    service.decided(
        to, &(struct event){
                .type = rows_text(r, 0),
                .source = "sales",
                .key = rows_text(r, 2),
                .version = json_integer_value(json_object_get(data, "version")),
                .occurred_at = json_integer_value(json_object_get(data, "occurred_at")),
                .topic = "sales.events",
                .data = data});
    json_decref(data);
    schema_free(&schema);
}

static char *replayed(struct world *w) {
    struct store *anew;
    struct failure why;
    struct migration migrations[MIGRATIONS_MAX];
    char path[100];
    snprintf(path, sizeof path, "%s/anew.db", w->folder);
    size_t n = assets_migrations("chassis", "tables", migrations, 0);
    n = assets_migrations("team", "schema", migrations, n);
    assert_int_equal(store_open(&anew, path, migrations, n, &why), OK);
    struct connection *to = store_begin(anew);
    for (struct rows r = store_rows_values(
             store_reader(w->rt.core.store), "SELECT type, body, return_id FROM outbox ORDER BY id", NULL, 0);
         rows_next(&r);)
        event_replay(to, &r);
    char *dump = tables_dump(to);
    assert_int_equal(store_commit(to, &why), OK);
    store_close(&anew);
    return dump;
}

static void the_events_alone_make_the_same_tables(void **state) {
    struct world *w = *state;
    char body[300];
    assert_int_equal(post(w, "/customers", "", "{\"customer_id\":\"C-1\",\"name\":\"Ü\",\"location\":\"L\"}"), 201);
    for (int i = 0; i < 20; i++) {
        char path[60], tag[8];
        assert_int_equal(order(w, i), 201);
        if (i % 2) assert_int_equal(change(w, i), 200);
        snprintf(path, sizeof path, "/orders/O-%d/change", i);
        snprintf(tag, sizeof tag, "\"%d\"", 1 + i % 2);
        if (i % 3 == 0) {
            snprintf(
                body, sizeof body,
                "{\"items\":[{\"line\":1,\"removed\":true},{\"line\":2,\"model\":\"Z\",\"price\":"
                "{\"amount\":\"%d.5\",\"currency\":\"PLN\"}}]}",
                i);
            assert_int_equal(post(w, path, tag, body), 200);
        } else if (i % 3 == 1 && i % 2) {
            assert_int_equal(post(w, path, tag, "{\"items\":[{\"line\":3,\"removed\":true}]}"), 200);
            snprintf(path, sizeof path, "/orders/O-%d/complete", i);
            assert_int_equal(post(w, path, "*", "{}"), 200);
        }
    }
    assert_true(world_int(w, "SELECT COUNT(*) FROM customer_order WHERE state = 'completed'") > 2);
    char *was = tables_dump(store_reader(w->rt.core.store)), *is = replayed(w);
    assert_string_equal(was, is);
    free(was);
    free(is);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    fault_exempt = true;
    fault_json();
    fault_vfs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_of_the_database_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_of_the_database_fails_for_a_change, setup, teardown),
        cmocka_unit_test_setup_teardown(an_allocation_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(an_allocation_fails_for_a_change, setup, teardown),
        cmocka_unit_test_setup_teardown(what_others_take_for_an_id_is_held_to_the_rule_for_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(a_form_with_a_price_and_its_parts_is_refused_by_field, setup, teardown),
        cmocka_unit_test_setup_teardown(a_form_sent_twice_is_answered_as_the_first_time, setup, teardown),
        cmocka_unit_test_setup_teardown(the_events_alone_make_the_same_tables, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
