#include "chassis/exchange.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* Small answers fit into one packet as they are. The window is as large as our pages; the memory, 100 kB, lives as long
 * as the call. */
enum { WORTH_BYTES = 1024, LEVEL = 4, WINDOW = 14, MEMORY = 6, GZIP = 16 };

/* "gzip" or "*" in an Accept-Encoding header, unless with the weight 0. */
static bool is_accepted(const char *header) {
    for (const char *p = header; p && *p; p += *p == ',') {
        p += strspn(p, " \t");
        size_t n = strcspn(p, ","), name_n = strcspn(p, ",; \t");
        const char *q = memmem(p, n, "q=", 2);
        bool named = (name_n == 4 && !strncasecmp(p, "gzip", 4)) || (name_n == 1 && *p == '*');
        if (named && (!q || strtod(q + 2, NULL) > 0)) return true;
        p += n;
    }
    return false;
}

static bool gzip(const struct buffer *in, struct buffer *out) {
    z_stream z = {.next_in = (Bytef *)in->data, .avail_in = (uInt)in->length};
    char piece[4096];
    int code;
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, WINDOW + GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK) return false;
    do {
        z.next_out = (Bytef *)piece;
        z.avail_out = sizeof piece;
        code = deflate(&z, Z_FINISH);
        buffer_bytes(out, piece, sizeof piece - z.avail_out);
    } while (code == Z_OK);
    deflateEnd(&z);
    return code == Z_STREAM_END && !out->failed;
}

void compress_answer(struct exchange *x, const char *content_type, struct buffer *body) {
    struct buffer small = BUFFER(body->ceiling);
    bool text = !strncmp(content_type, "text/", 5) || strstr(content_type, "json") || strstr(content_type, "svg");
    if (body->failed || body->length < WORTH_BYTES || !text) return;
    exchange_set_header(x, "Vary", "Accept-Encoding");
    if (!is_accepted(exchange_header(x, "Accept-Encoding"))) return;
    if (gzip(body, &small) && small.length < body->length) {
        exchange_set_header(x, "Content-Encoding", "gzip");
        buffer_free(body);
        *body = small;
    } else {
        buffer_free(&small);
    }
}
