#include "transfer.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

json_t *base64_json(const void *bytes, size_t n) {
    if (!bytes) return json_null();
    char *text = malloc(4 * ((n + 2) / 3) + 1);
    if (!text) return NULL;
    int length = EVP_EncodeBlock((unsigned char *)text, bytes, (int)n);
    json_t *json = json_stringn(text, (size_t)length);
    free(text);
    return json;
}

bool base64_read(const json_t *json, unsigned char **out, size_t *n) {
    size_t length = json_string_length(json), padding = 0;
    const char *text = json_string_value(json);
    *out = NULL;
    *n = 0;
    if (json_is_null(json)) return true;
    if (!text || length % 4 || length > INT32_MAX) return false;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') padding++;
    *out = malloc(length / 4 * 3 + 1);
    int decoded = *out ? EVP_DecodeBlock(*out, (const unsigned char *)text, (int)length) : -1;
    if (decoded < 0) {
        free(*out);
        *out = NULL;
        return false;
    }
    *n = (size_t)decoded - padding;
    return true;
}
