#include "chassis/web/http_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* Small answers fit into one packet as they are. The window is as large as our pages; the memory, 100 kB, lives as long
 * as the call. */
enum { WORTH_BYTES = 1024, LEVEL = 4, WINDOW = 14, MEMORY = 6, GZIP = 16 };

/* Whether an Accept-Encoding header takes gzip: as itself, by its older name x-gzip, or else by "*"; with the weight 0
 * it is refused. */
static bool is_accepted(const char *header) {
    double gzip = -1, any = -1; /* −1: not named */
    for (const char *p = header; p && *p; p += *p == ',') {
        p += strspn(p, " \t");
        size_t n = strcspn(p, ","), name_n = strcspn(p, ",; \t");
        const char *q = memmem(p, n, "q=", 2);
        if (!q) q = memmem(p, n, "Q=", 2);
        double weight = q ? strtod(q + 2, NULL) : 1;
        bool named = (name_n == 4 && !strncasecmp(p, "gzip", 4)) || (name_n == 6 && !strncasecmp(p, "x-gzip", 6));
        if (named && weight > gzip) gzip = weight;
        if (name_n == 1 && *p == '*') any = weight;
        p += n;
    }
    return gzip < 0 ? any > 0 : gzip > 0;
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
    struct buffer accepted = BUFFER(body->ceiling);
    bool takes = exchange_header_list(x, "Accept-Encoding", &accepted) && is_accepted(accepted.data);
    buffer_free(&accepted);
    if (!takes) return;
    if (gzip(body, &small) && small.length < body->length) {
        exchange_set_header(x, "Content-Encoding", "gzip");
        buffer_free(body);
        *body = small;
    } else {
        buffer_free(&small);
    }
}
