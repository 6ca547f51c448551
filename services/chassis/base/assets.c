#include "chassis/base/assets.h"

#include <string.h>

static const struct asset *service_files;
static size_t service_files_n;

void assets_of_service(const struct asset *assets, size_t n) {
    service_files = assets;
    service_files_n = n;
}

void assets_service(const struct asset **assets, size_t *n) {
    *assets = service_files;
    *n = service_files_n;
}

static const struct asset *find(const struct asset *assets, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(assets[i].name, name)) return &assets[i];
    return NULL;
}

const struct asset *asset_find(const char *name) {
    const struct asset *own = find(service_files, service_files_n, name);
    return own ? own : find(chassis_assets, chassis_assets_n, name);
}
