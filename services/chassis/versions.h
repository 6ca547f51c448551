/* versions: of this program and of the libraries that it runs with. */
#pragma once

#include <jansson.h>

json_t *versions_json(void); /* {"returns":…,"librdkafka":…, …}; the caller's. Any thread. */
