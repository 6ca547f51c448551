#include "chassis/web/connection_guard.h"
#include "chassis/web/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKERS = 1, QUEUED_MS = 400, LOOKS_MS = 120 };

static const char whole[] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

struct pair {
    int client, server;
    uint64_t peer;
};

static int listener(int *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static struct pair connected(int listening, int port) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    struct pair p = {.client = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(connect(p.client, (struct sockaddr *)&to, sizeof to), 0);
    p.server = accept(listening, NULL, NULL);
    p.peer = socket_local(p.client);
    return p;
}

static void rest(int ms) {
    usleep((useconds_t)ms * 1000);
}

static bool is_cut(const struct pair *p) {
    char byte;
    ssize_t n = recv(p->server, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return !n || (n < 0 && errno != EAGAIN);
}

static void pair_close(struct pair *p) {
    close(p->client);
    close(p->server);
}

/* A worker that had to wait for the processor with it is not the client's fault. */
static void who_sent_all_is_not_cut_for_the_time_in_the_queue(void **state) {
    (void)state;
    int port;
    atomic_int guarded;
    char bytes[sizeof whole];
    struct failure why;
    struct connection_guard *guard;
    int listening = listener(&port);
    guarded = port;
    assert_int_equal(guard_start(&guard, WORKERS, &guarded, &why), OK);
    struct pair busy = connected(listening, port), honest = connected(listening, port),
                silent = connected(listening, port);
    struct visit *v = guard_enter(guard);
    guard_move(guard, v, busy.peer, VISIT_WORKS);
    assert_int_equal(send(honest.client, whole, strlen(whole), 0), strlen(whole));
    rest(QUEUED_MS);
    assert_true(is_cut(&silent));
    assert_false(is_cut(&honest));
    guard_leave(guard, v);
    v = guard_enter(guard);
    assert_int_equal(recv(honest.server, bytes, sizeof bytes, 0), strlen(whole)); /* and nobody was told yet */
    rest(LOOKS_MS);
    assert_false(is_cut(&honest));
    guard_move(guard, v, honest.peer, VISIT_READS);
    rest(LOOKS_MS);
    assert_false(is_cut(&honest));
    guard_leave(guard, v);
    guard_stop(&guard);
    pair_close(&busy);
    pair_close(&honest);
    pair_close(&silent);
    close(listening);
}

/* Who sent a head alone is waited for by a worker, for a moment. */
static void who_has_a_worker_wait_for_its_body_is_cut(void **state) {
    (void)state;
    int port;
    atomic_int guarded;
    struct failure why;
    struct connection_guard *guard;
    int listening = listener(&port);
    guarded = port;
    assert_int_equal(guard_start(&guard, WORKERS, &guarded, &why), OK);
    struct pair slow = connected(listening, port), other = connected(listening, port);
    struct visit *v = guard_enter(guard);
    guard_move(guard, v, slow.peer, VISIT_READS);
    rest(LOOKS_MS);
    assert_false(is_cut(&slow));
    rest(QUEUED_MS);
    assert_true(is_cut(&slow));
    guard_leave(guard, v);
    guard_stop(&guard);
    pair_close(&slow);
    pair_close(&other);
    close(listening);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_sent_all_is_not_cut_for_the_time_in_the_queue),
        cmocka_unit_test(who_has_a_worker_wait_for_its_body_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
