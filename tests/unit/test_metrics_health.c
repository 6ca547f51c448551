/* Counters and gauges in Prometheus' format, and what health says of the components. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/base/health.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/utf8.h"

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *count(void *argument) {
    (void)argument;
    for (int i = 0; i < 10000; i++) metric_add(METRIC_events_sent, 1);
    return NULL;
}

static void test_counters_from_many_threads(void **state) {
    (void)state;
    pthread_t threads[4];
    int64_t before = metric_read(METRIC_events_sent);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(metric_read(METRIC_events_sent) - before, 40000);
}

static void test_counters_are_described(void **state) {
    (void)state;
    struct buffer out = BUFFER(100000);
    metric_add(METRIC_rebalances, 3);
    metrics_write(&out);
    assert_non_null(strstr(
        out.data, "# HELP returns_rebalances_total Assignments received from the group coordinator\n"
                  "# TYPE returns_rebalances_total counter\nreturns_rebalances_total 3\n"));
    int described = 0;
    for (const char *p = out.data; (p = strstr(p, "# TYPE ")); p++) described++;
    assert_int_equal(described, METRICS_N);
    buffer_free(&out);
}

static void test_gauges(void **state) {
    (void)state;
    struct buffer out = BUFFER(1000);
    metrics_gauge(&out, "lag", "How far behind", "partition=\"0\"", 12);
    metrics_gauge(&out, "lag", NULL, "partition=\"1\"", 1e12);
    metrics_gauge(&out, "age", "In seconds", NULL, 0.25);
    assert_string_equal(
        out.data,
        "# HELP lag How far behind\n# TYPE lag gauge\nlag{partition=\"0\"} 12\nlag{partition=\"1\"} 1000000000000\n"
        "# HELP age In seconds\n# TYPE age gauge\nage 0.25\n");
    buffer_free(&out);
}

static const char *health_state(struct health *h, char out[16]) {
    json_t *all = health_json(h);
    strcpy(out, json_string_value(json_object_get(all, "state")));
    json_decref(all);
    return out;
}

static void test_worst_component_decides(void **state) {
    (void)state;
    char text[16];
    struct health *h = health_new();
    assert_string_equal(health_state(h, text), "up");
    health_set(h, "store", HEALTH_OK, "writes");
    health_set(h, "kafka", HEALTH_WAITING, "waits for %s", "Kafka");
    assert_string_equal(health_state(h, text), "waiting");
    health_set(h, "schemas", HEALTH_FAILED, "refused");
    assert_string_equal(health_state(h, text), "failed");
    health_set(h, "schemas", HEALTH_OK, "registered");
    health_set(h, "kafka", HEALTH_OK, "connected");
    assert_string_equal(health_state(h, text), "up");
    health_free(&h);
    assert_null(h);
    health_free(&h);
}

static void test_says_what_it_waits_for(void **state) {
    (void)state;
    struct health *h = health_new();
    health_set(h, "store", HEALTH_OK, "writes");
    health_set(h, "kafka", HEALTH_WAITING, "waits for Kafka; \xff");
    json_t *all = health_json(h), *waiting = json_object_get(all, "waiting_for");
    assert_int_equal(json_array_size(waiting), 1);
    assert_string_equal(json_string_value(json_array_get(waiting, 0)), "waits for Kafka; \xef\xbf\xbd");
    json_t *kafka = json_array_get(json_object_get(all, "components"), 1);
    assert_string_equal(json_string_value(json_object_get(kafka, "name")), "kafka");
    assert_string_equal(json_string_value(json_object_get(kafka, "state")), "waiting");
    assert_int_equal(json_string_length(json_object_get(kafka, "since")), 24);
    json_decref(all);
    health_free(&h);
}

/* Kafka, the registry and the schemas are not needed for serving pages and accepting returns. */
static void test_ready_without_the_outside(void **state) {
    (void)state;
    struct health *h = health_new();
    health_set(h, "kafka", HEALTH_FAILED, "x");
    health_set(h, "kafka producer", HEALTH_FAILED, "x");
    health_set(h, "registry", HEALTH_FAILED, "x");
    health_set(h, "schemas", HEALTH_FAILED, "x");
    health_set(h, "store", HEALTH_WAITING, "x");
    assert_true(health_ready(h));
    health_set(h, "store", HEALTH_FAILED, "no room");
    assert_false(health_ready(h));
    health_set(h, "store", HEALTH_OK, "writes");
    assert_true(health_ready(h));
    health_free(&h);
}

static int64_t now;
int64_t __wrap_steady_ms(void);
int64_t __wrap_steady_ms(void) {
    return now;
}

/* What it waits for changes from once to the next: at most a line in five seconds, and the last text is never kept from
 * the log. */
static void test_a_text_that_changes_is_told(void **state) {
    (void)state;
    char path[] = "/tmp/health-XXXXXX", log[4000] = {0};
    int file = mkstemp(path), was = dup(STDERR_FILENO);
    unlink(path);
    struct health *h = health_new();
    dup2(file, STDERR_FILENO);
    for (now = 100000; now < 104000; now += 500)
        health_set(h, "kafka", HEALTH_FAILED, now < 101000 ? "it is away" : "it denies");
    assert_true(pread(file, log, sizeof log - 1, 0) > 0);
    assert_non_null(strstr(log, "it is away"));
    assert_null(strstr(log, "it denies"));
    for (; now < 120000; now += 500) health_set(h, "kafka", HEALTH_FAILED, "it denies");
    dup2(was, STDERR_FILENO);
    assert_true(pread(file, log, sizeof log - 1, 0) > 0);
    char *told = strstr(log, "it denies");
    assert_non_null(told);
    assert_null(strstr(told + 1, "it denies"));
    health_free(&h);
    close(was);
    close(file);
}

static void test_utf8(void **state) {
    (void)state;
    static const char *const valid[] = {"", "a", "ж", "€", "📦", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const invalid[] = {
        "\x80",
        "\xc3",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x80\xaf",
        "\xed\xa0\x80",
        "\xf0\x80\x80\xaf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xe2\x82",
        "a\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) assert_true(utf8_valid(valid[i], strlen(valid[i])));
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        assert_false(utf8_valid(invalid[i], strlen(invalid[i])));
    json_t *cut = utf8_json("жж\xd0");
    assert_string_equal(json_string_value(cut), "жж\xef\xbf\xbd");
    json_decref(cut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_from_many_threads),
        cmocka_unit_test(test_counters_are_described),
        cmocka_unit_test(test_gauges),
        cmocka_unit_test(test_worst_component_decides),
        cmocka_unit_test(test_says_what_it_waits_for),
        cmocka_unit_test(test_ready_without_the_outside),
        cmocka_unit_test(test_a_text_that_changes_is_told),
        cmocka_unit_test(test_utf8)};
    log_start("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
