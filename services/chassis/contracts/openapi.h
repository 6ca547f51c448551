/* openapi: the HTTP API of this service as OpenAPI 3.1, made of fragments: the chassis's (chassis/api/), the service's
 * own (services/NAME/api.json, where it has resources of its own), and its call as its handler's projection has it.
 * There is no host, namespace or time of a run in it, so it is the same wherever it is made, and docs/api has it as a
 * file.
 *
 * Described is what is under /api, and besides it all that is neither a page nor a form. What every answer may be is
 * added to each operation here (x-answers, x-post in chassis/api/common.api.json), so fragments say only what is
 * particular. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/web/http.h"

/* chassis: what every service has (routes.h). REJECT: why names a resource, or a query parameter that one takes, that
 * no fragment describes, or what one describes and there is not. */
MUST_CHECK verdict
openapi_json(const struct service *service, const struct resource *chassis, json_t **out, struct failure *why);
