#include "chassis/exchange.h"

#include <civetweb.h>
#include <string.h>

enum { HEAD_MAX = 64 << 10 };

static bool put(struct exchange *x, struct buffer *bytes) {
    struct exchange_private *p = x->private;
    crowd_move(p->crowd, &p->visit, VISIT_ANSWERS);
    bool sent = !bytes->failed && mg_write(p->connection, bytes->data, bytes->length) == (int)bytes->length;
    crowd_move(p->crowd, &p->visit, VISIT_WORKS);
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
