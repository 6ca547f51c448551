#include "chassis/contracts/contracts.h"

#include "chassis/base/assets.h"
#include "chassis/base/json_get.h"
#include "chassis/contracts/asyncapi.h"
#include "chassis/contracts/openapi.h"
#include "chassis/fleet/peers.h"
#include "chassis/pages/runtime.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 1024, CONTRACT_MAX = 8 << 20 };

static void found(struct exchange *x, const char *location) {
    exchange_set_header(x, "Location", location);
    exchange_send(x, 302, "text/plain; charset=utf-8", "", 0);
}

/* /openapi.json or /asyncapi.json */
void contracts_found_get(struct exchange *x) {
    const struct runtime *rt = x->context;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/docs/api/%s.%s", rt->core.settings->service, x->path + 1);
    found(x, path);
}

/* --- The documents */

static verdict contract_write(
    const struct service *service, const char *name, const struct resource *chassis, bool is_asyncapi,
    struct buffer *out, struct failure *why) {
    json_auto_t *document = NULL;
    verdict v =
        is_asyncapi ? asyncapi_json(service, name, &document, why) : openapi_json(service, chassis, &document, why);
    text_auto text = v == OK ? json_dumps(document, JSON_INDENT(2)) : NULL;
    if (text) buffer_format(out, "%s\n", text);
    return v != OK || out->length ? v : fail(why, RETRY, "out of memory");
}

void contracts_get(struct exchange *x) {
    const struct runtime *rt = x->context;
    const char *file = exchange_parameter(x, "file"), *name = rt->core.settings->service;
    const char *ending = !strncmp(file, name, strlen(name)) ? file + strlen(name) : "";
    bool is_asyncapi = !strcmp(ending, ".asyncapi.json");
    struct failure why;
    buffer_auto text = BUFFER(CONTRACT_MAX);
    if (!is_asyncapi && strcmp(ending, ".openapi.json") != 0)
        exchange_problem(
            x, 404, "There is no file \"%.100s\" here; there are %s.asyncapi.json and %s.openapi.json.", file, name,
            name);
    else if (contract_write(rt->core.service, name, rt->routes, is_asyncapi, &text, &why) == OK)
        exchange_send(x, 200, "application/json", text.data, text.length);
    else
        exchange_problem(x, 503, "There is no memory for \"%s\" now; try again.", file);
}

int contracts_main(
    const struct service *service, const char *name, const struct resource *chassis, const char *contract) {
    struct failure why = {.text = "it cannot be written"};
    bool is_asyncapi = !strcmp(contract, "asyncapi");
    buffer_auto text = BUFFER(CONTRACT_MAX);
    if (contract_write(service, name, chassis, is_asyncapi, &text, &why) == OK && fputs(text.data, stdout) >= 0 &&
        !fflush(stdout))
        return 0;
    fprintf(stderr, "%s: could not write its %s document: %s\n", name, is_asyncapi ? "AsyncAPI" : "OpenAPI", why.text);
    return 1;
}

/* --- Schemas */

/* Where that service is, as far as the list of all is known. */
static bool peer_url(struct runtime *rt, const char *name, char out[PATH_SIZE]) {
    json_auto_t *known = peers_json(rt->peers);
    *out = '\0';
    peers_look(rt->peers);
    json_each(i, one, json_object_get(known, "peers"))
        if (!strcmp(json_get_text(one, "name"), name)) snprintf(out, PATH_SIZE, "%s", json_get_text(one, "url"));
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
