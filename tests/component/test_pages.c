/* The pages that every service has, on a real database, with nothing subscribed to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/audit/audit.h"
#include "chassis/base/health.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/service.h"
#include "chassis/pages/status.h"
#include "chassis/service/routes.h"
#include "chassis/store/migrations.h"
#include "helper_client.h"

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct view views[] = {
    {.title = "Outcomes",
     .sql = "SELECT outcome AS \"Outcome\", id AS \"Number\" FROM audit ORDER BY id DESC",
     .as_of = "SELECT COUNT(*) AS \"Rows\", MAX(at) AS \"Last\" FROM audit WHERE at <= ? AND ? > 0",
     .moments = "Last"},
    {.title = "Money",
     .sql = "SELECT 123456 AS \"Cost\", -5 AS \"Number\", 1795253331123 AS \"When\"",
     .money = "Cost",
     .moments = "When"},
    {.title = "Empty", .sql = "SELECT outcome AS \"Nothing\" FROM audit WHERE id < 0"},
    {0}};
static const struct service service = {.title = "Sales", .duty = "Refunds.", .views = views};
static const struct settings settings = {.service = "sales", .kafka = "k:1", .registry_password = "geheim"};
static struct runtime runtime = {.core.service = &service, .core.settings = &settings, .routes = chassis_routes};
static char folder[] = "/tmp/pages-XXXXXX";

static void append(const char *outcome, const char *summary, int offset) {
    struct failure why;
    struct connection *c = store_begin(runtime.core.store);
    audit_append(
        c, &(struct audit_row){
               .action = "refund the order",
               .outcome = outcome,
               .actor = "support",
               .return_id = "R-1&2",
               .event_type = "returns.support.RefundRequest",
               .topic = "t",
               .partition = 0,
               .offset = offset,
               .summary = summary});
    assert_int_equal(store_commit(c, &why), OK);
}

static int setup(void **state) {
    (void)state;
    char path[64];
    struct failure why;
    struct migration tables[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", tables, 0);
    struct http_options o = {
        .host = "127.0.0.1",
        .allowed_hosts = "h",
        .threads = 2,
        .body_max = 1000,
        .body_ms = 1000,
        .tables = {chassis_routes},
        .context = &runtime,
        .decorate = status_decorate};
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/x.db", folder);
    runtime.core.health = health_new();
    runtime.started_at = clock_ms();
    if (store_open(&runtime.core.store, path, tables, n, &why) != OK) return 1;
    for (int i = 0; i < 60; i++) append(i % 10 ? "handled" : "declined", i ? "plain" : "<b>заказ שלום 📦</b>", i);
    return http_start(&runtime.http, &o, &why) != OK;
}

static int teardown(void **state) {
    (void)state;
    char command[64];
    http_stop(&runtime.http);
    store_close(&runtime.core.store);
    health_free(&runtime.core.health);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static struct answer *get(const char *target) {
    char request[1000];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", target);
    int fd = client_open(http_port(runtime.http));
    client_send(fd, request, (size_t)n);
    (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 60000); /* some read megabytes */
    struct answer *a = client_read(fd, false);
    close(fd);
    return a;
}

static json_t *get_json(const char *target, int status) {
    struct answer *a = get(target);
    assert_int_equal(a->status, status);
    json_t *json = json_loads(a->body, 0, NULL);
    assert_non_null(json);
    return json;
}

static void test_status(void **state) {
    (void)state;
    json_t *status = get_json("/api/status", 200), *view, *money, *empty;
    json_int_t handled, declined, depth, letters, oldest;
    const char *name, *title, *health;
    assert_int_equal(
        json_unpack(
            status, "{s:s, s:s, s:s, s:{s:I, s:I}, s:{s:I}, s:I, s:I, s:[], s:[o, o, o]}", "service", &name, "title",
            &title, "state", &health, "outcomes", "handled", &handled, "declined", &declined, "outbox", "depth", &depth,
            "dead_letters", &letters, "oldest_unhandled_ms", &oldest, "partitions", "views", &view, &money, &empty),
        0);
    assert_string_equal(name, "sales");
    assert_string_equal(health, "up");
    assert_int_equal(handled, 54);
    assert_int_equal(declined, 6);
    assert_int_equal(depth + letters, 0);
    assert_int_equal(json_array_size(json_object_get(view, "rows")), 50); /* the cap */
    assert_string_equal(json_string_value(json_array_get(json_object_get(empty, "columns"), 0)), "Nothing");
    json_t *row = json_array_get(json_object_get(view, "rows"), 0);
    assert_int_equal(json_integer_value(json_array_get(row, 1)), 60);
    json_t *shown = json_pack("[[s, i, s]]", "1234.56", -5, "2026-11-21T09:28:51.123Z");
    assert_true(json_equal(json_object_get(money, "rows"), shown));
    json_decref(shown);
    assert_true(json_is_object(json_object_get(status, "throughput")));
    assert_true(json_is_null(json_object_get(json_object_get(status, "delay"), "p50_ms")));
    assert_non_null(json_string_value(json_object_get(json_object_get(status, "versions"), "sqlite")));
    assert_null(json_object_get(status, "nav"));
    assert_null(json_object_get(status, "heading"));
    json_decref(status);
}

static void test_status_page(void **state) {
    (void)state;
    health_set(runtime.core.health, "kafka", HEALTH_WAITING, "waits for <Kafka>");
    struct answer *a = get("/");
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "<html lang=\"en\">"));
    assert_non_null(strstr(a->body, "waits for &lt;Kafka&gt;"));
    assert_non_null(strstr(a->body, "None is assigned yet."));
    assert_non_null(strstr(a->body, "aria-current=\"page\">Status</a>"));
    assert_non_null(strstr(a->body, "It goes on by itself."));
    assert_non_null(strstr(a->body, "<td data-label=\"Cost\" class=\"number\"><span dir=\"auto\">1234.56</span></td>"));
    assert_non_null(strstr(a->body, "<td data-label=\"Number\" class=\"number\"><span dir=\"auto\">-5</span></td>"));
    assert_non_null(strstr(a->body, "2026-11-21 09:28:51.123"));
    assert_non_null(strstr(a->body, "<span title=\"for basic authentication"));
    assert_null(strstr(a->body, "geheim"));
    assert_null(strstr(a->body, "href=\"/status\""));
    health_set(runtime.core.health, "kafka", HEALTH_OK, "connected");
    assert_null(strstr(get("/status")->body, "going on by itself"));
}

static void test_audit(void **state) {
    (void)state;
    json_t *audit = get_json("/api/audit?limit=7&outcome=handled&since=2020-01-01&until=2100-01-01T00:00:00.5Z", 200);
    assert_int_equal(json_array_size(json_object_get(audit, "rows")), 7);
    assert_true(json_is_integer(json_object_get(audit, "next")));
    json_decref(audit);
    audit = get_json("/api/audit?since=2100-01-01", 200);
    assert_int_equal(json_array_size(json_object_get(audit, "rows")), 0);
    json_decref(audit);
    audit = get_json("/api/audit?until=1970-01-01", 200);
    assert_int_equal(json_array_size(json_object_get(audit, "rows")), 0);
    json_decref(audit);
    audit = get_json("/api/audit?return_id=R-1%262&before=2&outcome=", 200);
    assert_int_equal(json_array_size(json_object_get(audit, "rows")), 1);
    assert_null(json_object_get(audit, "caption"));
    json_decref(audit);
    audit = get_json("/api/audit/verify", 200);
    assert_true(json_is_true(json_object_get(audit, "intact")));
    json_decref(audit);
}

static void test_audit_page(void **state) {
    (void)state;
    struct answer *a = get("/audit?before=2&return_id=R-1%262");
    assert_non_null(strstr(a->body, "&lt;b&gt;заказ שלום 📦&lt;/b&gt;"));
    assert_null(strstr(a->body, "<b>"));
    assert_non_null(strstr(a->body, "value=\"R-1&amp;2\""));
    assert_non_null(strstr(a->body, "href=\"/audit?return_id=R-1%262\""));
    assert_null(strstr(a->body, ">Older<"));
    a = get("/audit?limit=5&outcome=handled&return_id=R-1%262");
    assert_non_null(strstr(a->body, "<option selected>handled</option>"));
    assert_non_null(strstr(
        a->body, "href=\"/audit?return_id=R-1%262&amp;outcome=handled&amp;limit=5&amp;before=56&amp;seen=60\">Older"));
    assert_non_null(strstr(a->body, "<div id=\"rows\" data-live>"));
    assert_null(strstr(a->body, "new row"));
}

/* What came since is offered; the rows that are being read stay. */
static void test_audit_page_holds_still(void **state) {
    (void)state;
    struct answer *a = get("/audit?seen=58&outcome=handled");
    assert_non_null(strstr(a->body, "href=\"/audit?outcome=handled\">2 new rows: show</a>"));
    assert_non_null(strstr(a->body, "href=\"/audit/58\""));
    assert_null(strstr(a->body, "href=\"/audit/59\""));
    assert_non_null(strstr(a->body, "href=\"/api/audit?outcome=handled&amp;before=59\""));
    a = get("/audit?seen=59&before=30&outcome=handled&event_type=returns.support.RefundRequest");
    assert_non_null(strstr(a->body, ">1 new row: show</a>"));
    assert_null(strstr(get("/audit?seen=60")->body, "new row"));
    assert_null(strstr(get("/audit?seen=1&event_type=none")->body, "new row"));
}

static void test_audit_row(void **state) {
    (void)state;
    json_t *one = get_json("/api/audit/7", 200), *page = get_json("/api/audit?before=8&limit=1", 200);
    assert_true(json_equal(json_object_get(one, "row"), json_array_get(json_object_get(page, "rows"), 0)));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(one, "previous"), "id")), 6);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(one, "next"), "id")), 8);
    assert_string_equal(json_string_value(json_object_get(one, "chain")), "t/0");
    json_decref(one);
    json_decref(page);
    struct answer *a = get("/audit/1");
    assert_non_null(strstr(a->body, "the chain begins here"));
    assert_non_null(strstr(a->body, "&lt;b&gt;заказ שלום 📦&lt;/b&gt;"));
    assert_non_null(strstr(a->body, "kcat -C -b k:1 -t t -p 0 -o 0 "));
    assert_non_null(strstr(get("/audit/60")->body, "none yet"));
    json_decref(get_json("/api/audit/61", 404));
    json_decref(get_json("/api/audit/0", 404));
    json_decref(get_json("/api/audit/1x", 404));
    assert_int_equal(get("/audit/99999999999999999999")->status, 404);
}

static void test_audit_refuses_bad_filters(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"limit", "0"},
        {"limit", "1001"},
        {"limit", "-1"},
        {"limit", "ten"},
        {"limit", "1.5"},
        {"before", "0"},
        {"before", "99999999999999999999"},
        {"before", "x"},
        {"seen", "x"},
        {"outcome", "done"},
        {"outcome", "HANDLED"},
        {"since", "yesterday"},
        {"since", "2026-02-30"},
        {"since", "2026-13-01"},
        {"since", "2026-1-1"},
        {"since", "2026-11-21T09:30"},
        {"until", "2026-11-21T09:30:00+01:00"},
        {"until", "2026-11-21T25:00:00Z"},
        {"until", "%F0%9F%93%A6"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char target[200];
        snprintf(target, sizeof target, "/api/audit?%s=%s", bad[i][0], bad[i][1]);
        json_t *problem = get_json(target, 400), *error = json_array_get(json_object_get(problem, "errors"), 0);
        assert_string_equal(json_string_value(json_object_get(error, "field")), bad[i][0]);
        json_decref(problem);
        snprintf(target, sizeof target, "/audit?%s=%s&action=kept%%3C", bad[i][0], bad[i][1]);
        struct answer *a = get(target);
        assert_int_equal(a->status, 400);
        assert_non_null(strstr(a->body, "value=\"kept&lt;\""));
        snprintf(target, sizeof target, "href=\"#%s\"", bad[i][0]);
        assert_non_null(strstr(a->body, target));
    }
}

static void test_probes(void **state) {
    (void)state;
    assert_int_equal(get("/livez")->status, 200);
    health_set(runtime.core.health, "kafka", HEALTH_FAILED, "refused");
    struct answer *a = get("/readyz?verbose");
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "[-]kafka failed: refused\n"));
    health_set(runtime.core.health, "store", HEALTH_FAILED, "no room on the disk");
    assert_int_equal(get("/readyz")->status, 503);
    assert_int_equal(get("/livez")->status, 200);
    a = get("/metrics");
    assert_non_null(strstr(a->text, "text/plain; version=0.0.4"));
    assert_non_null(strstr(a->body, "\nreturns_component_up{component=\"store\"} 0\n"));
    assert_non_null(strstr(a->body, "\nprocess_resident_memory_bytes "));
}

static void test_assets_are_kept_by_their_content(void **state) {
    (void)state;
    static const char *const files[][2] = {
        {"/assets/style.css?v=", "Content-Type: text/css; charset=utf-8\r\n"},
        {"/assets/live.js?v=", "Content-Type: text/javascript; charset=utf-8\r\n"}};
    for (int i = 0; i < 2; i++) {
        char url[64] = "";
        const char *link = strstr(get("/")->body, files[i][0]);
        assert_non_null(link);
        snprintf(url, sizeof url, "%.*s", (int)strcspn(link, "\""), link);
        struct answer *a = get(url);
        assert_int_equal(a->status, 200);
        assert_non_null(strstr(a->text, files[i][1]));
        assert_non_null(strstr(a->text, "Cache-Control: public, max-age=31536000, immutable\r\n"));
        url[strlen(url) - 1] ^= 1; /* of another build */
        assert_non_null(strstr(get(url)->text, "Cache-Control: no-cache\r\n"));
    }
    assert_int_equal(get("/assets/audit.html")->status, 404);
    assert_int_equal(get("/assets/tables.sql")->status, 404);
}

/* --- The past */

static json_t *state_at(const char *moment) {
    char target[100];
    snprintf(target, sizeof target, "/api/state?as_of=%s", moment);
    return get_json(target, 200);
}

/* What the view of then should say: how many rows there were, and when the last came. */
static json_t *rows_until(const char *moment) {
    json_t *audit = get_json("/api/audit?limit=1000", 200), *row;
    const char *last = NULL;
    int n = 0;
    size_t i;
    json_array_foreach(json_object_get(audit, "rows"), i, row) {
        const char *at = json_string_value(json_object_get(row, "at"));
        if (strcmp(at, moment) > 0) continue;
        if (!last || strcmp(at, last) > 0) last = at;
        n++;
    }
    json_t *expected = json_pack("[[i, s?]]", n, last);
    json_decref(audit);
    return expected;
}

/* The newest or oldest moment, before or after this one, at which something changed; NULL: none. The caller's. */
static char *neighbour(const char *moment, bool before) {
    json_t *audit = get_json("/api/audit?limit=1000", 200), *row;
    const char *found = NULL;
    size_t i;
    json_array_foreach(json_object_get(audit, "rows"), i, row) {
        const char *at = json_string_value(json_object_get(row, "at"));
        if (!strcmp(json_string_value(json_object_get(row, "outcome")), "skipped")) continue;
        int side = before ? strcmp(moment, at) : strcmp(at, moment);
        if (side > 0 && (!found || (before ? strcmp(at, found) : strcmp(found, at)) > 0)) found = at;
    }
    char *copy = found ? strdup(found) : NULL;
    json_decref(audit);
    return copy;
}

static void assert_neighbour(const json_t *state, const char *name, const char *moment, bool before) {
    char *expected = neighbour(moment, before);
    const char *said = json_string_value(json_object_get(state, name));
    assert_int_equal(!said, !expected);
    if (expected) assert_string_equal(said, expected);
    free(expected);
}

/* From now back to the first change, by the links alone. */
static void test_state_walks_through_the_changes(void **state) {
    (void)state;
    struct failure why;
    append("skipped", "no change", 60);
    /* A clock that was set back between the last two. */
    struct connection *c = store_begin(runtime.core.store);
    (void)store_run(
        c, "UPDATE audit SET at = at - 2000 WHERE id = (SELECT MAX(id) FROM audit WHERE outcome = 'handled')");
    assert_int_equal(store_commit(c, &why), OK);
    json_t *now = get_json("/api/state", 200);
    assert_true(json_is_null(json_object_get(now, "as_of")) && json_is_null(json_object_get(now, "next")));
    assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(now, "views"), 0), "rows")), 50);
    char *moment = strdup(json_string_value(json_object_get(now, "previous")));
    int steps = 0;
    for (; moment; steps++) {
        json_t *then = state_at(moment), *expected = rows_until(moment);
        json_t *view = json_array_get(json_object_get(then, "views"), 0);
        assert_string_equal(json_string_value(json_object_get(then, "as_of")), moment);
        assert_true(json_equal(json_object_get(view, "rows"), expected));
        assert_neighbour(then, "previous", moment, true);
        assert_neighbour(then, "next", moment, false);
        free(moment);
        moment = neighbour(json_string_value(json_object_get(then, "as_of")), true);
        json_decref(then);
        json_decref(expected);
    }
    assert_true(steps > 0);
    json_decref(now);
}

static void test_state_tells_what_is_not_known_of_the_past(void **state) {
    (void)state;
    json_t *then = state_at("2000-01-01"), *tables = json_object_get(then, "views"), *none = json_pack("[[i, n]]", 0);
    assert_true(json_is_null(json_object_get(then, "previous")));
    assert_true(json_is_string(json_object_get(then, "next")));
    assert_true(json_equal(json_object_get(json_array_get(tables, 0), "rows"), none));
    assert_true(json_is_true(json_object_get(json_array_get(tables, 0), "known")));
    assert_true(json_is_false(json_object_get(json_array_get(tables, 1), "known")));
    assert_int_equal(json_array_size(json_object_get(json_array_get(tables, 1), "columns")), 0);
    struct answer *a = get("/state?as_of=2000-01-01");
    assert_non_null(strstr(a->body, "As of 2000-01-01 23:59:59.999"));
    assert_non_null(strstr(a->body, "Not known of the past."));
    assert_non_null(strstr(a->body, "rel=\"next\" href=\"/state?as_of="));
    assert_null(strstr(a->body, "rel=\"prev\""));
    assert_non_null(strstr(get("/state")->body, "1234.56"));
    assert_non_null(strstr(get("/")->body, "href=\"/state\""));
    json_t *problem = get_json("/api/state?as_of=soon", 400);
    assert_non_null(strstr(json_string_value(json_object_get(problem, "detail")), "\"soon\""));
    json_decref(problem);
    json_decref(then);
    json_decref(none);
}

/* --- What a stranger stored */

/* Of n letters: the key and the headers so large, each byte of them a "&" to be escaped. */
static void letters_add(int n, size_t key_n, size_t headers_n, size_t value_n) {
    struct failure why;
    char *bytes = malloc(key_n + headers_n + value_n + 100);
    memset(bytes, '&', key_n + headers_n + value_n + 100);
    struct connection *c = store_begin(runtime.core.store);
    for (int i = 0; i < n; i++) {
        json_t *headers = json_pack("[[s, s%]]", "h", bytes, headers_n);
        char *text = json_dumps(headers, JSON_COMPACT);
        (void)store_run(
            c,
            "INSERT INTO dead_letter (at, topic, partition, record_offset, record_key, headers, value, reason) "
            "VALUES (1, 't', 0, ?, ?, ?, ?, 'why')",
            value_int(i), value_blob(bytes, key_n), value_text(text), value_blob(bytes, value_n));
        free(text);
        json_decref(headers);
    }
    assert_int_equal(store_commit(c, &why), OK);
    free(bytes);
}

static void letters_forget(void) {
    struct failure why;
    struct connection *c = store_begin(runtime.core.store);
    (void)store_run(c, "DELETE FROM dead_letter");
    assert_int_equal(store_commit(c, &why), OK);
}

/* All of them, page by page, each of which is one that can be sent. */
static int letters_walk(int limit, bool *any_cut) {
    json_int_t before = 0;
    int seen = 0;
    do {
        json_t *page = dead_letter_page(store_reader(runtime.core.store), before, limit), *one;
        char *text = json_dumps(page, JSON_COMPACT), target[100];
        size_t i;
        assert_true(text && strlen(text) < 8 << 20);
        json_array_foreach(json_object_get(page, "dead_letters"), i, one) *any_cut |=
            json_is_true(json_object_get(one, "cut"));
        seen += (int)i;
        snprintf(target, sizeof target, "/dead-letters?limit=%d&before=%lld", limit, before ? before : 999999LL);
        if (get(target)->status != 200) fail_msg("%s", target);
        snprintf(target, sizeof target, "/api/dead-letters?limit=%d&before=%lld", limit, before ? before : 999999LL);
        if (get(target)->status != 200) fail_msg("%s", target);
        before = json_integer_value(json_object_get(page, "next"));
        free(text);
        json_decref(page);
    } while (before);
    return seen;
}

static void test_letters_of_any_size_are_listed(void **state) {
    (void)state;
    static const struct {
        int n, limit;
        size_t key_n, headers_n, value_n;
    } stored[] = {
        {10, 50, 900000, 10, 10},      /* keys, 9 MB in all */
        {3, 50, 10, 3 << 20, 10},      /* headers, 9 MB */
        {1000, 1000, 900, 3500, 1000}, /* much of little */
        {1, 1, 5 << 20, 5 << 20, 10},  /* more than any page in one */
        {3, 50, 10, 10, 5 << 20},
    };
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++) {
        bool cut = false;
        letters_add(stored[i].n, stored[i].key_n, stored[i].headers_n, stored[i].value_n);
        assert_int_equal(letters_walk(stored[i].limit, &cut), stored[i].n);
        assert_int_equal(cut, stored[i].key_n > 1024 || stored[i].headers_n > 4096 || stored[i].value_n > 1024);
        char target[60];
        json_t *page = dead_letter_page(store_reader(runtime.core.store), 0, 1);
        json_int_t id =
            json_integer_value(json_object_get(json_array_get(json_object_get(page, "dead_letters"), 0), "id"));
        snprintf(target, sizeof target, "/api/dead-letters/%lld", (long long)id);
        assert_int_equal(get(target)->status, 200); /* whole, by itself */
        json_decref(page);
        letters_forget();
    }
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_page),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_audit_page),
        cmocka_unit_test(test_audit_page_holds_still),
        cmocka_unit_test(test_audit_row),
        cmocka_unit_test(test_audit_refuses_bad_filters),
        cmocka_unit_test(test_probes),
        cmocka_unit_test(test_assets_are_kept_by_their_content),
        cmocka_unit_test(test_state_walks_through_the_changes),
        cmocka_unit_test(test_letters_of_any_size_are_listed),
        cmocka_unit_test(test_state_tells_what_is_not_known_of_the_past)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
