#include "chassis/contracts/openapi.h"
#include "chassis/web/http.h"

#include "chassis/base/assets.h"
#include "chassis/service/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct claim {
    const char *claim_id, *note;
    struct money cost;
};
static const struct field claim_fields[] = {
    FIELD_TEXT(struct claim, claim_id),
    {"claim.note", TYPE_TEXT, offsetof(struct claim, note), ""},
    FIELD_MONEY(struct claim, cost),
};
static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(claim_fields, struct claim), NULL}, {0}};

static void answer(struct exchange *x) {
    (void)x;
}

/* What becomes of a service with such resources, and such a fragment ("": none). */
static verdict describe(const struct resource *resources, const char *fragment, json_t **out, struct failure *why) {
    const struct service s = {
        .title = "Legal",
        .duty = "Files the claim.",
        .handlers = handlers,
        .resources = resources,
        .call = {"/api/claims", "returns.support.RefundRequest"}};
    const struct asset own = {"api.json", fragment, strlen(fragment)};
    assets_of_service(&own, *fragment ? 1 : 0);
    verdict v = openapi_json(&s, chassis_routes, out, why);
    assets_of_service(NULL, 0);
    return v;
}

static const json_t *at(const json_t *document, const char *a, const char *b, const char *c) {
    const json_t *found = json_object_get(json_object_get(document, a), b);
    return c ? json_object_get(found, c) : found;
}

static void a_service_without_a_fragment_is_whole(void **state) {
    (void)state;
    static const struct resource pages[] = {
        {.path = "/claims/new", .api_path = "", .page = "form.html", .get = answer},
        {.path = "/claims/{id}/drop", .api_path = "", .get = answer, .post = answer},
        {0}};
    struct failure why;
    json_t *document;
    assert_int_equal(describe(pages, "", &document, &why), OK);
    assert_non_null(at(document, "paths", "/api/status", "get"));
    assert_non_null(at(document, "paths", "/livez", "get"));
    assert_null(at(document, "paths", "/claims/new", NULL));
    assert_null(json_object_get(document, "x-answers"));
    const json_t *answers = json_object_get(at(document, "paths", "/api/drill", "post"), "responses");
    assert_non_null(json_object_get(answers, "414"));
    assert_null(at(json_object_get(document, "components"), "schemas", "MoneySent", NULL)); /* nothing refers to it */
    json_decref(document);
}

static void a_call_asks_for_what_its_handler_reads(void **state) {
    (void)state;
    struct failure why;
    json_t *document;
    assert_int_equal(describe(NULL, "", &document, &why), OK);
    assert_non_null(at(document, "paths", "/api/claims", "post"));
    const json_t *call = at(json_object_get(document, "components"), "schemas", "Call", NULL);
    char *required = json_dumps(json_object_get(call, "required"), JSON_COMPACT);
    assert_string_equal(required, "[\"return_id\",\"claim_id\",\"cost\"]");
    assert_non_null(json_object_get(json_object_get(at(call, "properties", "claim", "properties"), "note"), "$ref"));
    free(required);
    json_decref(document);
}

static void a_resource_that_nothing_describes_is_refused(void **state) {
    (void)state;
    static const struct resource read[] = {{.path = "/claims", .page = "claims.html", .get = answer}, {0}};
    static const struct resource written[] = {{.api_path = "/api/claims/{id}", .post = answer}, {0}};
    static const struct resource plain[] = {{.path = "/claims.txt", .api_path = "", .get = answer}, {0}};
    struct failure why;
    json_t *document;
    assert_int_equal(describe(read, "", &document, &why), REJECT);
    assert_string_equal(why.text, "get /api/claims is not described; describe it in api.json");
    assert_int_equal(describe(written, "", &document, &why), REJECT);
    assert_string_equal(why.text, "post /api/claims/{id} is not described; describe it in api.json");
    assert_int_equal(describe(plain, "", &document, &why), REJECT);
    assert_string_equal(why.text, "get /claims.txt is not described; describe it in api.json");
}

static void what_is_described_and_not_there_is_refused(void **state) {
    (void)state;
    struct failure why;
    json_t *document;
    const char *more = "{\"paths\":{\"/api/state\":{\"post\":{\"responses\":{}}}}}";
    assert_int_equal(describe(NULL, more, &document, &why), REJECT);
    assert_string_equal(
        why.text, "post /api/state is described, but there is no such resource; take it out of api.json");
    assert_int_equal(describe(NULL, "{\"paths\":", &document, &why), REJECT);
    assert_non_null(strstr(why.text, "api.json, line 1"));
}

static void query_parameters_are_those_of_the_resource(void **state) {
    (void)state;
    static const struct resource takes[] = {
        {.path = "/cases", .page = "cases.html", .get = answer, .query = "limit state"}, {0}};
    static const struct resource sends[] = {{.api_path = "/api/cases", .post = answer, .post_query = "after"}, {0}};
    struct failure why;
    json_t *document;
#define CASES(method, parameters)                                                                                      \
    "{\"paths\":{\"/api/cases\":{\"" method "\":{\"parameters\":[" parameters "],\"responses\":{}}}}}"
#define LIMIT "{\"$ref\":\"#/components/parameters/limit\"}"
#define QUERY(name) "{\"name\":\"" name "\",\"in\":\"query\"}"
    assert_int_equal(describe(takes, CASES("get", LIMIT), &document, &why), REJECT);
    assert_string_equal(
        why.text,
        "get /api/cases takes the query parameter \"state\", which is not described; describe it in api.json");
    assert_int_equal(
        describe(takes, CASES("get", LIMIT "," QUERY("state") "," QUERY("status")), &document, &why), REJECT);
    assert_string_equal(
        why.text, "get /api/cases does not take the query parameter \"status\", which is described; take it out of "
                  "api.json, or add it to the resource's query");
    assert_int_equal(describe(sends, CASES("post", LIMIT), &document, &why), REJECT);
    assert_non_null(strstr(why.text, "post /api/cases takes the query parameter \"after\""));
    assert_int_equal(describe(takes, CASES("get", QUERY("state") "," LIMIT), &document, &why), OK);
    json_decref(document);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_without_a_fragment_is_whole),
        cmocka_unit_test(a_call_asks_for_what_its_handler_reads),
        cmocka_unit_test(a_resource_that_nothing_describes_is_refused),
        cmocka_unit_test(what_is_described_and_not_there_is_refused),
        cmocka_unit_test(query_parameters_are_those_of_the_resource)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
