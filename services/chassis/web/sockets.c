#include "chassis/web/sockets.h"

#include "chassis/base/ids.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LENT_MAX = 4096, REQUEST_LARGE = 48 * 1024 }; /* more of one may not fit into a socket */

static atomic_bool lent[LENT_MAX];

static bool is_lent(int fd) {
    return fd < LENT_MAX && atomic_load(&lent[fd]);
}

bool socket_lend(int fd) {
    if (fd >= LENT_MAX) return false;
    atomic_store(&lent[fd], true);
    return true;
}

void socket_take_back(int fd) {
    if (fd < LENT_MAX) atomic_store(&lent[fd], false);
}

static bool is_of_port(int fd, int port) {
    struct sockaddr_in local;
    socklen_t n = sizeof local;
    return !getsockname(fd, (struct sockaddr *)&local, &n) && local.sin_family == AF_INET &&
           ntohs(local.sin_port) == port;
}

static bool is_of_peer(int fd, const char *address, int port) {
    struct sockaddr_in peer;
    socklen_t n = sizeof peer;
    char text[INET_ADDRSTRLEN];
    return !getpeername(fd, (struct sockaddr *)&peer, &n) && ntohs(peer.sin_port) == port &&
           inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text) && !strcmp(text, address);
}

/* The first socket of the port that each() says yes to, or −1. */
static int sockets_find(int port, bool (*each)(int fd, const void *what), const void *what) {
    DIR *fds = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *entry; fds && found < 0 && (entry = readdir(fds));) {
        int fd = atoi(entry->d_name);
        if (fd > 2 && is_of_port(fd, port) && each(fd, what)) found = fd;
    }
    if (fds) closedir(fds);
    return found;
}

struct peer {
    const char *address;
    int port;
};

static bool peer_is(int fd, const void *what) {
    const struct peer *peer = what;
    return !is_lent(fd) && is_of_peer(fd, peer->address, peer->port);
}

int sockets_peer(int port, const char *peer_address, int peer_port) {
    return sockets_find(port, peer_is, &(struct peer){peer_address, peer_port});
}

bool sockets_local(int port, const char *peer_address, int peer_port, char out[16]) {
    int fd = sockets_peer(port, peer_address, peer_port);
    struct sockaddr_in local;
    socklen_t n = sizeof local;
    return fd >= 0 && !getsockname(fd, (struct sockaddr *)&local, &n) &&
           inet_ntop(AF_INET, &local.sin_addr, out, INET_ADDRSTRLEN);
}

size_t socket_waiting(int fd) {
    int n = 0;
    return ioctl(fd, FIONREAD, &n) || n < 0 ? 0 : (size_t)n;
}

void sockets_drain(int port, const char *peer_address, int peer_port, int ms) {
    int fd = sockets_peer(port, peer_address, peer_port);
    if (fd < 0) return;
    shutdown(fd, SHUT_WR);
    int64_t deadline = steady_ms() + ms;
    for (int64_t left; (left = deadline - steady_ms()) > 0;) {
        char bytes[16384];
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)left) <= 0) return;
        if (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0) return;
    }
}

/* Its thread may close that descriptor at any moment, and another may get its number for something else. So the
 * socket is looked at and shut down by a descriptor of our own. What has become a file is left open: to close it would
 * give up SQLite's locks on it. */
static void socket_end(int fd, int port, const struct socket_seen *s, int how) {
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    struct stat is;
    if (own < 0 || fstat(own, &is) || !S_ISSOCK(is.st_mode)) return;
    if (is_of_port(own, port) && (!s || is_of_peer(own, s->peer_address, s->peer_port))) shutdown(own, how);
    close(own);
}

static bool wake(int fd, const void *port) {
    socket_end(fd, *(const int *)port, NULL, SHUT_RD);
    return false;
}

void sockets_wake(int port) {
    (void)sockets_find(port, wake, &port);
}

struct cutting {
    int port;
    bool (*look)(const struct socket_seen *s, void *context);
    void *context;
};

static bool cut(int fd, const void *what) {
    const struct cutting *c = what;
    struct sockaddr_in peer;
    socklen_t n = sizeof peer;
    struct socket_seen seen = {.fd = fd};
    if (is_lent(fd) || getpeername(fd, (struct sockaddr *)&peer, &n)) return false; /* or the one that listens */
    seen.peer_port = ntohs(peer.sin_port);
    inet_ntop(AF_INET, &peer.sin_addr, seen.peer_address, sizeof seen.peer_address);
    if (c->look(&seen, c->context)) socket_end(fd, c->port, &seen, SHUT_RDWR);
    return false;
}

void sockets_each(int port, bool (*look)(const struct socket_seen *s, void *context), void *context) {
    (void)sockets_find(port, cut, &(struct cutting){port, look, context});
}

/* Only a guess at the body: it decides how long a client may wait in a crowd, not what its request says. */
bool socket_has_request(int fd) {
    char bytes[16384 + 1];
    ssize_t n = recv(fd, bytes, sizeof bytes - 1, MSG_PEEK | MSG_DONTWAIT);
    size_t there = socket_waiting(fd);
    if (n <= 0) return false;
    bytes[n] = '\0';
    const char *end = memmem(bytes, (size_t)n, "\r\n\r\n", 4), *length = strcasestr(bytes, "\nContent-Length:");
    if (!end || there > REQUEST_LARGE) return there >= sizeof bytes - 1;
    unsigned long long body = length && length < end ? strtoull(length + strlen("\nContent-Length:"), NULL, 10) : 0;
    return body <= there - (size_t)(end + 4 - bytes);
}
