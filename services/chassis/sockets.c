#include "chassis/sockets.h"

#include "chassis/ids.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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
    return is_of_peer(fd, peer->address, peer->port);
}

void sockets_drain(int port, const char *peer_address, int peer_port, int ms) {
    int fd = sockets_find(port, peer_is, &(struct peer){peer_address, peer_port});
    if (fd < 0) return;
    shutdown(fd, SHUT_WR);
    int64_t deadline = steady_ms() + ms;
    for (int64_t left; (left = deadline - steady_ms()) > 0;) {
        char bytes[16384];
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)left) <= 0) return;
        if (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0) return;
    }
}

static bool wake(int fd, const void *what) {
    (void)what;
    shutdown(fd, SHUT_RD);
    return false;
}

void sockets_wake(int port) {
    (void)sockets_find(port, wake, NULL);
}
