#include "chassis/base/assets.h"
#include "chassis/base/build_info.h"
#include "chassis/service/commands.h"

#include "version.h"

#include <malloc.h>

extern const struct service service; /* the team's declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

int main(int argc, char *argv[]) {
    mallopt(M_ARENA_MAX, 2); /* else some forty threads, which mostly wait, keep a heap each */
    assets_of_service(service_assets, service_assets_n);
    build_info_of_service(SERVICE_VERSION);
    return service_main(&service, SERVICE_NAME, SERVICE_PORT, argc, argv);
}
