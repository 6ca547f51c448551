#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "helper_client.h"

#include <arpa/inet.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int client_open(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

bool client_send(int fd, const void *bytes, size_t n) {
    for (size_t sent = 0; sent < n;) {
        ssize_t k = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL);
        if (k <= 0) return false;
        sent += (size_t)k;
    }
    return true;
}

struct answer *client_read(int fd, bool head_only) {
    static struct answer a;
    size_t n = 0;
    memset(&a, 0, sizeof a);
    for (;;) {
        const char *end = strstr(a.text, "\r\n\r\n"), *length = strcasestr(a.text, "Content-Length: ");
        if (end && length) {
            size_t wanted = (size_t)(end + 4 - a.text) + (head_only ? 0 : strtoul(length + 16, NULL, 10));
            if (n >= wanted) break;
        }
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 30000) <= 0) break;
        ssize_t k = recv(fd, a.text + n, sizeof a.text - 1 - n, 0);
        if (k <= 0) break;
        n += (size_t)k;
    }
    if (sscanf(a.text, "HTTP/1.1 %d", &a.status) != 1) a.status = 0;
    const char *end = strstr(a.text, "\r\n\r\n");
    a.body = end ? end + 4 : "";
    return &a;
}
