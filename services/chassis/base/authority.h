/* authority: a host and its port as HTTP writes them, "localhost:8000", "192.0.2.1", "[2001:db8::1]:443". And a site,
 * "https://returns.example", which is all that an address of a service may be: no user, no path, no query. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { AUTHORITY_HOST = 256 };
struct authority {
    char host[AUTHORITY_HOST]; /* lower case, without the dot at its end. IPv6 in brackets */
    int port;                  /* 0: none was named */
};

/* False: the n bytes are no host, or no host and port. */
bool authority_read(const char *text, size_t n, struct authority *out);

/* "http://host:port" or "https://host:port", with or without one slash at its end. The port is the scheme's where none
 * is named. False: it is anything else. */
bool site_read(const char *url, struct authority *out);

/* The same host and port. Who names no port means 80 or 443. */
bool authority_same(const struct authority *a, const struct authority *b);

bool authority_is_loopback(const struct authority *a); /* localhost, 127.0.0.0/8, [::1] */
