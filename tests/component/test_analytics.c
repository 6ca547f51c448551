/* Analytics: what a moment that nobody can mean does to its figures. */
#include "helper_client.h"
#include "helper_world.h"

#include "analytics/figures.h"
#include "chassis/base/assets.h"
#include "chassis/web/http.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct service service;
extern const struct asset service_assets[];
extern const size_t service_assets_n;

#define RECORD(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"
#define FIELD(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define DECIMAL "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":15,\"scale\":2}"
#define MONEY RECORD("Money", FIELD("amount", DECIMAL) "," FIELD("currency", "\"string\""))
#define ENVELOPE FIELD("event_id", "\"string\"") "," FIELD("return_id", "\"string\"") "," FIELD("version", "\"long\"")
#define REQUEST FIELD("model", "\"string\"") "," FIELD("location", "\"string\"") "," FIELD("cost", MONEY)
#define EVENT(name, moment) RECORD("returns.support." name, ENVELOPE "," FIELD("occurred_at", moment) "," REQUEST)
#define MILLIS EVENT("RefundRequest", "\"long\"")
#define MICROS EVENT("RefundRequest", "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}")
#define CANCELLED EVENT("RefundCancelled", "\"long\"")

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    w->name = "analytics";
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

static void happens(struct world *w, const char *schema, const char *return_id, int64_t occurred_at) {
    char json[400], id[UUID_TEXT];
    snprintf(
        json, sizeof json,
        "{\"event_id\":\"%s\",\"return_id\":\"%s\",\"version\":1,\"occurred_at\":%" PRId64
        ",\"model\":\"m\",\"location\":\"l\",\"cost\":{\"amount\":\"1.00\",\"currency\":\"EUR\"}}",
        uuid_text(uuid_make(), id), return_id, occurred_at);
    world_publish_event(w, 0, world_schema(w, schema), json);
}

static void shows_no_other_year(struct world *w, const char *path) {
    char request[200];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", path);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "2026-11-21"));
    if (strstr(a->body, "1970") || strstr(a->body, "xxxx-") || strstr(a->body, "9999-")) fail_msg("%s", a->body);
}

static void a_moment_of_no_year_stretches_no_scale(void **state) {
    enum { COUNTED = 3, WRONG = 7 };
    const int64_t at = 1795251331123, year_50000 = 1515693974400000;
    struct world *w = *state;
    happens(w, MILLIS, "R-1", at);
    happens(w, MILLIS, "R-2", at + 60000);
    happens(w, MICROS, "R-3", (at + 1000) * 1000 + 999);
    happens(w, MILLIS, "R-4", at * 1000);
    happens(w, MILLIS, "R-5", -1);
    happens(w, MILLIS, "R-6", INT64_MIN);
    happens(w, MILLIS, "R-7", 253402300800000); /* the year 10000 */
    happens(w, MICROS, "R-8", year_50000 * 1000);
    happens(w, MICROS, "R-9", -1);
    happens(w, CANCELLED, "R-1", at * 1000);
    world_start(w, &service);
    world_await(w, "SELECT COUNT(*) FROM audit", COUNTED + WRONG);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM dead_letter"), WRONG);
    json_t *all = figures_answer(&(struct question){.since = INT64_MIN, .until = INT64_MAX, .as_of = INT64_MAX});
    const json_t *time = json_object_get(all, "over_time");
    assert_int_equal(json_integer_value(json_object_get(all, "returns")), COUNTED);
    assert_int_equal(json_integer_value(json_object_get(all, "cancelled")), 0);
    assert_int_equal(json_integer_value(json_object_get(time, "step_ms")), 5000);
    assert_in_range(json_array_size(json_object_get(time, "samples")), 12, 14);
    json_decref(all);
    shows_no_other_year(w, "/api/statistics");
    shows_no_other_year(w, "/statistics");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_moment_of_no_year_stretches_no_scale, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
