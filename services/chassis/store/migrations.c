#include "chassis/store/migrations.h"

#include "chassis/base/assets.h"

#include <stdio.h>

size_t assets_migrations(const char *owner, const char *stem, struct migration all[MIGRATIONS_MAX], size_t n) {
    for (int version = 1; n < MIGRATIONS_MAX; version++) {
        char name[64];
        snprintf(name, sizeof name, version > 1 ? "%s.%d.sql" : "%s.sql", stem, version);
        const struct asset *file = asset_find(name);
        if (!file) break;
        all[n++] = (struct migration){owner, version, file->bytes};
    }
    return n;
}
