/* sockets: the connections of one listening port of this process. civetweb does not show its descriptors, and they are
 * needed twice: to let a client that is still sending read our answer before the connection closes, and to wake threads
 * that wait on idle connections when the server stops. Any thread. */
#pragma once

/* Says that no more will be sent to that client, and throws away what it sends until it closes or ms have passed. */
void sockets_drain(int port, const char *peer_address, int peer_port, int ms);

/* Ends reading from every connection of the port, and accepting new ones. */
void sockets_wake(int port);
