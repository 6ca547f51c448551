#include "chassis/contracts/openapi.h"

#include "chassis/base/assets.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/pages/call.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 400, TABLES = 3 };

/* --- Fragments: files whose name ends with api.json */

static verdict fragments_add(json_t *document, const struct asset *files, size_t n, struct failure *why) {
    for (const struct asset *a = files; a < files + n; a++) {
        const char *ending = strstr(a->name, "api.json");
        json_error_t error;
        if (!ending || ending[strlen("api.json")]) continue;
        json_auto_t *fragment = json_loadb(a->bytes, a->n, JSON_REJECT_DUPLICATES, &error);
        if (!fragment) return fail(why, REJECT, "%s, line %d: %s", a->name, error.line, error.text);
        json_array_extend(json_object_get(document, "tags"), json_object_get(fragment, "tags")); /* the list grows */
        json_object_del(fragment, "tags");
        if (json_object_update_recursive(document, fragment)) return fail(why, RETRY, "out of memory");
    }
    return OK;
}

/* --- The call: what its handler's projection reads */

/* A path such as "address.city" leads through objects, made on the way. */
static void field_add(json_t *schema, const struct field *f) {
    static const char *const schemas[] = {
        [TYPE_TEXT] = "CallText",    [TYPE_ID] = "Id",           [TYPE_INT] = "CallInteger",
        [TYPE_BOOL] = "CallBoolean", [TYPE_MONEY] = "CallMoney", [TYPE_MOMENT] = "CallInteger"};
    size_t n;
    for (const char *name = f->path; schema; name += n + 1) {
        json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
        n = strcspn(name, ".");
        json_t *member = json_object_getn(properties, name, n);
        if (!f->fallback && !member) json_array_append_new(required, json_stringn(name, n));
        if (!name[n])
            member = json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", schemas[f->type]));
        else if (!member)
            member = json_pack("{s:s, s:[], s:{}}", "type", "object", "required", "properties");
        else
            json_incref(member);
        json_object_setn_new(properties, name, n, member);
        schema = name[n] ? member : NULL;
    }
}

static void call_add(json_t *document, const struct service *s) {
    json_t *operation = json_object_get(document, "x-call"), *paths = json_object_get(document, "paths");
    json_t *schema = json_object_get(json_object_get(json_object_get(document, "components"), "schemas"), "Call");
    if (call_resource(s).post) {
        for (const struct handler *h = s->handlers; h->type; h++)
            for (size_t i = 0; !strcmp(h->type, s->call.type) && i < h->fields_n; i++) field_add(schema, &h->fields[i]);
        json_object_set_new(paths, s->call.api_path, json_pack("{s:O}", "post", operation));
    }
    json_object_del(document, "x-call");
}

/* --- What every operation may answer */

static void operations_complete(json_t *document) {
    json_t *answers = json_object_get(document, "x-answers"), *key = json_object_get(document, "x-post");
    json_members(path, json_object_get(document, "paths")) {
        const char *kind = strncmp(path.name, "/api/", strlen("/api/")) != 0 ? "page" : "api";
        json_members(method, path.value) {
            json_t *operation = method.value, *responses = json_object_get(operation, "responses");
            if (!strcmp(method.name, "post")) {
                if (!json_object_get(operation, "parameters"))
                    json_object_set_new(operation, "parameters", json_array());
                json_array_append(json_object_get(operation, "parameters"), key);
                json_object_update_missing(responses, json_object_get(answers, "post"));
            }
            json_object_update_missing(responses, json_object_get(answers, kind));
        }
    }
    json_object_del(document, "x-answers");
    json_object_del(document, "x-post");
}

/* --- Components: those alone that something refers to */

static void components_prune(json_t *document) {
    for (bool pruned = true; pruned;) {
        char ref[PATH_SIZE];
        text_auto text = json_dumps(document, 0);
        const char *name;
        json_t *value;
        void *next;
        pruned = false;
        json_members(kind, json_object_get(document, "components")) {
            json_object_foreach_safe(kind.value, next, name, value) {
                snprintf(ref, sizeof ref, "\"#/components/%s/%s\"", kind.name, name);
                if (text && !strstr(text, ref)) pruned = !json_object_del(kind.value, name);
            }
        }
    }
}

/* --- Held to the router's tables */

/* Where the router finds it among what is described. "": it is not. */
static void resource_path(const struct resource *r, char out[PATH_SIZE]) {
    bool under_api = !r->api_path || *r->api_path, plain = r->path && !r->page && !r->post;
    *out = '\0';
    if (under_api)
        snprintf(out, PATH_SIZE, "%s%s", r->api_path ? "" : "/api", r->api_path ? r->api_path : r->path);
    else if (plain)
        snprintf(out, PATH_SIZE, "%s", r->path);
}

/* The query parameters that an operation describes, by name. The caller's. */
static json_t *query_of(const json_t *document, const json_t *operation) {
    json_t *found = json_object(), *shared = json_object_get(json_object_get(document, "components"), "parameters");
    json_each(i, one, json_object_get(operation, "parameters")) {
        const char *ref = json_string_value(json_object_get(one, "$ref"));
        json_t *parameter = ref ? json_object_get(shared, strrchr(ref, '/') + 1) : one;
        if (!strcmp(json_get_text(parameter, "in"), "query"))
            json_object_set(found, json_get_text(parameter, "name"), parameter);
    }
    return found;
}

/* method: "get". taken: "limit before", as the resource has it. What was met is taken out of item. */
static verdict method_check(
    const json_t *document, json_t *item, const char *method, const char *path, const char *taken,
    struct failure *why) {
    const json_t *found = json_object_get(item, method);
    if (!found) return fail(why, REJECT, "%s %s is not described; describe it in api.json", method, path);
    json_auto_t *described = query_of(document, found);
    size_t n;
    if (!described) return fail(why, RETRY, "out of memory");
    for (const char *word; item_next(&taken, ' ', &word, &n); json_object_deln(described, word, n))
        if (!json_object_getn(described, word, n))
            return fail(
                why, REJECT,
                "%s %s takes the query parameter \"%.*s\", which is not described; describe it in api.json", method,
                path, (int)n, word);
    const char *further = json_object_iter_key(json_object_iter(described));
    if (further)
        return fail(
            why, REJECT,
            "%s %s does not take the query parameter \"%s\", which is described; take it out of api.json, or add it to "
            "the resource's query",
            method, path, further);
    return json_object_del(item, method) ? fail(why, RETRY, "out of memory") : OK;
}

/* left: what is described and was not met yet. */
static verdict table_check(const json_t *document, json_t *left, const struct resource *table, struct failure *why) {
    verdict v = OK;
    char path[PATH_SIZE];
    for (const struct resource *r = table; v == OK && r && (r->path || r->api_path); r++) {
        resource_path(r, path);
        json_t *item = json_object_get(left, path);
        if (*path && r->get) v = method_check(document, item, "get", path, r->query, why);
        if (*path && r->post && v == OK) v = method_check(document, item, "post", path, r->post_query, why);
    }
    return v;
}

static verdict
resources_check(const json_t *document, const struct service *s, const struct resource *chassis, struct failure *why) {
    const struct resource call[] = {call_resource(s), {0}}, *tables[TABLES] = {s->resources, call, chassis};
    json_auto_t *left = json_deep_copy(json_object_get(document, "paths"));
    verdict v = left ? OK : fail(why, RETRY, "out of memory");
    for (size_t i = 0; v == OK && i < TABLES; i++) v = table_check(document, left, tables[i], why);
    json_members(path, left) {
        if (v == OK && json_object_size(path.value))
            v = fail(
                why, REJECT, "%s %s is described, but there is no such resource; take it out of api.json",
                json_object_iter_key(json_object_iter(path.value)), path.name);
    }
    return v;
}

/* --- All of it */

verdict openapi_json(const struct service *service, const struct resource *chassis, json_t **out, struct failure *why) {
    json_auto_t *document = json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:[], s:[], s:{}, s:{s:{}}}", "openapi", "3.1.1", "info", "title", service->title,
        "summary", service->duty, "version", CONTRACTS_VERSION, "servers", "tags", "paths", "components", "schemas");
    verdict v =
        document ? fragments_add(document, chassis_assets, chassis_assets_n, why) : fail(why, RETRY, "out of memory");
    if (v != OK || (v = fragments_add(document, own_assets, own_assets_n, why)) != OK) return v;
    call_add(document, service);
    operations_complete(document);
    components_prune(document);
    v = resources_check(document, service, chassis, why);
    if (v == OK) *out = json_incref(document);
    return v;
}
