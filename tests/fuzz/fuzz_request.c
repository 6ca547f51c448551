/* A whole request: path, query, headers (traceparent, Accept, Origin, lengths, …) and body, and the answer to it. */
#include "fuzz.h"

#include "chassis/base/ids.h"
#include "helper_peer.h"

static void item_get(struct exchange *x) {
    const char *id = exchange_parameter(x, "id"), *q = exchange_query(x, "q");
    must(trace_valid(x->trace_parent), "a request has a trace");
    exchange_set_header(x, "ETag", id);
    x->data = json_pack("{s:s, s:s?, s:s}", "id", id, "q", q, "trace", x->trace_parent);
}

static void item_post(struct exchange *x) {
    struct failure why;
    json_t *given = NULL;
    bool is_form = exchange_type_is(x, "application/x-www-form-urlencoded");
    if ((is_form ? exchange_form(x, &given, &why) : exchange_json(x, &given, &why)) != OK) {
        exchange_problem_field(x, exchange_parameter(x, "id"), "%s", why.text);
        exchange_problem(x, 400, "%s", why.text);
        return;
    }
    x->data = json_pack("{s:o}", "given", given);
}

static void moved_post(struct exchange *x) {
    exchange_redirect(x, exchange_query(x, "to") ? exchange_query(x, "to") : "/");
}

static const struct resource resources[] = {
    {.path = "/items/{id}", .get = item_get, .post = item_post, .query = "q"},
    {.path = "/moved", .post = moved_post, .post_query = "to"},
    {0}};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    peer_ask(resources, NULL, bytes, n);
    return 0;
}
