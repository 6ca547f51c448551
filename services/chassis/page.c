#include "chassis/page.h"

#include "chassis/assets.h"
#include "chassis/consumer.h"
#include "chassis/peers.h"
#include "chassis/status.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

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

static char style_url[64];

/* FNV-1a: it only has to differ when the file does. */
static void style_hash(void) {
    const struct asset *file = asset_find("style.css");
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; file && i < file->n; i++) hash = (hash ^ (unsigned char)file->bytes[i]) * 1099511628211u;
    snprintf(style_url, sizeof style_url, "/style.css?v=%016llx", (unsigned long long)hash);
}

static const char *style(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, style_hash);
    return style_url;
}

void page_style_get(struct exchange *x) {
    const struct asset *file = asset_find("style.css");
    const char *version = exchange_query(x, "v");
    if (version && !strcmp(version, strchr(style(), '=') + 1))
        exchange_set_header(x, "Cache-Control", "public, max-age=31536000, immutable");
    exchange_send(x, 200, "text/css; charset=utf-8", file->bytes, file->n);
}

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
        json_object_set_new(one, "current", json_boolean(!strcmp(name, rt->settings->service)));
    }
    json_object_set_new(data, "has_services", json_boolean(json_array_size(list)));
    json_object_set(data, "services", list);
    page_add_moment(known, "stale", "stale_text");
    json_object_set(data, "services_stale", json_object_get(known, "stale_text"));
    json_decref(known);
}

void status_decorate(struct exchange *x, json_t *data) {
    struct runtime *rt = x->context;
    json_t *nav = json_array();
    nav_add(nav, rt->service->resources, x->path);
    nav_add(nav, status_resources, x->path);
    json_object_set_new(data, "nav", nav);
    services_add(rt, data);
    json_object_set_new(data, "style", json_string(style()));
    json_object_set_new(
        data, "service",
        json_pack(
            "{s:s, s:s, s:s}", "name", rt->settings->service, "title", rt->service->title, "duty", rt->service->duty));
    if (!json_object_get(data, "heading")) /* a problem, or a page that has none */
        json_object_set(data, "heading", json_object_get(data, json_object_get(data, "title") ? "title" : "service"));
}
