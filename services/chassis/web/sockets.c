#include "chassis/web/sockets.h"

#include "chassis/base/ids.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LENT_MAX = 4096, REQUEST_LARGE = 48 * 1024 }; /* more of one may not fit into a socket */

static atomic_bool lent[LENT_MAX];

bool socket_lend(int fd, bool away) {
    if (fd < LENT_MAX) atomic_store(&lent[fd], away);
    return fd < LENT_MAX;
}

int socket_give_back(int fd) {
    if (fd < 0) return -1;
    (void)socket_lend(fd, false);
    close(fd);
    return -1;
}

static uint64_t number_of(struct in_addr address, int port) {
    return (uint64_t)ntohl(address.s_addr) << 16 | (uint64_t)port;
}

uint64_t socket_number(const char *address, int port) {
    struct in_addr a;
    return inet_pton(AF_INET, address, &a) == 1 ? number_of(a, port) : 0;
}

static uint64_t number_read(int fd, __typeof__(getpeername) *end) {
    struct sockaddr_in a = {0};
    socklen_t n = sizeof a;
    return end(fd, (struct sockaddr *)&a, &n) || a.sin_family != AF_INET ? 0 : number_of(a.sin_addr, ntohs(a.sin_port));
}

uint64_t socket_local(int fd) {
    return number_read(fd, getsockname);
}

static bool is_of_port(int fd, int port) {
    return (socket_local(fd) & 0xffff) == (uint64_t)port;
}

size_t socket_waiting(int fd) {
    int n = 0;
    return ioctl(fd, FIONREAD, &n) || n < 0 ? 0 : (size_t)n;
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

void socket_drain(int fd, int ms) {
    int64_t until = steady_ms() + ms;
    char bytes[16384];
    shutdown(fd, SHUT_WR);
    for (int64_t left = ms; left > 0; left = until - steady_ms())
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)left) <= 0 ||
            recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0)
            return;
}

/* Its thread may close that descriptor at any moment, and another may get its number for something else. So the
 * socket is looked at and shut down by a descriptor of our own. What has become a file is left open: to close it would
 * give up SQLite's locks on it. */
static void socket_end(int fd, int port, uint64_t peer, int how) {
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    struct stat is;
    if (own < 0 || fstat(own, &is) || !S_ISSOCK(is.st_mode)) return;
    if (is_of_port(own, port) && (!peer || number_read(own, getpeername) == peer)) shutdown(own, how);
    close(own);
}

/* --- All of a port */

typedef bool look_at(void *context, int fd, uint64_t peer);

/* Ends, as `how` says, the sockets of the port that look() says yes to, or returns the first of them: FIND. −1: none.
 * One that was lent, and the one that listens, are no connections of the web server's: only WAKE reaches them. */
enum { FIND = -1, WAKE = SHUT_RD, CUT = SHUT_RDWR };
static int port_each(int port, int how, look_at *look, void *context) {
    DIR *fds = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *entry; fds && found < 0 && (entry = readdir(fds));) {
        int fd = atoi(entry->d_name);
        if (fd <= 2 || !is_of_port(fd, port)) continue;
        uint64_t peer = number_read(fd, getpeername);
        bool connection = peer && !(fd < LENT_MAX && lent[fd]);
        if ((how != WAKE && !connection) || !look(context, fd, peer)) continue;
        if (how == FIND)
            found = fd;
        else
            socket_end(fd, port, peer, how);
    }
    if (fds) closedir(fds);
    return found;
}

static bool is_of_peer(void *wanted, int fd, uint64_t peer) {
    (void)fd;
    return peer == *(uint64_t *)wanted;
}

int sockets_find(int port, uint64_t peer) {
    return port_each(port, FIND, is_of_peer, &peer);
}

static bool is_any(void *unused, int fd, uint64_t peer) {
    (void)unused, (void)fd, (void)peer;
    return true;
}

void sockets_wake(int port) {
    (void)port_each(port, WAKE, is_any, NULL);
}

void sockets_each(int port, bool (*look)(void *context, int fd, uint64_t peer), void *context) {
    (void)port_each(port, CUT, look, context);
}
