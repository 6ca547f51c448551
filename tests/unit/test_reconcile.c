/* What reconciliation concludes from recorded heads, records and reactions. */
#include "support/reconcile/reconcile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1000000 };
#define TOPIC "x.support.events"

static struct uuid event(int n) {
    struct uuid id = {{0}};
    id.bytes[0] = 1;
    id.bytes[14] = (unsigned char)(n >> 8);
    id.bytes[15] = (unsigned char)n;
    return id;
}

static struct uuid reaction_id(int n) {
    struct uuid id = event(n);
    id.bytes[0] = 2;
    return id;
}

static void publish_one(struct reconcile *r, int64_t offset, int id) {
    struct uuid event_id = event(id);
    char name[16];
    snprintf(name, sizeof name, "R-%d", id);
    reconcile_record(
        r, &(struct reconcile_record){
               .offset = offset, .at = 1000 * (offset + 1), .id = &event_id, .return_id = name, .type = "Request"});
}

/* Records 0 … n - 1 of partition 0, of returns R-0 …, published at 1000, 2000, … */
static void publish(struct reconcile *r, int n) {
    reconcile_bounds(r, 0, 0, n);
    for (int i = 0; i < n; i++) publish_one(r, i, i);
}

/* A head of one partition; more: further members of the partition, or of the head. */
static void count(
    struct reconcile *r, int at, int rows, int next, int handled, int quarantined, int emitted, const char *more,
    const char *more_head) {
    json_error_t error;
    char text[1500];
    snprintf(
        text, sizeof text,
        "{\"at\":%d,\"rows\":%d,\"unsent\":0,\"broken\":null,\"chains\":[{\"chain\":\"" TOPIC
        "/0\",\"rows\":%d,\"head\":\"\"}],\"partitions\":[{\"topic\":\"" TOPIC
        "\",\"partition\":0,\"log\":0,\"first_offset\":0,\"next_offset\":%d,\"outcomes\":[{\"outcome\":\"handled\","
        "\"n\":%d},{\"outcome\":\"quarantined\",\"n\":%d}],\"redriven\":0,\"emitted\":%d,\"emitted_from\":0,"
        "\"gaps\":[]%s}]%s}",
        at, rows, rows, next, handled, quarantined, emitted, more, more_head);
    json_t *head = json_loads(text, 0, &error); /* of two members of one name the last counts */
    if (!head) fail_msg("%s: %s", error.text, text);
    reconcile_head(r, "legal", head);
    json_decref(head);
}

static void react_at(struct reconcile *r, int cause, int id, const char *type, int at, int sequence) {
    struct uuid caused_by = event(cause), event_id = reaction_id(id);
    char key[16];
    snprintf(key, sizeof key, "R-%d", cause);
    reconcile_reaction(
        r, &(struct reconcile_reaction){&event_id, &caused_by, type, key, .at = at, .sequence = sequence});
}

static void react(struct reconcile *r, int from, int to) {
    for (int i = from; i < to; i++) react_at(r, i, i, "ClaimFiled", 5000 + i, i + 1);
}

static json_t *judge(struct reconcile **r) {
    reconcile_judge(*r, 0, NOW);
    json_t *result = reconcile_result(*r, NOW);
    assert_non_null(result);
    reconcile_free(r);
    return result;
}

static int64_t figure(const json_t *result, const char *name) {
    return json_integer_value(json_object_get(json_array_get(json_object_get(result, "teams"), 0), name));
}

static const json_t *finding(const json_t *result, size_t i) {
    return json_array_get(json_object_get(result, "findings"), i);
}

static void
expect_finding(const json_t *result, size_t i, const char *kind, int offset, const char *return_id, const char *word) {
    const json_t *f = finding(result, i), *at = json_object_get(f, "offset");
    const char *id = json_string_value(json_object_get(f, "return_id"));
    char *all = json_dumps(json_object_get(result, "findings"), 0);
    if (!f || strcmp(json_string_value(json_object_get(f, "kind")), kind) != 0 ||
        (offset < 0 ? !json_is_null(at) : json_integer_value(at) != offset) ||
        strcmp(id ? id : "", return_id ? return_id : "") != 0 ||
        !strstr(json_string_value(json_object_get(f, "what")), word))
        fail_msg("finding %zu is not %s at %d of %s: %s", i, kind, offset, return_id, all);
    free(all);
}

static void expect_n(const json_t *result, size_t n) {
    char *all = json_dumps(json_object_get(result, "findings"), 0);
    if (json_array_size(json_object_get(result, "findings")) != n) fail_msg("not %zu findings: %s", n, all);
    assert_int_equal(json_is_true(json_object_get(result, "fits")), n == 0);
    free(all);
}

static void all_fits(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 7, 1, 7, "", "");
    publish(r, 8);
    react(r, 0, 7);
    reconcile_letter(r, 0, 7, 6000);
    reconcile_letter(r, 0, 7, 6001); /* sent again after a crash */
    react(r, 0, 7);
    json_t *result = judge(&r);
    expect_n(result, 0);
    assert_int_equal(figure(result, "handled"), 7);
    assert_int_equal(figure(result, "quarantined"), 1);
    assert_int_equal(figure(result, "late"), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "records")), 8);
    json_decref(result);
}

static void what_was_not_counted_yet_is_late(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 5, 5, 5, 0, 5, "", "");
    publish(r, 8);
    reconcile_group(r, "legal", 0, 8); /* passed, and no head covers it yet */
    react(r, 0, 8);
    json_t *result = judge(&r);
    expect_n(result, 0);
    assert_int_equal(figure(result, "late"), 3);
    assert_int_equal(figure(result, "oldest_ms"), NOW - 6000);
    json_decref(result);
}

static void who_publishes_no_counts_is_only_passed_or_late(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    reconcile_group(r, "support", 0, 3);
    reconcile_group(r, "kcat", 0, 3);
    publish(r, 8);
    json_t *result = judge(&r);
    expect_n(result, 0);
    assert_int_equal(json_array_size(json_object_get(result, "teams")), 1);
    assert_int_equal(figure(result, "passed"), 3);
    assert_int_equal(figure(result, "late"), 5);
    json_decref(result);
}

static void a_gap_is_missing_and_named(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 7, 8, 7, 0, 7, ",\"gaps\":[{\"from\":3,\"to\":4}]", "");
    publish(r, 8);
    react(r, 0, 3);
    react(r, 4, 8);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "missing", 3, "R-3", "no row");
    assert_int_equal(figure(result, "missing"), 1);
    json_decref(result);
}

/* An offset that holds no record, as a transaction's mark, is nobody's to handle. */
static void a_gap_without_a_record_is_nothing(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 7, 8, 7, 0, 7, ",\"gaps\":[{\"from\":3,\"to\":4}]", "");
    reconcile_bounds(r, 0, 0, 8);
    for (int i = 0; i < 8; i++)
        if (i != 3) publish_one(r, i, i);
    react(r, 0, 3);
    react(r, 4, 8);
    json_t *result = judge(&r);
    expect_n(result, 0);
    json_decref(result);
}

static void fewer_counted_than_there_are(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 6, 8, 6, 0, 6, "", "");
    publish(r, 8);
    react(r, 0, 6);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "missing", -1, NULL, "8 records");
    assert_int_equal(figure(result, "missing"), 2);
    json_decref(result);
}

static void more_counted_than_there_are(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 9, 8, 9, 0, 8, "", "");
    publish(r, 8);
    react(r, 0, 8);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "doubled", -1, NULL, "of 9 records");
    json_decref(result);
}

static void counts_that_do_not_fit_their_chain(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 9, 0, 8, "", "");
    publish(r, 8);
    react(r, 0, 8);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "changed", -1, NULL, "9 outcomes");
    assert_int_equal(figure(result, "changed"), 1);
    json_decref(result);
}

static void a_head_that_goes_back(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 8, 0, 8, "", "");
    count(r, 90, 5, 5, 5, 0, 5, "", ""); /* came late: nothing */
    count(r, 200, 8, 7, 8, 0, 8, "", "");
    publish(r, 8);
    react(r, 0, 8);
    json_t *result = judge(&r);
    expect_finding(result, 0, "changed", -1, NULL, "next offset went back from 8 to 7");
    json_decref(result);
}

static void an_event_that_never_came(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 8, 0, 7, "", ""); /* one of the eight was answered by silence */
    publish(r, 8);
    for (int i = 0; i < 8; i++)
        if (i != 2 && i != 5) react_at(r, i, i, "ClaimFiled", 5000 + i, i < 5 ? i + 1 : i);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "missing", 2, "R-2", "was not published");
    json_decref(result);
}

static void what_is_in_the_outbox_is_not_missing(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 7, 1, 7, "", ",\"unsent\":3");
    publish(r, 8);
    react(r, 0, 5);
    json_t *result = judge(&r);
    expect_n(result, 0);
    assert_int_equal(figure(result, "unsent"), 3);
    json_decref(result);
}

static void a_dead_letter_that_never_came(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 7, 1, 7, "", "");
    publish(r, 8);
    react(r, 0, 7);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "missing", -1, NULL, "dead letters");
    json_decref(result);
}

static void a_redriven_one_counts_as_handled(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 7, 1, 7, ",\"redriven\":1", "");
    publish(r, 8);
    react(r, 0, 8); /* the last by a redrive that no head covers yet */
    reconcile_letter(r, 0, 7, 6000);
    json_t *result = judge(&r);
    expect_n(result, 0);
    assert_int_equal(figure(result, "handled"), 8);
    assert_int_equal(figure(result, "quarantined"), 0);
    json_decref(result);
}

static void doubled_in_each_way(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 8, 0, 9, "", "");
    publish(r, 8);
    react(r, 0, 8);
    react_at(r, 1, 101, "ClaimFiled", 5001, 9);     /* of one moment, twice the same */
    react_at(r, 2, 102, "ClaimDeclined", 7777, 10); /* of another moment */
    react_at(r, 3, 3, "ClaimFiled", 5003, 11);      /* another row of the outbox */
    react_at(r, 4, 104, "ClaimNoted", 5004, 12);    /* two events of one reaction: nothing */
    json_t *result = judge(&r);
    expect_n(result, 3);
    expect_finding(result, 0, "doubled", 1, "R-1", "one type");
    expect_finding(result, 1, "doubled", 2, "R-2", "handled twice");
    expect_finding(result, 2, "doubled", 3, "R-3", "two rows");
    assert_int_equal(figure(result, "doubled"), 3);
    json_decref(result);
}

/* A team whose own tables say that it answered puts aside what comes to it again. */
static void answered_and_then_quarantined(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 9, 8, 7, 2, 8, "", "");
    publish(r, 8);
    react(r, 0, 8);
    reconcile_letter(r, 0, 3, 4000); /* redriven, and answered at 5003 */
    reconcile_letter(r, 0, 5, 9001); /* sent again after a crash */
    reconcile_letter(r, 0, 5, 9000);
    json_t *result = judge(&r);
    expect_n(result, 2);
    expect_finding(result, 0, "doubled", -1, NULL, "of 9 records");
    expect_finding(result, 1, "doubled", 5, "R-5", "quarantined after that");
    assert_int_equal(figure(result, "doubled"), 1);
    json_decref(result);
}

static void an_event_that_was_never_decided(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 8, 8, 8, 0, 7, "", "");
    publish(r, 8);
    react(r, 0, 8);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "doubled", -1, NULL, "it decided only 7");
    json_decref(result);
}

static void what_the_audit_check_found_is_named(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(
        r, 100, 8, 8, 8, 0, 8, "",
        ",\"broken\":{\"chain\":\"" TOPIC "/0\",\"id\":5,\"offset\":4,\"reason\":\"its hash is not that of its row\"}");
    publish(r, 8);
    react(r, 0, 8);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "changed", 4, "R-4", "row 5: its hash");
    json_decref(result);
}

/* A log that was accepted in place of another begins to count anew. */
static void another_log_counts_from_its_first_offset(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 20, 20, 20, 0, 20, "", "");
    count(r, 200, 23, 8, 3, 0, 3, ",\"log\":1,\"first_offset\":5,\"emitted_from\":5", "");
    publish(r, 8);
    react(r, 5, 8);
    json_t *result = judge(&r);
    expect_n(result, 0);
    assert_int_equal(figure(result, "handled"), 3);
    json_decref(result);
}

static void many_returns(void **state) {
    (void)state;
    struct reconcile *r = reconcile_new(TOPIC, "support");
    count(r, 100, 59999, 60000, 59999, 0, 59999, ",\"gaps\":[{\"from\":40000,\"to\":40001}]", "");
    reconcile_bounds(r, 0, 0, 60000);
    for (int i = 0; i < 60000; i++) publish_one(r, i, i);
    react(r, 0, 40000);
    react(r, 40001, 60000);
    json_t *result = judge(&r);
    expect_n(result, 1);
    expect_finding(result, 0, "missing", 40000, "R-40000", "no row");
    json_decref(result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fits),
        cmocka_unit_test(what_was_not_counted_yet_is_late),
        cmocka_unit_test(who_publishes_no_counts_is_only_passed_or_late),
        cmocka_unit_test(a_gap_is_missing_and_named),
        cmocka_unit_test(a_gap_without_a_record_is_nothing),
        cmocka_unit_test(fewer_counted_than_there_are),
        cmocka_unit_test(more_counted_than_there_are),
        cmocka_unit_test(counts_that_do_not_fit_their_chain),
        cmocka_unit_test(a_head_that_goes_back),
        cmocka_unit_test(an_event_that_never_came),
        cmocka_unit_test(what_is_in_the_outbox_is_not_missing),
        cmocka_unit_test(a_dead_letter_that_never_came),
        cmocka_unit_test(a_redriven_one_counts_as_handled),
        cmocka_unit_test(doubled_in_each_way),
        cmocka_unit_test(answered_and_then_quarantined),
        cmocka_unit_test(an_event_that_was_never_decided),
        cmocka_unit_test(what_the_audit_check_found_is_named),
        cmocka_unit_test(another_log_counts_from_its_first_offset),
        cmocka_unit_test(many_returns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
