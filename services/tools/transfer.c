#include "transfer.h"

#include "chassis/base/buffer.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *b) {
    free(b->at);
}

json_t *base64_json(const void *bytes, size_t n) {
    if (!bytes) return json_null();
    text_auto text = malloc(4 * ((n + 2) / 3) + 1);
    return text ? json_stringn(text, (size_t)EVP_EncodeBlock((unsigned char *)text, bytes, (int)n)) : NULL;
}

bool base64_read(const json_t *json, struct bytes *out) {
    size_t length = json_string_length(json), padding = 0;
    const char *text = json_string_value(json);
    *out = (struct bytes){0};
    if (json_is_null(json)) return true;
    if (!text || length % 4 || length > INT32_MAX) return false;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') padding++;
    out->at = malloc(length / 4 * 3 + 1);
    int decoded = out->at ? EVP_DecodeBlock(out->at, (const unsigned char *)text, (int)length) : -1;
    if (decoded >= 0) out->n = (size_t)decoded - padding;
    return decoded >= 0;
}
