#include "chassis/base/http_request.h"

static size_t answer_write(char *bytes, size_t size, size_t n, void *answer) {
    buffer_bytes(answer, bytes, size * n);
    return ((struct buffer *)answer)->failed ? 0 : size * n; /* less than all ends the request */
}

bool http_request_set(
    CURL *easy, const char *url, int64_t timeout_ms, struct curl_slist *headers, struct buffer *answer) {
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, answer_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* the environment's must not get between us */
    return !curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") && !curl_easy_setopt(easy, CURLOPT_URL, url);
}
