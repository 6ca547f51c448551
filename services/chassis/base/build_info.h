/* versions: of this program and of the libraries that it runs with. */
#pragma once

#include <jansson.h>

void build_info_of_service(const char *version); /* what it was built from. Once, before any thread. Not copied */

json_t *build_info_json(void); /* {"returns": that, "librdkafka":…, …}. The caller's. Any thread. */
