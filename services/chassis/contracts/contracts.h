/* contracts: what a service tells machines about itself: /docs/api/NAME.asyncapi.json and NAME.openapi.json, to which
 * /asyncapi.json and /openapi.json lead, and the schemas that it refers to. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/web/http.h"

/* The functions behind routes.h. */
void contracts_get(struct exchange *x);
void contracts_found_get(struct exchange *x); /* of /asyncapi.json and /openapi.json */
/* /schemas/{service}/{file}: what it publishes from its own files, and others' by a way to where they are (302). */
void contracts_schema_get(struct exchange *x);

/* Prints "asyncapi" or "openapi". chassis: routes.h. The program's exit code. */
int contracts_main(
    const struct service *service, const char *name, const struct resource *chassis, const char *contract);
