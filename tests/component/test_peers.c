/* The thread that observes the other services, among some that refuse, hang, lie or say too much. Pages never wait for
 * it, and neither does the end of the service. */
#include "helper_client.h"
#include "helper_probe.h"
#include "helper_world.h"

#include "chassis/fleet/peers.h"
#include "chassis/fleet/subscribers.h"

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

static struct service keeper = {
    .title = "Keeper", .subscribes = "support", .duty = "Keeps the list.", .watch_subscribers = true};

/* The mock cluster lists no groups. librdkafka 2.0.2 leaks when that is refused. */
verdict __wrap_subscribers_start(struct subscribers **out, const struct subscribers_options *o, struct failure *why);
verdict __wrap_subscribers_start(struct subscribers **out, const struct subscribers_options *o, struct failure *why) {
    (void)o, (void)why;
    *out = NULL;
    return OK;
}

/* What groups say with the offsets that they commit: {name: URL}. */
static json_t *said;
json_t *__wrap_subscribers_urls(struct subscribers *s);
json_t *__wrap_subscribers_urls(struct subscribers *s) {
    (void)s;
    return json_deep_copy(said);
}

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
    for (int64_t end = steady_ms() + 60000; steady_ms() < end; usleep(5000)) {
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
    said = json_pack(
        "{s:o, s:o, s:o, s:s}", "frozen", json_sprintf("http://127.0.0.1:%d", silent), "gone",
        json_sprintf("http://127.0.0.1:%d/", gone), "liar", json_sprintf("http://127.0.0.1:%d", w.registry_port),
        "file", "file:///etc/hostname");
    world_start(&w, &keeper);
    await_state(&w, "gone", "stopped", "Nobody listens");
    await_state(&w, "frozen", "does not answer", "has not answered yet");
    await_state(&w, "liar", "needs a hand", "It answers 404");
    assert_null(state_of(&w, "file")); /* nothing but the web is asked */
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
    json_decref(said);
}

/* Nobody is asked or linked on another machine, or by more than a host and a port, unless a setting allows it. */
static void only_addresses_that_settings_allow(void **unused) {
    (void)unused;
    struct world w;
    static const char *const refused[] = {
        "http://evil.example:8000",
        "http://192.0.2.1:8000/",
        "http://127.0.0.1:1/path?q=",
        "http://x@127.0.0.1:1",
        "http://127.0.0.1.evil.test:1",
        "http://other.test:1/?x",
        "//127.0.0.1:1",
        "javascript:alert(1)",
        "http://named.test.evil:1"};
    static const char *const allowed[] = {
        "http://127.0.0.1:1", "http://localhost:1/", "http://named.test:1", "http://shop.test:2",
        "https://called.test"};
    char name[20], url[100];
    world_open(&w);
    w.more[w.more_n++] = "--peer-hosts=named.test,named2.test";
    w.more[w.more_n++] = "--public-url=http://shop.test:8000";
    w.more[w.more_n++] = "--call-urls=sales=http://called.test:8001";
    said = json_object();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(name, sizeof name, "no%zu", i);
        json_object_set_new(said, name, json_string(refused[i]));
    }
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        snprintf(name, sizeof name, "yes%zu", i);
        json_object_set_new(said, name, json_string(allowed[i]));
    }
    world_start(&w, &keeper);
    await_state(&w, "yes0", "stopped", "");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(name, sizeof name, "no%zu", i);
        snprintf(url, sizeof url, "%s: %s", name, refused[i]);
        json_t *one = state_of(&w, name);
        if (one) fail_msg("%s", url);
    }
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        snprintf(name, sizeof name, "yes%zu", i);
        json_t *one = state_of(&w, name);
        assert_true(json_is_string(json_object_get(one, "url")));
        json_decref(one);
    }
    world_close(&w);
    json_decref(said);
}

/* A record whose ce_source says that support is there. */
static void publish_from(struct world *w, int port) {
    static const char junk[] = "junk";
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        w->producer, RD_KAFKA_V_TOPIC("support.events"), RD_KAFKA_V_PARTITION(0),
        RD_KAFKA_V_VALUE((void *)junk, sizeof junk), RD_KAFKA_V_HEADER("ce_source", url, strlen(url)),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(error, RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* One that keeps no list asks the one whose events it reads, and keeps what it last heard. */
static void the_list_is_asked_for_and_kept(void **unused) {
    (void)unused;
    static struct service reader = {.title = "Reader", .subscribes = "support", .duty = "Reads."};
    struct world w, other;
    char url[100];
    said = json_pack("{s:s}", "x", "http://127.0.0.1:1");
    world_open(&w);
    world_start(&w, &keeper);
    world_open(&other);
    other.name = "reader";
    world_start(&other, &reader);
    publish_from(&other, http_port(w.rt.http)); /* anybody may say so */
    world_await(&other, "SELECT COUNT(*) FROM audit", 1);
    for (int i = 0; i < 20; i++) peers_look(other.rt.peers), usleep(5000);
    assert_null(state_of(&other, "probe"));
    world_stop(&other);
    snprintf(url, sizeof url, "--call-urls=support=http://127.0.0.1:%d/", http_port(w.rt.http));
    other.more[other.more_n++] = url;
    world_start(&other, &reader);
    await_state(&other, "probe", "up", "");
    await_state(&other, "x", "stopped", "");
    world_stop(&w);
    json_t *known = NULL;
    for (int64_t end = steady_ms() + 60000; steady_ms() < end; usleep(5000)) {
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
    json_decref(said);
}

/* A service says of itself what it likes; pages show so much of it as fits their head. */
static void what_others_say_is_cut(void **unused) {
    (void)unused;
    static char title[900001];
    static struct service talker = {.title = title, .subscribes = "support", .duty = "Talks."};
    struct world w, other;
    for (size_t i = 0; i + 2 < sizeof title; i += 2) memcpy(title + i, "\xd0\xb6", 2);
    world_open(&other);
    other.name = "talker";
    world_start(&other, &talker);
    said = json_pack("{s:o}", "talker", json_sprintf("http://127.0.0.1:%d", http_port(other.rt.http)));
    world_open(&w);
    world_start(&w, &keeper);
    await_state(&w, "talker", "up", "");
    json_t *one = state_of(&w, "talker");
    assert_in_range(json_string_length(json_object_get(one, "title")), 50, 100);
    json_decref(one);
    const char request[] = "GET /audit HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    int page = client_open(http_port(w.rt.http));
    assert_true(client_send(page, request, strlen(request)));
    struct answer *a = client_read(page, false);
    assert_int_equal(a->status, 200);
    assert_in_range(strlen(a->text), 1000, 40000);
    close(page);
    world_close(&w);
    world_close(&other);
    json_decref(said);
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_told_apart), cmocka_unit_test(what_others_say_is_cut),
        cmocka_unit_test(only_addresses_that_settings_allow), cmocka_unit_test(the_list_is_asked_for_and_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
