/* A JSON body, as far as the request that it asks for. */
#include "fuzz.h"

#include "chassis/web/http.h"

#include "support/request/request.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct exchange x = {.body = (const char *)bytes, .body_n = n};
    struct failure why;
    struct request request;
    json_t *body = NULL;
    if (exchange_json(&x, &body, &why) != OK) {
        must(why.kind == REJECT && strlen(why.text) > 10, "refused JSON is told why");
        return 0;
    }
    json_t *errors = request_read(body, NULL, &request);
    must(json_is_array(errors), "a body has a list of errors");
    if (!json_array_size(errors)) must(request.order_id && request.cost_minor >= 0, "no error, and a whole request");
    json_decref(errors);
    json_decref(body);
    return 0;
}
