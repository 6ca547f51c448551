#include "chassis/base/authority.h"
#include "chassis/base/input.h"
#include "chassis/web/http_private.h"
#include "chassis/web/sockets.h"

#include <string.h>

/* --- By which names the service is asked: the public URL's, those listened on, and those of the setting */

static bool is_public(const struct http_options *o, const struct authority *asked) {
    struct authority public, named = *asked;
    if (!o->public_url || !site_read(o->public_url, &public)) return false;
    if (authority_is_loopback(&public) && authority_is_loopback(asked)) /* localhost and 127.0.0.1 are one */
        memcpy(named.host, public.host, sizeof named.host);
    return authority_same(&public, &named);
}

static bool is_listed(const struct http_options *o, const struct authority *asked) {
    struct authority one;
    const char *list = o->allowed_hosts;
    size_t n;
    for (const char *item; item_next(&list, ',', &item, &n);)
        if (authority_read(item, n, &one) && authority_same(&one, asked)) return true;
    return false;
}

/* What is listened on. Of 0.0.0.0, the address that this connection came to. */
static bool is_listened_on(const struct exchange *x, const struct authority *asked) {
    const char *host = x->private->http->options.host;
    bool everywhere = !strcmp(host, "0.0.0.0"), loopback = everywhere || !strncmp(host, "127.", 4);
    int port = x->private->http->port;
    struct authority own = *asked;
    own.port = port;
    if (!authority_same(&own, asked)) return false; /* another port */
    if (loopback && authority_is_loopback(asked)) return true;
    if (!everywhere) return !strcmp(host, asked->host);
    uint64_t number = socket_number(asked->host, port);
    return number && number == socket_local(exchange_socket(x));
}

bool host_allowed(struct exchange *x, bool any) {
    const char *host = exchange_header(x, "Host");
    const struct http_options *o = &x->private->http->options;
    struct authority asked;
    int n = exchange_header_count(x, "Host");
    if (n != 1)
        exchange_problem(x, 400, "The request has %s Host header; send one.", n ? "more than one" : "no");
    else if (!authority_read(host, strlen(host), &asked))
        exchange_problem(x, 400, "Host \"%.200s\" is not a host, or a host and a port.", host);
    else if (!any && !is_public(o, &asked) && !is_listened_on(x, &asked) && !is_listed(o, &asked))
        exchange_problem(
            x, 421,
            "This service is not asked as \"%.200s\", but as its public URL says, %.200s. To have it answer to other "
            "names, too, start it with --allowed-hosts (RETURNS_ALLOWED_HOSTS).",
            host, o->public_url ? o->public_url : "or at the address that it listens on");
    return !exchange_refused(x);
}

/* --- Where a POST comes from. Browsers tell. Other clients send neither header, and no web page can make them. */

static bool is_own_origin(struct exchange *x, const char *origin) {
    const char *host = exchange_header(x, "Host");
    struct authority from, asked, public;
    if (!site_read(origin, &from) || !authority_read(host, strlen(host), &asked)) return false;
    if (!asked.port) asked.port = strncmp(origin, "https:", 6) ? 80 : 443;
    if (from.port == asked.port && !strcmp(from.host, asked.host)) return true;
    const char *public_url =
        x->private->http->options.public_url; /* a proxy may have put another Host into the request */
    return public_url && site_read(public_url, &public) && from.port == public.port && !strcmp(from.host, public.host);
}

bool origin_allowed(struct exchange *x) {
    const char *site = exchange_header(x, "Sec-Fetch-Site"), *origin = exchange_header(x, "Origin");
    bool foreign = site ? strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0 : false;
    if (!site && origin) foreign = !is_own_origin(x, origin);
    if (foreign)
        exchange_problem(x, 403, "The request came from a page of another site; open the form here and send it again.");
    return !foreign;
}
