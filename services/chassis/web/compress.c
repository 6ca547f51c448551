#include "chassis/web/http_private.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

/* Small answers fit into one packet as they are. The window is as large as our pages. The memory, 100 kB, lives as long
 * as the call. */
enum { WORTH_BYTES = 1024, LEVEL = 4, WINDOW = 14, MEMORY = 6, GZIP = 16 };

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

/* As itself, by its older name x-gzip, or else by "*". With the weight 0 it is refused. */
static bool is_accepted(const char *header) {
    double gzip_weight = fmax(weight_in(header, "gzip"), weight_in(header, "x-gzip"));
    return gzip_weight < 0 ? weight_in(header, "*") > 0 : gzip_weight > 0;
}

void compress_answer(struct exchange *x, const char *content_type, struct buffer *body) {
    buffer_auto small = BUFFER(body->ceiling), accepted = BUFFER(body->ceiling);
    bool text = !strncmp(content_type, "text/", 5) || strstr(content_type, "json") || strstr(content_type, "svg");
    if (body->failed || body->length < WORTH_BYTES || !text) return;
    exchange_set_header(x, "Vary", "Accept-Encoding");
    if (!exchange_header_list(x, "Accept-Encoding", &accepted) || !is_accepted(accepted.data)) return;
    if (!gzip(body, &small) || small.length >= body->length) return;
    exchange_set_header(x, "Content-Encoding", "gzip");
    buffer_free(body);
    *body = small;
    small = (struct buffer){0};
}
