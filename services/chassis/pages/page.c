#include "chassis/pages/page.h"

#include "chassis/base/assets.h"
#include "chassis/base/hash.h"
#include "chassis/base/json_get.h"
#include "chassis/base/moment.h"
#include "chassis/fleet/peers.h"
#include "chassis/incoming/consumer.h"
#include "chassis/pages/status.h"
#include "chassis/store/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *page_query(struct exchange *x, const char *name) {
    const char *text = exchange_query(x, name);
    return text && *text ? text : NULL;
}

int64_t page_id(const char *text) {
    return strlen(text) <= 18 && !text[strspn(text, "0123456789")] ? strtoll(text, NULL, 10) : 0;
}

void page_etag(struct exchange *x, int64_t version) {
    char tag[32];
    snprintf(tag, sizeof tag, "\"%lld\"", (long long)version);
    exchange_set_header(x, "ETag", tag);
}

void page_add_notice(json_t *form, const char *notice, const char *existing) {
    json_add(form, "{s:b, s:s, s:s*}", "has_errors", 1, "notice", notice, "existing", existing);
}

/* False: the database could not be read, and that was answered. */
bool page_reader_ok(struct exchange *x, struct connection *reader) {
    if (store_state(reader) == OK) return true;
    exchange_busy(x, "The database could not be read: %s", store_error(reader));
    return false;
}

json_t *page_partitions(struct runtime *rt, int64_t *oldest_unhandled_ms) {
    *oldest_unhandled_ms = 0;
    return rt->consumer ? consumer_partitions(rt->consumer, oldest_unhandled_ms) : json_array();
}

bool page_moment(struct exchange *x, const char *name, int64_t *ms) {
    const char *text = exchange_query(x, name);
    if (!text || !*text || moment_read(text, ms)) return true; /* a field that is left empty asks for none */
    exchange_problem(
        x, 400,
        "%s \"%.60s\" is not a moment; write 2026-11-21T09:30:00Z, or 2026-11-21 for the end of that day (UTC).", name,
        text);
    return false;
}

/* --- Files that pages link to: scripts, styles, pictures. */

static const char *linked_type(const char *name) {
    static const char *const types[][2] = {
        {".js", "text/javascript; charset=utf-8"}, {".css", "text/css; charset=utf-8"}, {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (!strcmp(dot, types[i][0])) return types[i][1];
    return NULL;
}

/* FNV-1a: it only has to differ when the file does. */
static const char *linked_version(const struct asset *file, char out[17]) {
    snprintf(out, 17, "%016llx", (unsigned long long)hash_bytes(HASH_START, file->bytes, file->n));
    return out;
}

static json_t *linked; /* {"live_js": "/assets/live.js?v=…"}: made once, and never changed */

static void linked_add(const struct asset *files, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char version[17], key[64];
        /* The service's own takes the place of the chassis's. */
        if (!linked_type(files[i].name) || asset_find(files[i].name) != &files[i]) continue;
        snprintf(key, sizeof key, "%s", files[i].name);
        for (char *p = key; (p = strpbrk(p, ".-"));) *p = '_';
        json_object_set_new(
            linked, key, json_sprintf("/assets/%s?v=%s", files[i].name, linked_version(&files[i], version)));
    }
}

static void linked_collect(void) {
    linked = json_object();
    linked_add(own_assets, own_assets_n);
    linked_add(chassis_assets, chassis_assets_n);
}

static json_t *linked_urls(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, linked_collect);
    return json_deep_copy(linked);
}

void page_asset_get(struct exchange *x) {
    const char *name = exchange_parameter(x, "name"), *version = exchange_query(x, "v"), *type = linked_type(name);
    const struct asset *file = asset_find(name);
    char own[17];
    if (!file || !type) {
        exchange_problem(x, 404, "There is no file \"%.100s\" that pages link to.", name);
        return;
    }
    bool same = version && !strcmp(version, linked_version(file, own));
    exchange_set_header(x, "Cache-Control", same ? "public, max-age=31536000, immutable" : "no-cache");
    exchange_send(x, 200, type, file->bytes, file->n);
}

/* --- What every page shows */

/* A page that a service has of its own takes the place of the chassis's. */
static bool nav_has(const json_t *nav, const struct resource *r) {
    json_each(i, item, nav)
        if (!strcmp(json_get_text(item, "path"), r->path) || !strcmp(json_get_text(item, "label"), r->nav)) return true;
    return false;
}

static void nav_add(json_t *nav, const struct resource *table, const char *current) {
    for (const struct resource *r = table; r && (r->path || r->api_path); r++)
        if (r->nav && r->path && !nav_has(nav, r))
            json_array_append_new(
                nav,
                json_pack("{s:s, s:s, s:b}", "path", r->path, "label", r->nav, "current", !strcmp(r->path, current)));
}

void peers_get(struct exchange *x) {
    struct runtime *rt = x->context;
    peers_look(rt->peers);
    x->data = peers_json(rt->peers);
}

void status_decorate(struct exchange *x, json_t *data) {
    struct runtime *rt = x->context;
    const struct service *s = rt->core.service;
    const char *name = rt->core.settings->service;
    json_auto_t *known = peers_json(rt->peers);
    json_t *nav = json_array(), *services = json_object_get(known, "peers");
    peers_look(rt->peers);
    nav_add(nav, s->resources, x->path);
    nav_add(nav, rt->routes, x->path);
    json_each(i, one, services)
        json_object_set_new(one, "current", json_boolean(!strcmp(json_get_text(one, "name"), name)));
    json_add(
        data, "{s:o, s:o*, s:b, s:O, s:O, s:o, s:s, s:{s:s, s:s, s:s}}", "nav", nav, "page_path", json_string(x->path),
        "has_services", json_array_size(services) > 0, "services", services, "services_stale",
        json_object_get(known, "stale"), "assets", linked_urls(), "stream_url", "/api/stream?light=1", "service",
        "name", name, "title", s->title, "duty", s->duty);
    if (!json_object_get(data, "heading")) /* a problem, or a page that has none */
        json_object_set(data, "heading", json_object_get(data, json_object_get(data, "title") ? "title" : "service"));
}
