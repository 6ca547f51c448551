#include "chassis/base/assets.h"

#include <string.h>

const struct asset *own_assets;
size_t own_assets_n;

void assets_of_service(const struct asset *assets, size_t n) {
    own_assets = assets;
    own_assets_n = n;
}

static const struct asset *find(const struct asset *assets, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(assets[i].name, name)) return &assets[i];
    return NULL;
}

const struct asset *asset_find(const char *name) {
    const struct asset *own = find(own_assets, own_assets_n, name);
    return own ? own : find(chassis_assets, chassis_assets_n, name);
}
