/* command: cancels or closes a return, for who has seen the state that it is in (If-Match, or on the form `version`).
 * The state is looked at again under the writer's lock, in the transaction that stores the decision: of many at once
 * one is accepted, the others are told. What is refused for its version or state is an event as well, CommandRejected,
 * which leaves the version as it is. Of each version 100 refusals are kept, and further ones only answered. What cannot
 * be read changes nothing. */
#pragma once

#include "chassis/web/http.h"

void command_cancel(struct exchange *x);
void command_close(struct exchange *x);
/* Of the address where a refusal was shown: to the return's page, for who loads it again, as a live page does. */
void command_get(struct exchange *x);

/* ["cancel","close"]: what may be asked for while a return has that status. The caller's. */
MUST_CHECK json_t *command_legal(const char *status);
