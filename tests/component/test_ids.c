/* Ids of others: what keeps the one rule (input_id) is taken, and every link to it on every page leads to it; what does
 * not keep it is quarantined, with the reason. */
#include "helper_client.h"
#include "helper_world.h"

#include "chassis/base/assets.h"
#include "chassis/rebuild/rebuild.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct service service; /* support's declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN
#define LONG_250 FIFTY FIFTY FIFTY FIFTY FIFTY
#define TWO_BYTES "\u00e9"
#define FOUR_BYTES "\U0001f4e6"
#define TIMES_4(text) text text text text
#define TIMES_16(text) TIMES_4(TIMES_4(text))
#define TIMES_64(text) TIMES_4(TIMES_16(text))

static const char *const taken[] = {
    "RMA/2026/f0f1",
    "/",
    "//a//",
    "a/../b",
    "...",
    "%2F",
    "%",
    "100%25",
    "a?b=c&d=e",
    "a#b",
    "a b",
    "a+b",
    "\"q\" 'r' <b>",
    "a\\b;c=",
    "K\u00f6ln",
    "Ko\u0308ln",
    "R-twin",
    "r-TWIN",
    "\U0001f4e6",
    "-",
    "{id}",
    LONG_250 "12345",
    LONG_250 "123" TWO_BYTES,
    LONG_250 "1" FOUR_BYTES,
    "abc" TIMES_16(FOUR_BYTES FOUR_BYTES FOUR_BYTES) TIMES_4(FOUR_BYTES FOUR_BYTES FOUR_BYTES)
        FOUR_BYTES FOUR_BYTES FOUR_BYTES,
    " a",
    "a ",
    "a\u00a0",
    "../..",
    "a/..",
    "./a",
    "../events",
    "a/cancel",
    "%2e%2e",
    "%2E.",
    "%00",
    "%zz",
    "a;b",
    "a&amp;b",
    "\u202eab",
    "a%",
    "http://h/",
    "C:\\",
    "~",
    "*"};
static const struct {
    const char *id, *why;
} refused[] = {
    {"", "is empty"},
    {".", "which no address can hold"},
    {"..", "which no address can hold"},
    {LONG_250 "123456", "has 256 bytes"},
    {LONG_250 "1234567", "has 257 bytes"},
    {LONG_250 "1234" TWO_BYTES, "has 256 bytes"},
    {TIMES_64(TWO_BYTES TWO_BYTES), "has 256 bytes"},
    {TIMES_64(FOUR_BYTES), "has 256 bytes"},
    {"a" TIMES_64(FOUR_BYTES), FOUR_BYTES "…\" has 257 bytes"}, /* the quote ends with a whole character */
    {"abc" TIMES_64(FOUR_BYTES), FOUR_BYTES "…\" has 259 bytes"},
    {"a\nb", "control character U+000A"},
    {"a\x7f", "control character U+007F"},
    {"a\xc2\x85"
     "b",
     "control character U+0085"},
    {" ", "nothing that can be seen"},
    {"\u200b", "nothing that can be seen"}};
enum { TAKEN = sizeof taken / sizeof *taken, REFUSED = sizeof refused / sizeof *refused };

/* --- The world */

static int setup(void **state) {
    static const char *const topics[] = {"sales.events", "support.dead-letters", "support.snapshots"};
    static struct service own;
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    for (int i = 0; i < 3; i++) assert_int_equal(rd_kafka_mock_topic_create(w->cluster, topics[i], 6, 1), 0);
    w->name = "support";
    own = service;
    own.watch_subscribers = false; /* librdkafka 2.0 leaks a queue when it ends in the middle of such a question */
    world_start(w, &own);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

static void customer(struct world *w, const char *customer_id, const char *name) {
    world_publish_as(
        w, "sales.events", "sales/CustomerRegistered",
        json_pack("{s:s, s:s, s:s}", "customer_id", customer_id, "name", name, "location", "Lyon"));
}

static void order(struct world *w, const char *order_id, const char *customer_id, const char *serial_number) {
    world_publish_as(
        w, "sales.events", "sales/OrderPlaced",
        json_pack(
            "{s:s, s:s, s:s, s:[{s:i, s:s, s:{s:s, s:s}, s:s}]}", "order_id", order_id, "customer_id", customer_id,
            "shipment_id", "S", "items", "line", 1, "model", "M/1", "price", "amount", "1.00", "currency", "EUR",
            "serial_number", serial_number));
}

/* --- Asking */

/* Of what is asked for by method and path; in the test's own memory until the next one. */
static struct answer *ask(struct world *w, const char *method, const char *path, const char *headers) {
    struct buffer request = BUFFER(20000);
    int port = http_port(w->rt.http);
    buffer_format(
        &request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n%sContent-Length: 0\r\n\r\n", method,
        path, port, headers);
    int fd = client_open(port);
    assert_true(client_send(fd, request.data, request.length));
    struct answer *a = client_read(fd, false);
    close(fd);
    buffer_free(&request);
    return a;
}

static json_t *ask_json(struct world *w, const char *path) {
    struct answer *a = ask(w, "GET", path, "");
    if (a->status != 200) fail_msg("%s: %d", path, a->status);
    return json_loads(a->body, 0, NULL);
}

/* before + the id, percent-encoded + after; in the test's own memory until the next one. */
static const char *path_of(const char *before, const char *id, const char *after) {
    static char path[2000];
    struct buffer b = BUFFER(sizeof path);
    buffer_text(&b, before);
    buffer_percent(&b, id);
    buffer_text(&b, after);
    snprintf(path, sizeof path, "%s", b.data);
    buffer_free(&b);
    return path;
}

static void unescape(const char *html, size_t n, char out[4000]) {
    static const char *const names[][2] = {
        {"&amp;", "&"}, {"&quot;", "\""}, {"&#39;", "'"}, {"&lt;", "<"}, {"&gt;", ">"}};
    size_t to = 0;
    for (size_t i = 0; i < n && to < 3999;) {
        size_t k = 0;
        while (k < 5 && strncmp(html + i, names[k][0], strlen(names[k][0])) != 0) k++;
        out[to++] = k < 5 ? names[k][1][0] : html[i];
        i += k < 5 ? strlen(names[k][0]) : 1;
    }
    out[to] = '\0';
}

/* Every link of the page leads somewhere on this server. */
static void follow_links(struct world *w, const char *page) {
    static char html[1 << 17], link[4000];
    struct answer *a = ask(w, "GET", page, "");
    if (a->status != 200) fail_msg("%s: %d", page, a->status);
    snprintf(html, sizeof html, "%s", a->body);
    int followed = 0;
    for (const char *p = html; (p = strstr(p, "=\"/")); p += 3) {
        bool href = p - html > 4 && !strncmp(p - 4, "href", 4);
        if (!href) continue;
        unescape(p + 2, strcspn(p + 2, "\""), link);
        int status = ask(w, "GET", link, "")->status;
        if (status != 200 && status != 303) fail_msg("%s links to %s: %d", page, link, status);
        followed++;
    }
    assert_true(followed > 5);
}

static void assert_text(const json_t *object, const char *name, const char *expected) {
    assert_string_equal(json_string_value(json_object_get(object, name)), expected);
}

/* --- Returns */

static void is_reached(struct world *w, const char *id) {
    json_t *one = ask_json(w, path_of("/api/returns/", id, ""));
    assert_text(one, "return_id", id);
    json_decref(one);
    json_t *events = ask_json(w, path_of("/api/returns/", id, "/events"));
    assert_int_equal(json_array_size(json_object_get(events, "events")), 1);
    json_decref(events);
    json_t *audit = ask_json(w, path_of("/api/audit?return_id=", id, ""));
    json_t *row = json_array_get(json_object_get(audit, "rows"), 0);
    assert_text(row, "return_id", id);
    json_decref(audit);
    struct answer *csv = ask(w, "GET", path_of("/api/audit.csv?return_id=", id, ""), "");
    assert_true(csv->status == 200 && strchr(strchr(csv->body, '\n') + 1, '\n'));
    json_t *list = ask_json(w, path_of("/api/returns?limit=1&before=", id, ""));
    json_decref(list);
    follow_links(w, path_of("/audit?return_id=", id, ""));
    follow_links(w, path_of("/returns/", id, ""));
    follow_links(w, path_of("/returns/", id, "?version=1"));
    assert_int_equal(ask(w, "GET", path_of("/returns/", id, "/cancel"), "")->status, 303);
    assert_int_equal(ask(w, "POST", path_of("/api/returns/", id, "/cancel"), "If-Match: \"1\"\r\n")->status, 200);
    one = ask_json(w, path_of("/api/returns/", id, ""));
    assert_text(one, "status", "cancelled");
    json_decref(one);
    struct answer *close_it = ask(w, "POST", path_of("/api/returns/", id, "/close"), "If-Match: \"2\"\r\n");
    assert_true(close_it->status == 409 && strstr(close_it->body, "cancelled"));
}

/* --- The commands beside the service */

/* Its exit status; lines: how many it wrote. */
static int tool(struct world *w, char *const arguments[], int *lines) {
    static char path[] = RETURNS_TOOL;
    char said[4096], *argv[10] = {path};
    int out[2], status, n = 1;
    ssize_t got;
    for (char *const *a = arguments; *a; a++) argv[n++] = *a;
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (!child) {
        setenv("RETURNS_KAFKA", rd_kafka_mock_cluster_bootstraps(w->cluster), 1);
        setenv("RETURNS_REGISTRY", w->registry_url, 1);
        dup2(out[1], STDOUT_FILENO);
        execv(path, argv);
        _exit(127);
    }
    close(out[1]);
    for (*lines = 0; (got = read(out[0], said, sizeof said)) > 0;)
        for (ssize_t i = 0; i < got; i++) *lines += said[i] == '\n';
    close(out[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int tail_of(struct world *w, const char *id, int *lines) {
    char *const arguments[] = {
        (char *)"tail", (char *)"--from", (char *)"beginning", (char *)"--exit", (char *)"--return", (char *)id, NULL};
    return tool(w, arguments, lines);
}

static void snapshots_agree(struct world *w) {
    int lines;
    world_await(w, "SELECT COUNT(*) FROM snapshot_due", 0);
    assert_int_equal(tool(w, (char *const[]){(char *)"snapshots", NULL}, &lines), 0);
}

static void a_rebuild_is_identical(struct world *w) {
    char flags[WORLD_FLAGS][200], *argv[WORLD_FLAGS], *environment[] = {NULL};
    struct settings settings;
    struct failure why;
    json_t *report = NULL;
    int argc = world_flags(w, flags, argv);
    assert_int_equal(settings_read(&settings, w->name, 0, argc, argv, environment, &why), OK);
    const struct rebuild_options o = {.shadow = true, .most = 5};
    if (rebuild_run(&service, &settings, &o, &report, &why) != OK) fail_msg("%s", why.text);
    if (!json_is_true(json_object_get(report, "identical"))) fail_msg("%s", json_dumps(report, JSON_INDENT(1)));
    json_decref(report);
    settings_free(&settings);
}

static void the_commands_know_what_is_taken(void **state) {
    struct world *w = *state;
    int lines;
    for (size_t i = 0; i < TAKEN; i++) world_request(w, taken[i], "O/1", taken[i]);
    for (size_t i = 0; i < REFUSED; i++) world_request(w, refused[i].id, "O/1", "SN");
    world_await(w, "SELECT COUNT(*) FROM history", TAKEN);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", REFUSED);
    follow_links(w, "/dead-letters");
    json_decref(ask_json(w, "/api/dead-letters"));
    json_decref(ask_json(w, "/api/audit?outcome=quarantined"));
    snapshots_agree(w);
    a_rebuild_is_identical(w);
    for (size_t i = 0; i < TAKEN; i++) {
        assert_int_equal(tail_of(w, taken[i], &lines), 0);
        if (lines != 1) fail_msg("%s: %d", taken[i], lines);
    }
    for (size_t i = 0; i < REFUSED; i++) assert_int_equal(tail_of(w, refused[i].id, &lines), 2);
}

static void whatever_is_taken_can_be_reached(void **state) {
    struct world *w = *state;
    char serial[20];
    for (size_t i = 0; i < TAKEN; i++) {
        snprintf(serial, sizeof serial, "SN/%zu", i);
        world_request(w, taken[i], "O/1", serial);
    }
    world_await(w, "SELECT COUNT(*) FROM history", TAKEN);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
    follow_links(w, "/returns");
    follow_links(w, "/audit");
    for (size_t i = 0; i < TAKEN; i++) is_reached(w, taken[i]);
    snapshots_agree(w);
    a_rebuild_is_identical(w);
}

static void assert_refused(struct world *w, size_t i, const char *field) {
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM dead_letter WHERE reason LIKE '%%%s%%%s%%'", field, refused[i].why);
    world_await(w, "SELECT COUNT(*) FROM dead_letter", (int64_t)i + 1);
    if (world_int(w, sql) < 1) fail_msg("not refused as it should be: %s", sql);
}

static void what_is_no_id_is_quarantined(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < REFUSED; i++) {
        world_request(w, refused[i].id, "O", "SN");
        assert_refused(w, i, "return_id");
    }
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM return_request"), 0);
}

static void what_is_no_serial_number_is_quarantined(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < REFUSED; i++) {
        world_request(w, "R-1", "O", refused[i].id);
        assert_refused(w, i, "serial_number");
    }
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM return_request"), 0);
}

/* --- Customers and orders */

static void customers_and_orders_can_be_reached(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < TAKEN; i++) {
        customer(w, taken[i], "Nordwind");
        order(w, taken[i], taken[i], taken[i]);
    }
    world_await(w, "SELECT COUNT(*) FROM customer_order WHERE placed_at IS NOT NULL", TAKEN);
    follow_links(w, "/customers");
    for (size_t i = 0; i < TAKEN; i++) {
        json_t *one = ask_json(w, path_of("/api/customers/", taken[i], ""));
        assert_text(one, "customer_id", taken[i]);
        json_decref(one);
        one = ask_json(w, path_of("/api/orders/", taken[i], ""));
        assert_text(one, "order_id", taken[i]);
        json_decref(one);
        json_decref(ask_json(w, path_of("/api/customers?limit=1&after=", taken[i], "")));
        follow_links(w, path_of("/customers/", taken[i], ""));
        follow_links(w, path_of("/orders/", taken[i], ""));
    }
}

/* In name and id; and each page of the list goes on where the one before ended. */
static void customers_who_differ_in_case_alone_are_two(void **state) {
    struct world *w = *state;
    static const char *const twins[][2] = {
        {"C-a", "Nordwind"}, {"C-A", "NORDWIND"}, {"c-a", "nordwind"}, {"c-A", "Nordwind"}, {"C-b", "Nordwind"}};
    enum { TWINS = sizeof twins / sizeof *twins };
    char path[200] = "/api/customers?limit=1";
    int pages = 0;
    for (size_t i = 0; i < TWINS; i++) customer(w, twins[i][0], twins[i][1]);
    world_await(w, "SELECT COUNT(*) FROM customer", TWINS);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), 0);
    for (json_t *page; *path; json_decref(page), pages++) {
        page = ask_json(w, path);
        assert_int_equal(json_array_size(json_object_get(page, "customers")), 1);
        const char *next = json_string_value(json_object_get(page, "next"));
        snprintf(path, sizeof path, "%s", next ? path_of("/api/customers?limit=1&after=", next, "") : "");
    }
    assert_int_equal(pages, TWINS);
}

static void what_is_no_customer_or_order_id_is_quarantined(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < REFUSED; i++) {
        if (i % 2)
            customer(w, refused[i].id, "Nordwind");
        else
            order(w, refused[i].id, "C-1", "SN-1");
        assert_refused(w, i, i % 2 ? "customer_id" : "order_id");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whatever_is_taken_can_be_reached, setup, teardown),
        cmocka_unit_test_setup_teardown(the_commands_know_what_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_id_is_quarantined, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_serial_number_is_quarantined, setup, teardown),
        cmocka_unit_test_setup_teardown(customers_and_orders_can_be_reached, setup, teardown),
        cmocka_unit_test_setup_teardown(customers_who_differ_in_case_alone_are_two, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_customer_or_order_id_is_quarantined, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
