/* assets: files compiled into the binary by the service(…) line in CMakeLists.txt: pages/, schema.sql, the service's
 * .avsc. */
#pragma once

#include <stddef.h>

struct asset {
    const char *name;  /* "audit.html", "schema.sql", "OrderRefunded.avsc": the file's name without its folders */
    const char *bytes; /* NUL-terminated after n */
    size_t n;
};

extern const struct asset chassis_assets[];
extern const size_t chassis_assets_n;
extern const struct asset *own_assets; /* the service's, by assets_of_service(). None before that */
extern size_t own_assets_n;

/* The service's file of that name, else the chassis's. NULL if neither has it. */
const struct asset *asset_find(const char *name);
void assets_of_service(const struct asset *assets, size_t n); /* once, before any thread */
