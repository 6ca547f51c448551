/* asyncapi: the topics of this service as AsyncAPI 3.0, made of its declaration, its schemas and topic_spec.h. There is
 * no host, namespace or time of a run in it, so it is the same wherever it is made. docs/api has it as a file. Schemas
 * are referenced as they lie beside docs/, "../../schemas/legal/ClaimFiled.avsc", and are served so (contracts.h).
 *
 *     channels     what it owns, as it makes it. Of others' topics their names, and the messages it handles
 *     operations   send, and receive with its consumer group
 *     x-projection of a message that it handles: the fields that it reads, and what it takes where one is missing
 *     x-handled    of reading every service's topic: whether it handles types that it does not name
 *     x-field      of a key: the field that it is, too */
#pragma once

#include "chassis/events/service.h"

/* The caller's, also where it is not whole. Not OK: no memory, or a schema file that cannot be read. */
MUST_CHECK verdict asyncapi_json(const struct service *service, const char *name, json_t **out, struct failure *why);
