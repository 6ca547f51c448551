/* peer: the web server of http.c with the fuzzer in civetweb's place: it hands on a request's parts as civetweb would,
 * and keeps what is answered. What must hold for every answer is checked here: one answer, its length right, no header
 * that was put into it from outside, the security headers there, and no failure of the server's own. */
#pragma once

#include "chassis/web/http.h"

#include <stdint.h>

/* text: METHOD URI HTTP/1.1\nName: value\n…\n\nbody. tables as http_options has them; the same ones with each call. */
void peer_ask(const struct resource *table, void *context, const uint8_t *text, size_t n);
