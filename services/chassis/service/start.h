/* start: starts a service, and stops it. */
#pragma once

#include "chassis/pages/runtime.h"

/* Opens the database, starts all threads. FATAL or RETRY when the process cannot do its duty at all: the database
 * cannot be opened, the port is taken. Kafka and the registry may be away. Closers in the reverse order: service_stop.
 */
MUST_CHECK verdict
service_start(struct runtime *rt, const struct service *service, const struct settings *settings, struct failure *why);
void service_stop(struct runtime *rt); /* also after a start that failed half way */
