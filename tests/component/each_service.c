/* Each service as it is built (CMakeLists.txt): all of its resources, without the functions behind them. */
#include "helper_client.h"

#include "chassis/base/assets.h"
#include "chassis/contracts/openapi.h"
#include "chassis/pages/call.h"
#include "chassis/service/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct service service;
extern const struct asset service_assets[];
extern const size_t service_assets_n;

enum { RESOURCES_MAX = 80, PATH_SIZE = 400, TEXT_SIZE = 4096 };

static struct resource resources[RESOURCES_MAX];
static size_t resources_n;
static struct http *server;
static atomic_int reached; /* how often a function was; by the server's threads */

static void reach(struct exchange *x) {
    reached++;
    exchange_send(x, 200, "text/plain", "reached\n", 8);
}

static void resources_add(const struct resource *table) {
    for (const struct resource *r = table; r && (r->path || r->api_path); r++) {
        assert_true(resources_n < RESOURCES_MAX - 1);
        struct resource *own = &resources[resources_n++];
        *own = *r;
        if (r->get) own->get = reach;
        if (r->post) own->post = reach;
    }
}

static int setup(void **state) {
    const struct resource call[] = {call_resource(&service), {0}};
    struct failure why;
    *state = NULL;
    assets_of_service(service_assets, service_assets_n);
    resources_add(service.resources);
    resources_add(call);
    resources_add(chassis_routes);
    const struct http_options o = {
        .host = "127.0.0.1", .threads = 4, .body_max = 1000, .body_ms = 1000, .tables = {resources}};
    return http_start(&server, &o, &why) != OK;
}

static int teardown(void **state) {
    (void)state;
    http_stop(&server);
    return 0;
}

/* "/returns/{id}" is asked for as "/returns/1". */
static void path_write(const char *prefix, const char *pattern, char out[PATH_SIZE]) {
    out += snprintf(out, PATH_SIZE, "%s", prefix);
    for (const char *p = pattern; *p; p++) {
        *out++ = *p == '{' ? '1' : *p;
        if (*p == '{') p += strcspn(p, "}");
    }
    *out = '\0';
}

static struct answer *ask(const char *method, const char *path, const char *query) {
    char request[TEXT_SIZE];
    int n = snprintf(
        request, sizeof request,
        "%s %s?%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path,
        query, http_port(server));
    int fd = client_open(http_port(server));
    client_send(fd, request, (size_t)n);
    struct answer *a = client_read(fd, !strcmp(method, "HEAD"));
    close(fd);
    return a;
}

/* Of one operation at one path: an unknown parameter is refused, quoted, and the known ones are listed. */
static void
assert_refused(const char *method, const char *path, const char *known, const char *query, const char *name) {
    int before = reached;
    struct answer *a = ask(method, path, query);
    char quoted[100];
    bool api = !strncmp(path, "/api/", 5);
    snprintf(quoted, sizeof quoted, "%s%s%s", api ? "\\\"" : "", name, api ? "\\\"" : "");
    if (a->status != 400 || reached != before || !strstr(a->body, quoted))
        fail_msg("%s %s?%s: wanted 400 about %s, got %d: %s", method, path, query, name, a->status, a->body);
    assert_true(!api || strstr(a->text, "Content-Type: application/problem+json"));
    char words[TEXT_SIZE], *rest;
    snprintf(words, sizeof words, "%s", known ? known : "");
    for (char *one = strtok_r(words, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
        if (!strstr(a->body, one)) fail_msg("%s %s does not list \"%s\": %s", method, path, one, a->body);
    assert_true(known || strstr(a->body, "takes none"));
}

static void assert_operation(const char *method, const char *path, const char *known) {
    static const char *const unknown[][2] = {
        {"nonsense", "nonsense"},
        {"utm_source=mail", "utm_source"},
        {"LIMIT=1", "LIMIT"},
        {"limit%5B%5D=1", "limit[]"},
        {"=1", ""},
        {"_=1732700000", "_"}};
    char query[TEXT_SIZE] = "", words[TEXT_SIZE], *rest;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_refused(method, path, known, unknown[i][0], unknown[i][1]);
    snprintf(words, sizeof words, "%s", known ? known : "");
    for (char *one = strtok_r(words, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
        char twice[200], first[100];
        snprintf(twice, sizeof twice, "%s=1&%s=1", one, one);
        int before = reached;
        struct answer *a = ask(method, path, twice);
        if (a->status != 400 || reached != before || !strstr(a->body, "is there more than once"))
            fail_msg("%s %s?%s: wanted 400, got %d: %s", method, path, twice, a->status, a->body);
        snprintf(first, sizeof first, "%s=1&status=", one);
        assert_refused(method, path, known, first, "status");
        snprintf(query + strlen(query), sizeof query - strlen(query), "%s=&", one);
    }
    int before = reached;
    struct answer *a = ask(method, path, query); /* as a form sends what was left empty */
    if (a->status != 200 || reached != before + 1)
        fail_msg("%s %s?%s: wanted its function, got %d: %s", method, path, query, a->status, a->body);
}

static void each_operation(const struct resource *r, const char *path) {
    if (r->get) {
        assert_operation("GET", path, r->query);
        assert_refused("GET", path, r->query, "status=", "status");
        assert_int_equal(ask("HEAD", path, "status=")->status, 400);
    }
    if (r->post) assert_operation("POST", path, r->post_query);
}

static void an_unknown_query_parameter_is_refused_everywhere(void **state) {
    (void)state;
    char path[PATH_SIZE];
    bool own_start = service.resources && service.resources->path && !strcmp(service.resources->path, "/");
    for (const struct resource *r = resources; r->path || r->api_path; r++) {
        bool replaced = own_start && r != resources && r->path && !strcmp(r->path, "/"); /* by the service's own page */
        if (r->path && !replaced) path_write("", r->path, path), each_operation(r, path);
        if (!r->api_path) path_write("/api", r->path, path), each_operation(r, path);
        if (r->api_path && *r->api_path) path_write("", r->api_path, path), each_operation(r, path);
    }
}

static void what_it_takes_is_what_openapi_says(void **state) {
    (void)state;
    struct failure why;
    json_t *document;
    if (openapi_json(&service, chassis_routes, &document, &why) != OK) fail_msg("%s", why.text);
    json_decref(document);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_query_parameter_is_refused_everywhere),
        cmocka_unit_test(what_it_takes_is_what_openapi_says)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
