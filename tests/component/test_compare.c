/* Support's traditional way, and a run of both ways, with teams that are the test's own. */
#include "helper_client.h"
#include "helper_world.h"

#include "chassis/base/assets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct service service; /* support's declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static struct mg_context *teams;
static atomic_bool accounting_away;
static char call_urls[200];

static int on_call(struct mg_connection *c, void *unused) {
    (void)unused;
    char body[2000];
    bool away = accounting_away && !strcmp(mg_get_request_info(c)->local_uri, "/api/asset-disposals");
    const char *said = away ? "{\"detail\":\"away.\"}" : "{\"outcome\":\"handled\"}";
    while (mg_read(c, body, sizeof body) > 0) continue;
    mg_printf(
        c, "HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", away ? 503 : 201,
        strlen(said), said);
    return 1;
}

static int setup(void **state) {
    const char *options[] = {"listening_ports", "127.0.0.1:0", "num_threads", "20", "enable_keep_alive", "yes", NULL};
    struct mg_callbacks callbacks = {0};
    struct mg_server_port port;
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    w->name = "support";
    teams = mg_start(&callbacks, w, options);
    assert_non_null(teams);
    mg_set_request_handler(teams, "/", on_call, NULL);
    assert_int_equal(mg_get_server_ports(teams, 1, &port), 1);
    int n = snprintf(call_urls, sizeof call_urls, "--call-urls=");
    for (int i = 0; i < 4; i++)
        n += snprintf(
            call_urls + n, sizeof call_urls - (size_t)n, "%s=http://127.0.0.1:%d,",
            (const char *[]){"sales", "inventory", "manufacturing", "accounting"}[i], port.port);
    w->more[w->more_n++] = "--kafka=127.0.0.1:9"; /* accepting needs none */
    w->more[w->more_n++] = call_urls;
    w->more[w->more_n++] = "--drills";
    accounting_away = false;
    world_start(w, &service);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    mg_stop(teams);
    free(*state);
    return 0;
}

static json_t *call(struct world *w, const char *method, const char *path, const char *body, int status) {
    char request[2000];
    int n = snprintf(
        request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s",
        method, path, strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    assert_true(client_send(fd, request, (size_t)n));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != status) fail_msg("%s %s: not %d: %s", method, path, status, a->text);
    return json_loads(a->body, 0, NULL);
}

static json_t *run_ended(struct world *w, int rate, int seconds) {
    char body[60];
    snprintf(body, sizeof body, "{\"rate\":%d,\"seconds\":%d}", rate, seconds);
    json_decref(call(w, "POST", "/api/compare", body, 202));
    for (;;) {
        json_t *said = call(w, "GET", "/api/compare", "", 200);
        if (json_is_false(json_object_get(said, "running"))) return said;
        json_decref(said);
        usleep(20000);
    }
}

static int64_t figure(const json_t *run, size_t way, const char *name) {
    return json_integer_value(json_object_get(json_array_get(json_object_get(run, "ways"), way), name));
}

static void a_run_counts_what_each_way_did(void **state) {
    struct world *w = *state;
    json_t *run = run_ended(w, 20, 1);
    assert_int_equal(figure(run, 0, "accepted"), 20);
    assert_int_equal(figure(run, 0, "failed"), 0);
    assert_int_equal(figure(run, 1, "accepted"), 20);
    json_decref(run);
    accounting_away = true;
    run = run_ended(w, 20, 1);
    assert_int_equal(figure(run, 0, "sent"), 20);
    assert_int_equal(figure(run, 0, "failed"), 20);
    assert_int_equal(figure(run, 0, "half_done"), 20);
    assert_int_equal(figure(run, 1, "accepted"), 20);
    assert_int_equal(figure(run, 1, "half_done"), 0);
    json_t *half = json_array_get(json_object_get(run, "half_done"), 0);
    assert_string_equal(
        json_string_value(json_object_get(half, "words")), "refunded, shipped, queued for disassembly; never charged");
    json_t *failure = json_array_get(json_object_get(run, "failures"), 0);
    assert_string_equal(json_string_value(json_object_get(failure, "reason")), "accounting answered 503: away.");
    json_decref(run);
    /* Two runs of each way, and for each run one more that was not counted. */
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM return_request"), 42);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM traditional_return WHERE status = 'done'"), 21);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM traditional_return WHERE status = 'half done'"), 21);
    assert_int_equal(
        world_int(w, "SELECT COUNT(*) FROM traditional_step WHERE step = 4 AND status = 'failed' AND tries = 3"), 21);
    assert_int_equal(world_int(w, "SELECT COUNT(*) FROM audit WHERE action = 'call the four teams'"), 42);
}

/* Two are not run at once; a stop does not wait for a run's end, and the next start knows nothing of it. */
static void a_run_ends_with_the_service(void **state) {
    struct world *w = *state;
    json_decref(call(w, "POST", "/api/compare", "{\"rate\":50,\"seconds\":60}", 202));
    json_decref(call(w, "POST", "/api/compare", "{\"rate\":1,\"seconds\":1}", 409));
    world_await(w, "SELECT COUNT(*) > 5 FROM traditional_return", 1);
    int64_t begun = steady_ms();
    world_stop(w);
    assert_true(steady_ms() - begun < 10000);
    world_start(w, &service);
    json_t *said = call(w, "GET", "/api/compare", "", 200);
    assert_true(json_is_false(json_object_get(said, "running")));
    assert_null(json_object_get(said, "ways"));
    json_decref(said);
}

static void without_drills_there_is_no_run(void **state) {
    struct world *w = *state;
    world_stop(w);
    w->more_n--;
    world_start(w, &service);
    json_decref(call(w, "POST", "/api/compare", "{\"rate\":1,\"seconds\":1}", 403));
    json_t *said = call(w, "GET", "/api/compare", "", 200);
    assert_true(json_is_false(json_object_get(said, "drills")));
    json_decref(said);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_counts_what_each_way_did),
        TEST(a_run_ends_with_the_service),
        TEST(without_drills_there_is_no_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
