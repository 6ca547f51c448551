#include "chassis/base/authority.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-._"

/* Between the brackets. */
static bool is_ipv6(const char *text, size_t n) {
    char address[INET6_ADDRSTRLEN];
    struct in6_addr unused;
    if (n < 2 || n >= sizeof address) return false;
    snprintf(address, sizeof address, "%.*s", (int)n, text);
    return inet_pton(AF_INET6, address, &unused) == 1;
}

/* How many bytes of the text are the host. 0: it begins with none. */
static size_t host_length(const char *text, size_t n) {
    const char *end = n && *text == '[' ? memchr(text, ']', n) : NULL;
    if (end) return is_ipv6(text + 1, (size_t)(end - text) - 1) ? (size_t)(end - text) + 1 : 0;
    size_t i = 0;
    while (i < n && text[i] && strchr(NAME_CHARACTERS, tolower((unsigned char)text[i]))) i++;
    return i && text[0] != '.' ? i : 0;
}

/* What follows the host: nothing, or ":8000". −1: it is something else. */
static int port_read(const char *text, size_t n) {
    if (!n) return 0;
    if (*text != ':' || n < 2 || n > 6 || strspn(text + 1, "0123456789") != n - 1) return -1;
    int port = atoi(text + 1);
    return port >= 1 && port <= 65535 ? port : -1;
}

bool authority_read(const char *text, size_t n, struct authority *out) {
    size_t host_n = host_length(text, n);
    int port = port_read(text + host_n, n - host_n);
    if (!host_n || host_n >= sizeof out->host || port < 0) return false;
    for (size_t i = 0; i < host_n; i++) out->host[i] = (char)tolower((unsigned char)text[i]);
    if (out->host[host_n - 1] == '.') host_n--; /* the name from the root is the same name */
    out->host[host_n] = '\0';
    out->port = port;
    return host_n && !strstr(out->host, "..");
}

bool site_read(const char *url, struct authority *out) {
    bool http = !strncmp(url, "http://", 7), https = !strncmp(url, "https://", 8);
    const char *text = url + (https ? 8 : 7);
    if (!http && !https) return false;
    size_t n = strcspn(text, "/");
    if (text[n] && strcmp(text + n, "/") != 0) return false;
    if (!authority_read(text, n, out)) return false;
    if (!out->port) out->port = https ? 443 : 80;
    return true;
}

static bool is_usual(int port) {
    return port == 80 || port == 443;
}

bool authority_same(const struct authority *a, const struct authority *b) {
    if (strcmp(a->host, b->host) != 0) return false;
    return a->port == b->port || (!a->port && is_usual(b->port)) || (!b->port && is_usual(a->port));
}

bool authority_is_loopback(const struct authority *a) {
    struct in_addr address;
    if (inet_pton(AF_INET, a->host, &address) == 1) return ntohl(address.s_addr) >> 24 == 127;
    return !strcmp(a->host, "localhost") || !strcmp(a->host, "[::1]");
}
