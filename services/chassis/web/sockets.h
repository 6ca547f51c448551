/* sockets: the connections of one listening port of this process. civetweb does not show its descriptors, and they are
 * needed: to let a client that is still sending read our answer before the connection closes, to wake threads that wait
 * on idle connections when the server stops, and to cut off clients who keep others waiting (connection_guard.h). One
 * end of a connection, an IPv4 address and a port, is one number: address << 16 | port. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t socket_number(const char *address, int port); /* of "192.0.2.1". 0: it is no address */
uint64_t socket_local(int fd);                         /* this machine's end of it. 0: it is gone */
size_t socket_waiting(int fd);                         /* how many bytes have arrived and not been read */
bool socket_has_request(int fd); /* a request has arrived, as far as a socket holds one, and nobody has read it yet */

int sockets_find(int port, uint64_t peer); /* the descriptor of the connection to that peer, or −1 */

/* Says that no more will be sent to that client, and throws away what it sends until it closes or ms have passed. */
void socket_drain(int fd, int ms);

/* away: a descriptor that the web server has no part in any more: no crowd is made of it, and only sockets_wake()
 * reaches it. Taken back, with false, before it is closed. False: its number is too high to be kept in mind. */
bool socket_lend(int fd, bool away);
int socket_give_back(int fd); /* takes back what was lent, and closes it. Nothing where fd is −1. Returns −1 */

/* Ends reading from every connection of the port, and accepting new ones. */
void sockets_wake(int port);

/* Shows each connection of the port to look(), and cuts those that it says true of: reading from them ends at once. */
void sockets_each(int port, bool (*look)(void *context, int fd, uint64_t peer), void *context);
