/* sockets: the connections of one listening port of this process. civetweb does not show its descriptors, and they are
 * needed: to let a client that is still sending read our answer before the connection closes, to wake threads that wait
 * on idle connections when the server stops, and to cut off clients who keep others waiting (connection_guard.h). Any
 * thread. */
#pragma once

#include "chassis/base/failure.h"

#include <stdbool.h>
#include <stddef.h>

int sockets_peer(int port, const char *peer_address, int peer_port); /* its descriptor, or −1 */
/* The address of this machine that the client came to. False: it is gone. */
bool sockets_local(int port, const char *peer_address, int peer_port, char out[16]);
size_t socket_waiting(int fd); /* how many bytes have arrived and not been read */

/* Says that no more will be sent to that client, and throws away what it sends until it closes or ms have passed. */
void sockets_drain(int port, const char *peer_address, int peer_port, int ms);

/* A descriptor that the web server has no part in any more: no crowd is made of it, and only sockets_wake() reaches it.
 * False: its number is too high to be kept in mind. Taken back before it is closed. */
MUST_CHECK bool socket_lend(int fd);
void socket_take_back(int fd);

/* Ends reading from every connection of the port, and accepting new ones. */
void sockets_wake(int port);

struct socket_seen {
    int fd, peer_port;
    char peer_address[16]; /* INET_ADDRSTRLEN */
};

/* Shows each connection of the port to look(), and cuts those that it says true of: reading from them ends at once. */
void sockets_each(int port, bool (*look)(const struct socket_seen *s, void *context), void *context);
bool socket_has_request(int fd); /* a request has arrived, as far as a socket holds one, and nobody has read it yet */
