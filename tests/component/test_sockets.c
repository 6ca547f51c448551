/* A connection that is cut may be closed by its own thread at the same moment, and its descriptor's number be something
 * else's by then: only the connection that was looked at is ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/web/sockets.h"
#include "helper_client.h"

#include <arpa/inet.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener, port, client, connection; /* of the port: the server's end of the client's connection */
static int other[2];                           /* a pair of sockets that has nothing to do with it */
static bool reused;

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how);

/* Between the last look at the socket and its end the number becomes that of another. */
int __wrap_shutdown(int fd, int how) {
    if (!reused) dup2(other[0], connection);
    reused = true;
    return __real_shutdown(fd, how);
}

static int setup(void **state) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    *state = NULL;
    reused = false;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 5)) return 1;
    if (getsockname(listener, (struct sockaddr *)&a, &n) || socketpair(AF_UNIX, SOCK_STREAM, 0, other)) return 1;
    port = ntohs(a.sin_port);
    client = client_open(port);
    connection = accept(listener, NULL, NULL);
    return connection < 0;
}

static int teardown(void **state) {
    (void)state;
    close(client), close(connection), close(listener), close(other[0]), close(other[1]);
    return 0;
}

static bool is_open(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

static bool look(void *context, int fd, uint64_t peer) {
    (void)context, (void)peer;
    return fd == connection;
}

static void what_took_its_number_is_left_alone(void **state) {
    (void)state;
    sockets_each(port, look, NULL);
    assert_true(reused);
    assert_true(is_open(other[1]));
}

static void so_it_is_when_the_server_stops(void **state) {
    (void)state;
    close(listener); /* it would be the first to be woken */
    sockets_wake(port);
    assert_true(reused);
    assert_int_equal(send(other[1], "x", 1, MSG_NOSIGNAL), 1);
    char byte;
    assert_int_equal(recv(connection, &byte, 1, 0), 1); /* which is the other's number now */
}

static void who_is_cut_notices(void **state) {
    (void)state;
    reused = true; /* its number stays */
    sockets_each(port, look, NULL);
    assert_false(is_open(client));
    assert_true(is_open(other[1]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_took_its_number_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(so_it_is_when_the_server_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_cut_notices, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
