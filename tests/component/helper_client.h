/* helper_client: an HTTP client that sends just what it is told. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct answer {
    int status; /* 0: none that is HTTP */
    char text[1 << 17];
    const char *body;
};

int client_open(int port);
bool client_send(int fd, const void *bytes, size_t n); /* false: the server would not take it all */

/* One answer: up to its Content-Length, or to the end of the connection. It lives until the next call, in any thread.
 */
struct answer *client_read(int fd, bool head_only);
