#include "chassis/web/http_private.h"

#include "chassis/web/sockets.h"

#include <civetweb.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 64 << 10 };

static bool put(struct exchange *x, struct buffer *bytes) {
    struct exchange_private *p = x->private;
    guard_move(p->guard, &p->visit, VISIT_ANSWERS);
    bool sent = !bytes->failed && mg_write(p->connection, bytes->data, bytes->length) == (int)bytes->length;
    guard_move(p->guard, &p->visit, VISIT_WORKS);
    buffer_free(bytes);
    return sent;
}

bool exchange_stream(struct exchange *x, const char *content_type) {
    struct buffer head = BUFFER(HEAD_MAX);
    (void)http_head(x, &head, content_type, BODY_STREAM);
    bool sent = put(x, &head);
    if (strcmp(x->method, "HEAD") != 0) return sent;
    if (sent) x->private->stream = STREAM_ENDED;
    return false;
}

bool exchange_write(struct exchange *x, const void *bytes, size_t n) {
    struct buffer chunk = BUFFER(n + 32);
    bool chunked = x->private->stream == STREAM_CHUNKED;
    if (x->private->stopping && atomic_load(x->private->stopping)) return false;
    if (!n) return true; /* an empty chunk would be the last */
    if (chunked) buffer_format(&chunk, "%zx\r\n", n);
    buffer_bytes(&chunk, bytes, n);
    if (chunked) buffer_text(&chunk, "\r\n");
    return put(x, &chunk);
}

void exchange_end(struct exchange *x) {
    struct buffer last = BUFFER(8);
    if (x->private->stream == STREAM_CHUNKED) buffer_text(&last, "0\r\n\r\n");
    if (!last.length || put(x, &last)) x->private->stream = STREAM_ENDED;
}

/* civetweb (as of 1.16) closes what it thinks is the connection's descriptor once the request is answered. So the
 * connection gets another descriptor, and a socket that is connected to nobody takes the place of the first. */
static int descriptor_exchange(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3), nobody = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool done = moved >= 0 && nobody >= 0 && socket_lend(moved) && dup2(nobody, fd) == fd;
    if (nobody >= 0) close(nobody);
    if (done) return moved;
    if (moved >= 0) {
        socket_take_back(moved);
        close(moved);
    }
    return -1;
}

int exchange_hand_over(struct exchange *x, const char *content_type) {
    const struct mg_request_info *info = mg_get_request_info(x->private->connection);
    struct buffer head = BUFFER(HEAD_MAX);
    if (!strcmp(x->method, "HEAD")) {
        if (exchange_stream(x, content_type)) exchange_end(x);
        return -1;
    }
    int fd = sockets_peer(info->server_port, info->remote_addr, info->remote_port);
    if (fd >= 0) fd = descriptor_exchange(fd);
    if (fd < 0) {
        exchange_problem(x, 503, "The stream cannot be kept open: no descriptor is left; try again later.");
        return -1;
    }
    (void)http_head(x, &head, content_type, BODY_OPEN);
    x->private->stream = STREAM_ENDED;
    bool sent = !head.failed && send(fd, head.data, head.length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)head.length;
    buffer_free(&head);
    if (sent) return fd;
    socket_take_back(fd);
    close(fd);
    return -1;
}
