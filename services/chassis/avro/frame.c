#include "chassis/avro/codec.h"

int64_t frame_number(const void *bytes, size_t n) {
    const unsigned char *b = bytes;
    if (n < FRAME_SIZE || b[0]) return -1;
    return (int64_t)b[1] << 24 | b[2] << 16 | b[3] << 8 | b[4];
}

verdict
frame_read(const void *bytes, size_t n, int32_t *schema_id, const void **body, size_t *body_n, struct failure *why) {
    const unsigned char *b = bytes;
    if (!b) return fail(why, REJECT, "the record has no value (a tombstone); an event needs one");
    if (n == 0)
        return fail(why, REJECT, "the record's value is empty; an event begins with a 0x00 byte and a schema id");
    if (n > EVENT_BYTES_MAX)
        return fail(why, REJECT, "the record's value has %zu bytes; at most %d are read", n, (int)EVENT_BYTES_MAX);
    if (b[0] == 1)
        return fail(
            why, REJECT,
            "the record's value begins with 0x01, a schema GUID; only schema ids (0x00 and 4 bytes) are read");
    if (b[0] != 0)
        return fail(why, REJECT, "the record's value begins with 0x%02x, not with 0x00 and a schema id", b[0]);
    if (n < FRAME_SIZE)
        return fail(why, REJECT, "the record's value has %zu bytes, too few for 0x00 and a schema id", n);
    int64_t id = frame_number(bytes, n);
    if (id > INT32_MAX)
        return fail(why, REJECT, "the record names the schema id %lld, which no registry gives", (long long)id);
    *schema_id = (int32_t)id;
    *body = b + FRAME_SIZE;
    *body_n = n - FRAME_SIZE;
    return OK;
}

void frame_write(struct buffer *out, int32_t schema_id) {
    uint32_t id = (uint32_t)schema_id;
    const unsigned char frame[FRAME_SIZE] = {
        0, (unsigned char)(id >> 24), (unsigned char)(id >> 16), (unsigned char)(id >> 8), (unsigned char)id};
    buffer_bytes(out, frame, sizeof frame);
}

bool frame_schema(const void *bytes, size_t n, int32_t *schema_id) {
    const void *body;
    return frame_read(bytes, n, schema_id, &body, &n, NULL) == OK;
}
