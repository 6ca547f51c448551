#include "chassis/pages/page.h"

#include "chassis/base/assets.h"
#include "chassis/base/hash.h"
#include "chassis/base/moment.h"
#include "chassis/fleet/peers.h"
#include "chassis/incoming/consumer.h"
#include "chassis/pages/status.h"
#include "chassis/store/store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

const char *page_query(struct exchange *x, const char *name) {
    const char *text = exchange_query(x, name);
    return text && *text ? text : NULL;
}

void page_add_notice(json_t *form, const char *notice, const char *existing) {
    json_object_set_new(form, "has_errors", json_true());
    json_object_set_new(form, "notice", json_string(notice));
    if (existing) json_object_set_new(form, "existing", json_string(existing));
}

/* "2026-11-21 09:28:51.123" of the RFC 3339 text at `from`. */
void page_add_moment(json_t *object, const char *from, const char *name) {
    const char *rfc = json_string_value(json_object_get(object, from));
    char text[24] = "";
    if (!rfc) return;
    snprintf(text, sizeof text, "%s", rfc);
    if (text[0] && text[10]) text[10] = ' ';
    json_object_set_new(object, name, json_string(text));
}

void page_add_tone(json_t *object, const char *from) {
    static const char *const tones[][2] = {{"ok", "ok"},           {"up", "ok"},        {"handled", "ok"},
                                           {"accepted", "ok"},     {"waiting", "wait"}, {"declined", "wait"},
                                           {"intact", "ok"},       {"broken", "bad"},   {"failed", "bad"},
                                           {"quarantined", "bad"}, {"refused", "wait"}};
    const char *state = json_string_value(json_object_get(object, from));
    for (size_t i = 0; state && i < sizeof tones / sizeof *tones; i++)
        if (!strcmp(tones[i][0], state)) json_object_set_new(object, "tone", json_string(tones[i][1]));
}

/* Colour alone tells nothing to some. */
void page_add_shape(json_t *object) {
    static const char *const shapes[][2] = {{"ok", "●"}, {"wait", "▲"}, {"bad", "■"}};
    const char *tone = json_string_value(json_object_get(object, "tone"));
    for (size_t i = 0; tone && i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i][0], tone)) json_object_set_new(object, "shape", json_string(shapes[i][1]));
}

/* False: the database could not be read, and that was answered. */
bool page_reader_ok(struct exchange *x, struct connection *reader) {
    if (store_state(reader) == OK) return true;
    exchange_set_header(x, "Retry-After", "1");
    exchange_problem(x, 503, "The database could not be read: %s", store_error(reader));
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

enum { LINKED_MAX = 32 };
static struct linked {
    const struct asset *file;
    const char *type;
    char version[17], key[64]; /* as templates call it: live_js */
} linked[LINKED_MAX];
static size_t linked_n;

static const char *linked_type(const char *name) {
    static const char *const types[][2] = {
        {".js", "text/javascript; charset=utf-8"}, {".css", "text/css; charset=utf-8"}, {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (!strcmp(dot, types[i][0])) return types[i][1];
    return NULL;
}

/* FNV-1a: it only has to differ when the file does. */
static void linked_hash(struct linked *l) {
    uint64_t hash = hash_bytes(HASH_START, l->file->bytes, l->file->n);
    snprintf(l->version, sizeof l->version, "%016llx", (unsigned long long)hash);
}

static void linked_add(const struct asset *files, size_t n) {
    for (size_t i = 0; i < n && linked_n < LINKED_MAX; i++) {
        const char *type = linked_type(files[i].name);
        if (!type || asset_find(files[i].name) != &files[i]) continue; /* the service's own takes its place */
        struct linked *l = &linked[linked_n++];
        l->file = &files[i];
        l->type = type;
        linked_hash(l);
        snprintf(l->key, sizeof l->key, "%s", files[i].name);
        for (char *p = l->key; *p; p++)
            if (*p == '.' || *p == '-') *p = '_';
    }
}

static void linked_collect(void) {
    const struct asset *files;
    size_t n;
    assets_service(&files, &n);
    linked_add(files, n);
    linked_add(chassis_assets, chassis_assets_n);
}

static void linked_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, linked_collect);
}

/* {"live_js": "/assets/live.js?v=…"} */
static json_t *linked_urls(void) {
    json_t *urls = json_object();
    linked_once();
    for (const struct linked *l = linked; l < linked + linked_n; l++)
        json_object_set_new(urls, l->key, json_sprintf("/assets/%s?v=%s", l->file->name, l->version));
    return urls;
}

void page_asset_get(struct exchange *x) {
    const char *name = exchange_parameter(x, "name"), *version = exchange_query(x, "v");
    linked_once();
    for (const struct linked *l = linked; l < linked + linked_n; l++) {
        if (strcmp(l->file->name, name) != 0) continue;
        bool same = version && !strcmp(version, l->version);
        exchange_set_header(x, "Cache-Control", same ? "public, max-age=31536000, immutable" : "no-cache");
        exchange_send(x, 200, l->type, l->file->bytes, l->file->n);
        return;
    }
    exchange_problem(x, 404, "There is no file \"%.100s\" that pages link to.", name);
}

/* --- What every page shows */

static bool nav_has(const json_t *nav, const struct resource *r) {
    json_t *item;
    size_t i;
    json_array_foreach(nav, i, item) if (
        !strcmp(json_string_value(json_object_get(item, "path")), r->path) ||
        !strcmp(json_string_value(json_object_get(item, "label")), r->nav)) return true;
    return false;
}

/* A page that a service has of its own takes the place of the chassis's. */
static void nav_add(json_t *nav, const struct resource *table, const char *current) {
    for (const struct resource *r = table; r && (r->path || r->api_path); r++)
        if (r->nav && r->path && !nav_has(nav, r))
            json_array_append_new(
                nav,
                json_pack("{s:s, s:s, s:b}", "path", r->path, "label", r->nav, "current", !strcmp(r->path, current)));
}

/* What the head of each page shows of all services. */
static void services_add(struct runtime *rt, json_t *data) {
    json_t *known = peers_json(rt->peers), *one, *list = json_object_get(known, "peers");
    size_t i;
    peers_look(rt->peers);
    json_array_foreach(list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        page_add_shape(one);
        json_object_set_new(one, "current", json_boolean(!strcmp(name, rt->core.settings->service)));
    }
    json_object_set_new(data, "has_services", json_boolean(json_array_size(list)));
    json_object_set(data, "services", list);
    page_add_moment(known, "stale", "stale_text");
    json_object_set(data, "services_stale", json_object_get(known, "stale_text"));
    json_decref(known);
}

void peers_get(struct exchange *x) {
    struct runtime *rt = x->context;
    peers_look(rt->peers);
    x->data = peers_json(rt->peers);
}

void status_decorate(struct exchange *x, json_t *data) {
    struct runtime *rt = x->context;
    json_t *nav = json_array();
    nav_add(nav, rt->core.service->resources, x->path);
    nav_add(nav, rt->routes, x->path);
    json_object_set_new(data, "nav", nav);
    json_object_set_new(data, "page_path", json_string(x->path));
    services_add(rt, data);
    json_object_set_new(data, "assets", linked_urls());
    json_object_set_new(data, "stream_url", json_string("/api/stream?light=1"));
    json_object_set_new(
        data, "service",
        json_pack(
            "{s:s, s:s, s:s}", "name", rt->core.settings->service, "title", rt->core.service->title, "duty",
            rt->core.service->duty));
    if (!json_object_get(data, "heading")) /* a problem, or a page that has none */
        json_object_set(data, "heading", json_object_get(data, json_object_get(data, "title") ? "title" : "service"));
}
