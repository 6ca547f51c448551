/* A form's body, as far as the request that it asks for. */
#include "fuzz.h"

#include "chassis/web/http_private.h"
#include "support/request/request.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct failure why;
    struct request request;
    json_t *form = NULL;
    if (form_read((const char *)bytes, n, &form, &why) != OK) {
        must(why.kind == REJECT && strlen(why.text) > 10, "a refused form is told why");
        return 0;
    }
    json_t *body = request_nest(form), *errors = request_read(body, NULL, &request);
    must(json_is_array(errors), "a form has a list of errors");
    if (!json_array_size(errors)) must(request.order_id && request.cost_minor >= 0, "no error, and a whole request");
    json_decref(errors);
    json_decref(body);
    json_decref(form);
    return 0;
}
