#include "chassis/web/http_private.h"

#include "chassis/web/sockets.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 64 << 10 };

static bool put(struct exchange *x, const struct buffer *bytes) {
    exchange_move(x, VISIT_ANSWERS);
    bool sent = !bytes->failed && mg_write(x->private->connection, bytes->data, bytes->length) == (int)bytes->length;
    exchange_move(x, VISIT_WORKS);
    return sent;
}

bool exchange_stream(struct exchange *x, const char *content_type) {
    buffer_auto head = BUFFER(HEAD_MAX);
    http_head(x, &head, content_type, BODY_STREAM);
    bool sent = put(x, &head);
    if (strcmp(x->method, "HEAD") != 0) return sent;
    if (sent) x->private->stream = STREAM_ENDED;
    return false;
}

bool exchange_write(struct exchange *x, const void *bytes, size_t n) {
    buffer_auto chunk = BUFFER(n + 32);
    bool chunked = x->private->stream == STREAM_CHUNKED;
    if (atomic_load(&x->private->http->stopping)) return false;
    if (!n) return true; /* an empty chunk would be the last */
    if (chunked) buffer_format(&chunk, "%zx\r\n", n);
    buffer_bytes(&chunk, bytes, n);
    if (chunked) buffer_text(&chunk, "\r\n");
    return put(x, &chunk);
}

void exchange_end(struct exchange *x) {
    static char last[] = "0\r\n\r\n";
    bool chunked = x->private->stream == STREAM_CHUNKED;
    if (!chunked || put(x, &(struct buffer){.data = last, .length = strlen(last)})) x->private->stream = STREAM_ENDED;
}

/* civetweb (as of 1.16) closes what it thinks is the connection's descriptor once the request is answered. So the
 * connection gets another descriptor, and a socket that is connected to nobody takes the place of the first. */
static int descriptor_exchange(int fd) {
    int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3), nobody = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool done = moved >= 0 && nobody >= 0 && socket_lend(moved, true) && dup2(nobody, fd) == fd;
    if (nobody >= 0) close(nobody);
    return done ? moved : socket_give_back(moved);
}

int exchange_hand_over(struct exchange *x, const char *content_type) {
    buffer_auto head = BUFFER(HEAD_MAX);
    if (!strcmp(x->method, "HEAD")) {
        (void)!exchange_stream(x, content_type);
        return -1;
    }
    int fd = descriptor_exchange(exchange_socket(x));
    if (fd < 0) {
        exchange_problem(x, 503, "The stream cannot be kept open: no descriptor is left; try again later.");
        return -1;
    }
    http_head(x, &head, content_type, BODY_OPEN);
    x->private->stream = STREAM_ENDED;
    bool sent = !head.failed && send(fd, head.data, head.length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)head.length;
    return sent ? fd : socket_give_back(fd);
}
