/* http_request: what every HTTP request that this process sends has in common. Whoever sends it owns the handle and
 * adds what is particular to it. One thread a handle. */
#pragma once

#include "chassis/base/buffer.h"

#include <curl/curl.h>
#include <stdbool.h>

/* For a fresh handle. headers and answer must live until the request is over. An answer that does not fit into its
 * buffer ends it. timeout_ms: for all of it. False: no memory. */
bool http_request_set(
    CURL *easy, const char *url, int64_t timeout_ms, struct curl_slist *headers, struct buffer *answer);
