/* Outgoing calls: what is tried again, and what is said of it. */
#include "helper_probe.h"

#include "chassis/web/caller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct heard ask_at(struct caller *c, const char *url, int total_ms) {
    struct heard heard;
    struct outcall o = {
        .url = url, .body = "{}", .connect_ms = 1000, .total_ms = total_ms, .retries = 2, .backoff_ms = 1};
    caller_ask(c, &o, &heard);
    json_decref(heard.said);
    return heard;
}

static void only_what_may_pass_is_tried_again(void **state) {
    struct world *w = *state;
    struct caller *c;
    struct failure why;
    char nowhere[200], silent[200];
    assert_int_equal(caller_start(&c, &why), OK);
    world_start(w, &probe);
    snprintf(nowhere, sizeof nowhere, "http://127.0.0.1:%d/api/nothing", http_port(w->rt.http));
    struct heard heard = ask_at(c, nowhere, 2000);
    assert_int_equal(heard.status, 404); /* an answer, and the last word */
    assert_int_equal(heard.tries, 1);
    w->registry_down = true;
    heard = ask_at(c, w->registry_url, 2000);
    assert_int_equal(heard.status, 503);
    assert_int_equal(heard.tries, 3);
    snprintf(nowhere, sizeof nowhere, "http://127.0.0.1:%d/api/nothing", http_port(w->rt.http));
    world_stop(w);
    heard = ask_at(c, nowhere, 2000);
    assert_int_equal(heard.status, 0); /* nobody is there, so nothing was done */
    assert_int_equal(heard.tries, 3);
    assert_false(heard.in_doubt);
    assert_true(*heard.why);
    snprintf(silent, sizeof silent, "http://%s/", rd_kafka_mock_cluster_bootstraps(w->cluster));
    heard = ask_at(c, silent, 100); /* takes it, and does not answer as one would */
    assert_int_equal(heard.status, 0);
    assert_true(heard.in_doubt);
    caller_cut(c);
    heard = ask_at(c, w->registry_url, 2000);
    assert_int_equal(heard.tries, 1);
    assert_int_equal(heard.status, 0);
    caller_stop(&c);
    assert_null(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_may_pass_is_tried_again, probe_setup, probe_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
