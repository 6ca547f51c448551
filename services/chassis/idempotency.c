#include "chassis/idempotency.h"

verdict exchange_commit(struct exchange *x, struct connection *c, struct failure *why) {
    (void)x;
    return store_commit(c, why);
}
