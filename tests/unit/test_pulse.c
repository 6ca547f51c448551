#include "chassis/base/rates.h"
#include "chassis/pages/chart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { T = 1795253331 }; /* a second that is the first of no ten */

static int64_t member(const json_t *json, const char *object, const char *name) {
    return json_integer_value(json_object_get(json_object_get(json, object), name));
}

static double sample(const json_t *json, const char *object, size_t i, const char *name) {
    const json_t *samples = json_object_get(json_object_get(json, object), "samples");
    assert_int_equal(json_array_size(samples), PULSE_SECONDS / PULSE_EACH);
    return json_number_value(json_object_get(json_array_get(samples, i), name));
}

static void nothing_handled_has_no_percentile(void **state) {
    (void)state;
    json_t *json = rates_json(NULL, T * 1000LL);
    assert_true(json_is_null(json_object_get(json_object_get(json, "delay"), "p99_ms")));
    assert_int_equal(member(json, "throughput", "last_minute"), 0);
    json_decref(json);
}

/* Against the delays themselves: never lower, and at most an eighth higher. */
static void percentiles_are_those_of_the_delays(void **state) {
    (void)state;
    static const int64_t most[] = {1, 15, 16, 17, 31, 32, 33, 100, 999, 4095, 4096, 60000, 3600000};
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        struct rates *p = rates_new();
        int64_t delays[100];
        for (int k = 0; k < 100; k++) delays[k] = k < 50 ? 0 : most[i]; /* half at once, half late */
        delays[99] = 40 * most[i];                                      /* one of a hundred is beyond the 99th */
        rates_add(p, T * 1000LL, delays, 100);
        json_t *json = rates_json(p, T * 1000LL + 30000);
        assert_int_equal(member(json, "delay", "p50_ms"), 0);
        int64_t p99 = member(json, "delay", "p99_ms");
        assert_true(p99 >= most[i] && p99 <= most[i] + most[i] / 8);
        assert_true(most[i] > 15 || p99 == most[i]);
        json_decref(json);
        rates_free(&p);
    }
}

static void strange_delays_have_a_class(void **state) {
    (void)state;
    struct rates *p = rates_new();
    rates_add(p, T * 1000LL, (int64_t[]){-5, INT64_MIN, INT64_MAX}, 3);
    json_t *json = rates_json(p, T * 1000LL);
    assert_int_equal(member(json, "delay", "p50_ms"), 0);
    assert_true(member(json, "delay", "p99_ms") > 86400000);
    json_decref(json);
    rates_free(&p);
}

/* The ring holds five minutes: a second whose place was taken is forgotten, and never counted as the other. */
static void what_is_older_than_the_ring_is_forgotten(void **state) {
    (void)state;
    struct rates *p = rates_new();
    for (int64_t second = T; second < T + 3 * PULSE_SECONDS; second++) {
        int64_t delays[7] = {0};
        rates_add(p, second * 1000, delays, 7);
    }
    int64_t now = (T + 3LL * PULSE_SECONDS) * 1000;
    json_t *json = rates_json(p, now);
    assert_int_equal(member(json, "throughput", "last_minute"), 59 * 7);
    for (size_t i = 1; i < PULSE_SECONDS / PULSE_EACH - 1; i++)
        assert_int_equal((int)sample(json, "throughput", i, "per_second"), 7);
    json_decref(json);
    json = rates_json(p, now + 3600000); /* an hour of silence */
    assert_int_equal(member(json, "throughput", "last_minute"), 0);
    for (size_t i = 0; i < PULSE_SECONDS / PULSE_EACH; i++)
        assert_int_equal((int)sample(json, "throughput", i, "per_second"), 0);
    json_decref(json);
    rates_free(&p);
}

static void a_chart_has_a_bar_for_each_sample(void **state) {
    (void)state;
    json_t *samples = json_pack("[{s:i}, {s:n}, {s:i}, {s:f}]", "n", 10, "n", "n", 0, "n", 0.01);
    json_t *d = chart_path(samples, "n", chart_most(samples, "n"));
    assert_string_equal(json_string_value(d), "M0 80v-80h73v80zM225 80v-1h73v1z");
    json_decref(d);
    json_decref(samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_handled_has_no_percentile), cmocka_unit_test(percentiles_are_those_of_the_delays),
        cmocka_unit_test(strange_delays_have_a_class),       cmocka_unit_test(what_is_older_than_the_ring_is_forgotten),
        cmocka_unit_test(a_chart_has_a_bar_for_each_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
