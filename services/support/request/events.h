/* events: the names of support's own events (schemas/support). */
#pragma once

#define SUPPORT_EVENT(name) "returns.support." name /* the full name */

#define REFUND_REQUEST "RefundRequest"
#define REFUND_CANCELLED "RefundCancelled"
#define RETURN_CLOSED "ReturnClosed"
#define COMMAND_REJECTED "CommandRejected" /* makes no version: it has the one that it found */
