#include "chassis/contracts/contracts.h"

#include "chassis/base/assets.h"
#include "chassis/base/json_get.h"
#include "chassis/contracts/asyncapi.h"
#include "chassis/contracts/openapi.h"
#include "chassis/fleet/peers.h"
#include "chassis/pages/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 1024 };

static void found(struct exchange *x, const char *location) {
    exchange_set_header(x, "Location", location);
    exchange_send(x, 302, "text/plain; charset=utf-8", "", 0);
}

static void contract_found(struct exchange *x, const char *ending) {
    const struct runtime *rt = x->context;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/docs/api/%s.%s", rt->core.settings->service, ending);
    found(x, path);
}

void contracts_asyncapi_get(struct exchange *x) {
    contract_found(x, "asyncapi.json");
}

void contracts_openapi_get(struct exchange *x) {
    contract_found(x, "openapi.json");
}

void contracts_get(struct exchange *x) {
    const struct runtime *rt = x->context;
    const char *file = exchange_parameter(x, "file"), *name = rt->core.settings->service;
    char asyncapi[PATH_SIZE], openapi[PATH_SIZE];
    snprintf(asyncapi, sizeof asyncapi, "%s.asyncapi.json", name);
    snprintf(openapi, sizeof openapi, "%s.openapi.json", name);
    bool is_asyncapi = !strcmp(file, asyncapi);
    if (!is_asyncapi && strcmp(file, openapi) != 0) {
        exchange_problem(x, 404, "There is no file \"%.100s\" here; there are %s and %s.", file, asyncapi, openapi);
        return;
    }
    char *text = is_asyncapi ? asyncapi_text(rt->core.service, name) : openapi_text(rt->core.service, name, rt->routes);
    if (text)
        exchange_send(x, 200, "application/json", text, strlen(text));
    else
        exchange_problem(x, 503, "There is no memory for \"%s\" now; try again.", file);
    free(text);
}

/* --- Schemas */

/* Where that service is, as far as the list of all is known. */
static bool peer_url(struct runtime *rt, const char *name, char out[PATH_SIZE]) {
    json_t *known = peers_json(rt->peers), *one;
    size_t i;
    *out = '\0';
    peers_look(rt->peers);
    json_array_foreach(json_object_get(known, "peers"), i, one) if (!strcmp(json_get_text(one, "name"), name))
        snprintf(out, PATH_SIZE, "%s", json_get_text(one, "url"));
    json_decref(known);
    return *out;
}

static bool is_schema(const char *file) {
    size_t n = strlen(file);
    return n > 5 && !strcmp(file + n - 5, ".avsc");
}

static const struct asset *own_schema(const char *service, const char *folder, const char *name, const char *file) {
    const struct asset *a = is_schema(file) ? asset_find(file) : NULL;
    bool chassis = a >= chassis_assets && a < chassis_assets + chassis_assets_n;
    if (!a || strcmp(service, chassis ? "chassis" : name) != 0) return NULL;
    bool snapshot = strstr(file, "Snapshot.avsc"); /* snapshots.h */
    return snapshot == (*folder != '\0') ? a : NULL;
}

void contracts_schema_get(struct exchange *x) {
    struct runtime *rt = x->context;
    const char *service = exchange_parameter(x, "service"), *file = exchange_parameter(x, "file");
    const char *folder = strstr(x->path, "/snapshots/") ? "snapshots/" : "", *name = rt->core.settings->service;
    const struct asset *own = own_schema(service, folder, name, file);
    char url[PATH_SIZE], path[3 * PATH_SIZE];
    if (own) {
        exchange_send(x, 200, "application/json", own->bytes, own->n);
    } else if (strcmp(service, name) != 0 && is_schema(file) && peer_url(rt, service, url)) {
        snprintf(path, sizeof path, "%s/schemas/%s/%s%s", url, service, folder, file);
        found(x, path);
    } else {
        exchange_problem(
            x, 404, "There is no schema \"%.100s\" of %.100s here. %s has those of what it publishes; see /docs/api.",
            file, service, name);
    }
}
