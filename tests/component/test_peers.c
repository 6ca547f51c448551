/* The thread that observes the other services, among some that refuse, hang, lie or say too much. Pages never wait for
 * it, and neither does the end of the service. */
#include "helper_client.h"
#include "helper_probe.h"
#include "helper_world.h"

#include "chassis/peers.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static char sql[1000];
static struct service keeper = {.title = "Keeper", .subscribes = "support", .duty = "Keeps the list.", .peers = sql};

/* A socket that listens, and that nobody reads from; *port: its port. */
static int listen_silently(int *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_return_code(listen(fd, 10), 0);
    assert_return_code(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static json_t *state_of(struct world *w, const char *name) {
    json_t *known = peers_json(w->rt.peers), *one, *found = NULL;
    size_t i;
    json_array_foreach(
        json_object_get(known, "peers"), i, one) if (!strcmp(json_string_value(json_object_get(one, "name")), name))
        found = json_incref(one);
    json_decref(known);
    return found;
}

static void await_state(struct world *w, const char *name, const char *state, const char *word) {
    char last[1000] = "";
    for (int64_t end = steady_ms() + 10000; steady_ms() < end; usleep(5000)) {
        peers_look(w->rt.peers);
        json_t *one = state_of(w, name);
        const char *is = json_string_value(json_object_get(one, "state"));
        const char *says = json_string_value(json_object_get(one, "text"));
        snprintf(last, sizeof last, "%s: %s", is ? is : "not there", says ? says : "");
        bool found = is && !strcmp(is, state) && strstr(says, word);
        json_decref(one);
        if (found) return;
    }
    fail_msg("%s is not %s (%s), but %s", name, state, word, last);
}

static void each_is_told_apart(void **unused) {
    (void)unused;
    struct world w;
    int silent, gone;
    int fd = listen_silently(&silent);
    close(listen_silently(&gone));
    world_open(&w);
    snprintf(
        sql, sizeof sql,
        "SELECT 'frozen', 'http://127.0.0.1:%d' UNION SELECT 'gone', 'http://127.0.0.1:%d/' UNION SELECT 'liar', "
        "'http://127.0.0.1:%d' UNION SELECT 'file', 'file:///etc/hostname'",
        silent, gone, w.registry_port);
    world_start(&w, &keeper);
    await_state(&w, "gone", "stopped", "Nobody listens");
    await_state(&w, "frozen", "does not answer", "has not answered yet");
    await_state(&w, "liar", "needs a hand", "It answers 404");
    await_state(&w, "file", "does not answer", "not answered yet"); /* nothing but the web is asked */
    await_state(&w, "probe", "up", "");
    /* A request hangs now; a page is there at once all the same, with its head. */
    int64_t begin = steady_ms();
    const char request[] = "GET /audit HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    int page = client_open(http_port(w.rt.http));
    assert_true(client_send(page, request, strlen(request)));
    struct answer *a = client_read(page, false);
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "does not answer"));
    assert_in_range(steady_ms() - begin, 0, 400);
    close(page);
    begin = steady_ms();
    peers_stop(w.rt.peers);
    assert_in_range(steady_ms() - begin, 0, 300);
    world_close(&w);
    close(fd);
}

/* One that keeps no list asks the one whose events it reads, and keeps what it last heard. */
static void the_list_is_asked_for_and_kept(void **unused) {
    (void)unused;
    static struct service reader = {.title = "Reader", .subscribes = "support", .duty = "Reads."};
    struct world w, other;
    char url[100];
    snprintf(sql, sizeof sql, "SELECT 'x', 'http://127.0.0.1:1'");
    world_open(&w);
    world_start(&w, &keeper);
    world_open(&other);
    other.name = "reader";
    world_start(&other, &reader);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", http_port(w.rt.http));
    assert_null(state_of(&other, "probe")); /* it heard of nobody yet */
    peers_hear(other.rt.peers, url);
    await_state(&other, "probe", "up", "");
    await_state(&other, "x", "stopped", "");
    world_stop(&w);
    json_t *known = NULL;
    for (int64_t end = steady_ms() + 10000; steady_ms() < end; usleep(5000)) {
        json_decref(known);
        peers_look(other.rt.peers);
        known = peers_json(other.rt.peers);
        if (json_is_string(json_object_get(known, "stale"))) break;
    }
    assert_true(json_is_string(json_object_get(known, "stale")));
    assert_int_equal(json_array_size(json_object_get(known, "peers")), 2);
    json_decref(known);
    world_close(&other);
    world_close(&w);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_told_apart), cmocka_unit_test(the_list_is_asked_for_and_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
