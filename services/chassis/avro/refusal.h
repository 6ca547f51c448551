/* refusal: why a registry refuses a schema, in words that name field and rule. Apicurio says "urgency at /fields/12"
 * of a list. Confluent's says it in words already. */
#pragma once

#include "chassis/base/buffer.h"

/* Appends one sentence, without its end: the fields with Avro's name of the rule, and what to do, or what the registry
 * said as it is where that is not understood. schema: the text that was refused. */
void refusal_write(struct buffer *out, const char *said, const char *schema);
