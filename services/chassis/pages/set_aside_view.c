#include "chassis/pages/set_aside_view.h"

#include "chassis/audit/audit.h"
#include "chassis/events/outbox_queue.h"
#include "chassis/outgoing/relay.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/pages/runtime.h"
#include "chassis/store/store.h"
#include "chassis/web/idempotency.h"

#include <stdio.h>

void set_aside_again_post(struct exchange *x) {
    struct runtime *rt = x->context;
    struct failure why;
    char summary[120];
    struct connection *c = store_begin(rt->core.store);
    int64_t n = outbox_again(c);
    snprintf(summary, sizeof summary, "%lld that were set aside are sent again", (long long)n);
    if (n)
        audit_append(
            c,
            &(struct audit_row){
                .action = "send again", .outcome = "accepted", .actor = x->api ? "api" : "form", .summary = summary});
    if (x->api)
        x->data = json_pack("{s:I}", "sent_again", (json_int_t)n);
    else
        exchange_redirect(x, "/status");
    if (exchange_commit(x, c, &why) != OK) {
        exchange_problem(x, 503, "Nothing was changed: %s.", why.text);
        return;
    }
    set_aside_tell(rt->core.store, rt->core.health);
    relay_again(rt->relay);
}
