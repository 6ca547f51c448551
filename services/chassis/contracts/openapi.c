#include "chassis/contracts/openapi.h"

#include "chassis/base/assets.h"
#include "chassis/pages/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDENT = 2, PATH_SIZE = 400, TABLES = 3 };

static const char api[] = "/api/";

static bool is_api(const char *path) {
    return !strncmp(path, api, strlen(api));
}

/* --- Fragments */

static bool is_fragment(const struct asset *a) {
    static const char ending[] = "api.json";
    size_t n = strlen(a->name);
    return n >= strlen(ending) && !strcmp(a->name + n - strlen(ending), ending);
}

/* Tags are a list, which grows. */
static verdict fragment_add(json_t *document, const struct asset *a, struct failure *why) {
    json_error_t error;
    json_t *fragment = json_loadb(a->bytes, a->n, JSON_REJECT_DUPLICATES, &error);
    if (!fragment) return fail(why, REJECT, "%s, line %d: %s", a->name, error.line, error.text);
    json_array_extend(json_object_get(document, "tags"), json_object_get(fragment, "tags"));
    json_object_del(fragment, "tags");
    bool added = !json_object_update_recursive(document, fragment);
    json_decref(fragment);
    return added ? OK : fail(why, RETRY, "out of memory");
}

static verdict fragments_add(json_t *document, const struct asset *files, size_t n, struct failure *why) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < n; i++)
        if (is_fragment(&files[i])) v = fragment_add(document, &files[i], why);
    return v;
}

/* --- The call: what its handler's projection reads */

static json_t *field_json(const struct field *f) {
    static const char *const schemas[] = {
        [TYPE_TEXT] = "CallText",    [TYPE_ID] = "Id",           [TYPE_INT] = "CallInteger",
        [TYPE_BOOL] = "CallBoolean", [TYPE_MONEY] = "CallMoney", [TYPE_MOMENT] = "CallInteger"};
    return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", schemas[f->type]));
}

/* A path such as "address.city" leads through objects, made on the way. */
static void field_add(json_t *schema, const struct field *f) {
    const char *name = f->path;
    for (size_t n;; name += n + 1) {
        json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
        n = strcspn(name, ".");
        json_t *member = json_object_getn(properties, name, n);
        if (!f->fallback && !member) json_array_append_new(required, json_stringn(name, n));
        if (!name[n]) {
            json_object_setn_new(properties, name, n, field_json(f));
            return;
        }
        if (!member) {
            member = json_pack("{s:s, s:[], s:{}}", "type", "object", "required", "properties");
            json_object_setn_new(properties, name, n, member);
        }
        schema = member;
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

static void operation_complete(const json_t *document, const char *path, const char *method, json_t *operation) {
    bool post = !strcmp(method, "post");
    json_t *answers = json_object_get(document, "x-answers"), *responses = json_object_get(operation, "responses");
    if (post) {
        json_t *parameters = json_object_get(operation, "parameters");
        if (!parameters) json_object_set_new(operation, "parameters", parameters = json_array());
        json_array_append(parameters, json_object_get(document, "x-post"));
        json_object_update_missing(responses, json_object_get(answers, "post"));
    }
    json_object_update_missing(responses, json_object_get(answers, is_api(path) ? "api" : "page"));
}

static void operations_complete(json_t *document) {
    const char *path, *method;
    json_t *item, *operation;
    json_object_foreach(json_object_get(document, "paths"), path, item) json_object_foreach(item, method, operation)
        operation_complete(document, path, method, operation);
    json_object_del(document, "x-answers");
    json_object_del(document, "x-post");
}

/* --- Components: those alone that something refers to */

static void refs_mark(const json_t *document, const json_t *within, json_t *used);

/* "#/components/parameters/limit" */
static const json_t *ref_find(const json_t *document, const char *ref) {
    const json_t *at = document;
    for (const char *p = ref + 1; *p == '/'; p += strcspn(p, "/")) {
        p++;
        at = json_object_getn(at, p, strcspn(p, "/"));
    }
    return at;
}

static void ref_mark(const json_t *document, const char *ref, json_t *used) {
    if (json_object_get(used, ref)) return;
    json_object_set_new(used, ref, json_true());
    refs_mark(document, ref_find(document, ref), used);
}

static void refs_mark(const json_t *document, const json_t *within, json_t *used) {
    const char *name, *ref = json_string_value(json_object_get(within, "$ref"));
    json_t *value;
    size_t i;
    if (ref && *ref == '#') ref_mark(document, ref, used);
    json_object_foreach((json_t *)within, name, value) refs_mark(document, value, used);
    json_array_foreach(within, i, value) refs_mark(document, value, used);
}

static void components_prune(json_t *document) {
    json_t *used = json_object(), *components = json_object_get(document, "components"), *all, *value;
    const char *kind, *name;
    void *next;
    refs_mark(document, json_object_get(document, "paths"), used);
    json_object_foreach(components, kind, all) json_object_foreach_safe(all, next, name, value) {
        char ref[PATH_SIZE];
        snprintf(ref, sizeof ref, "#/components/%s/%s", kind, name);
        if (!json_object_get(used, ref)) json_object_del(all, name);
    }
    json_decref(used);
}

/* --- Held to the router's tables */

/* Where the router finds it among what is described; "": it is not. */
static void resource_path(const struct resource *r, char out[PATH_SIZE]) {
    bool under_api = !r->api_path || *r->api_path, plain = r->path && !r->page && !r->post;
    *out = '\0';
    if (under_api)
        snprintf(out, PATH_SIZE, "%s%s", r->api_path ? "" : "/api", r->api_path ? r->api_path : r->path);
    else if (plain)
        snprintf(out, PATH_SIZE, "%s", r->path);
}

/* Each query parameter that an operation describes: {name: its description}. The caller's. */
static json_t *query_of(const json_t *document, const json_t *operation) {
    json_t *found = json_object(), *one;
    size_t i;
    json_array_foreach(json_object_get(operation, "parameters"), i, one) {
        const char *ref = json_string_value(json_object_get(one, "$ref"));
        const json_t *parameter = ref ? ref_find(document, ref) : one;
        const char *in = json_string_value(json_object_get(parameter, "in"));
        if (in && !strcmp(in, "query"))
            json_object_set(found, json_string_value(json_object_get(parameter, "name")), (json_t *)parameter);
    }
    return found;
}

/* taken: "limit before", as the resource has it. */
static verdict query_check(json_t *described, const char *taken, const char *operation, struct failure *why) {
    const char *name;
    json_t *one;
    for (const char *p = taken ? taken : ""; *p; p += strcspn(p, " "), p += strspn(p, " "))
        if (!json_object_getn(described, p, strcspn(p, " ")))
            return fail(
                why, REJECT, "%s takes the query parameter \"%.*s\", which is not described; describe it in api.json",
                operation, (int)strcspn(p, " "), p);
    json_object_foreach(described, name, one) if (!query_takes(taken, name)) return fail(
        why, REJECT,
        "%s does not take the query parameter \"%s\", which is described; take it out of api.json, or add "
        "it to the resource's query",
        operation, name);
    return OK;
}

static verdict
method_check(const json_t *document, json_t *item, const char *operation, const char *taken, struct failure *why) {
    char method[8];
    snprintf(method, sizeof method, "%.*s", (int)strcspn(operation, " "), operation);
    const json_t *found = json_object_get(item, method);
    if (!found) return fail(why, REJECT, "%s is not described; describe it in api.json", operation);
    json_t *described = query_of(document, found);
    verdict v = described ? query_check(described, taken, operation, why) : fail(why, RETRY, "out of memory");
    json_decref(described);
    if (v != OK) return v;
    return json_object_del(item, method) ? fail(why, RETRY, "out of memory") : OK;
}

/* left: what is described and was not met yet. */
static verdict table_check(const json_t *document, json_t *left, const struct resource *table, struct failure *why) {
    verdict v = OK;
    char path[PATH_SIZE], operation[PATH_SIZE + 8];
    for (const struct resource *r = table; v == OK && r && (r->path || r->api_path); r++) {
        resource_path(r, path);
        if (!*path) continue;
        json_t *item = json_object_get(left, path);
        snprintf(operation, sizeof operation, "get %s", path);
        if (r->get) v = method_check(document, item, operation, r->query, why);
        snprintf(operation, sizeof operation, "post %s", path);
        if (r->post && v == OK) v = method_check(document, item, operation, r->post_query, why);
    }
    return v;
}

static verdict
resources_check(const json_t *document, const struct service *s, const struct resource *chassis, struct failure *why) {
    const struct resource call[] = {call_resource(s), {0}}, *tables[TABLES] = {s->resources, call, chassis};
    json_t *left = json_deep_copy(json_object_get(document, "paths")), *item;
    const char *path;
    verdict v = left ? OK : fail(why, RETRY, "out of memory");
    for (size_t i = 0; v == OK && i < TABLES; i++) v = table_check(document, left, tables[i], why);
    json_object_foreach(left, path, item) if (v == OK && json_object_size(item)) v = fail(
        why, REJECT, "%s %s is described, but there is no such resource; take it out of api.json",
        json_object_iter_key(json_object_iter(item)), path);
    json_decref(left);
    return v;
}

/* --- All of it */

verdict openapi_json(
    const struct service *service, const char *name, const struct resource *chassis, json_t **out,
    struct failure *why) {
    const struct asset *own;
    size_t own_n;
    json_t *document = json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:[], s:[], s:{}, s:{s:{}}}", "openapi", "3.1.1", "info", "title", service->title,
        "summary", service->duty, "version", CONTRACTS_VERSION, "servers", "tags", "paths", "components", "schemas");
    assets_service(&own, &own_n);
    verdict v =
        document ? fragments_add(document, chassis_assets, chassis_assets_n, why) : fail(why, RETRY, "out of memory");
    if (v == OK) v = fragments_add(document, own, own_n, why);
    if (v == OK) {
        call_add(document, service);
        operations_complete(document);
        components_prune(document);
        v = resources_check(document, service, chassis, why);
    }
    if (v == OK)
        *out = document;
    else
        json_decref(document);
    (void)name;
    return v;
}

static char *
text_make(const struct service *service, const char *name, const struct resource *chassis, struct failure *why) {
    char *text = NULL, *line = NULL;
    json_t *document;
    if (openapi_json(service, name, chassis, &document, why) != OK) return NULL;
    text = json_dumps(document, JSON_INDENT(INDENT));
    if (!text || asprintf(&line, "%s\n", text) < 0) {
        line = NULL;
        (void)!fail(why, RETRY, "out of memory");
    }
    free(text);
    json_decref(document);
    return line;
}

char *openapi_text(const struct service *service, const char *name, const struct resource *chassis) {
    struct failure why;
    return text_make(service, name, chassis, &why);
}

int openapi_main(const struct service *service, const char *name, const struct resource *chassis) {
    struct failure why = {.text = "it cannot be written"};
    char *text = text_make(service, name, chassis, &why);
    bool written = text && fputs(text, stdout) >= 0 && !fflush(stdout);
    if (!written) fprintf(stderr, "%s: could not write its OpenAPI document: %s\n", name, why.text);
    free(text);
    return written ? 0 : 1;
}
