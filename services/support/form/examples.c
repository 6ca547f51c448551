#include "support/form/examples.h"

#include "support/returns/returns.h"

#include "chassis/base/ids.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 60 }; /* of each one's order, as compose/local/examples.sh places them */

const struct example examples[] = {
    {"en", "English", "ORD-20481", "Aurora 14 laptop", "SHP-7730", "Berlin", "149.90", "EUR", "C-1029",
     "The screen flickers, then stays dark."},
    {"fr", "Français", "ORD-31877", "Borealis 27 monitor", "SHP-8124", "Lyon", "312.00", "EUR", "C-2214",
     "Une ligne verte traverse l’écran depuis hier.\nElle reste, même sans câble."},
    {"pl", "Polski", "ORD-40092", "Comet router", "SHP-9051", "Warsaw", "289.99", "PLN", "C-3370",
     "Router gubi połączenie co kilka minut, choć świeci na zielono."},
    {"ja", "日本語", "ORD-52760", "Dune headset", "SHP-6618", "大阪", "18900", "JPY", "C-4481",
     "右側から音が聞こえません。充電しても同じです。"},
    {"ar", "العربية", "ORD-61305", "Ember tablet", "SHP-5527", "القاهرة", "4250.00", "EGP", "C-5902",
     "الشاشة لا تستجيب للمس بعد التحديث الأخير."},
    {"uk", "Українська", "ORD-70418", "Aurora 14 laptop", "SHP-4439", "Львів", "12499.00", "UAH", "C-6153",
     "Батарея розряджається за пів години."},
};
const int examples_n = sizeof examples / sizeof *examples;

/* One after another, so that two people at the form get two devices. Once all are in returns, one is made up. */
static void serial_choose(struct connection *reader, const struct example *e, char out[40]) {
    static atomic_uint next;
    char id[RETURN_ID];
    for (int tries = 0; tries < ITEMS; tries++) {
        snprintf(out, 40, "SN-%s-%02u", e->order_id + strlen("ORD-"), atomic_fetch_add(&next, 1) % ITEMS + 1);
        json_auto_t *holder = returns_holder(reader, out);
        if (!holder) return;
    }
    return_id_make(id);
    snprintf(out, 40, "SN-%s", id + strlen("R-"));
}

json_t *example_body(struct connection *reader, int number) {
    const struct example *e = &examples[number - 1];
    char serial[40];
    serial_choose(reader, e, serial);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:s}", "order_id", e->order_id, "model", e->model,
        "shipment_id", e->shipment_id, "serial_number", serial, "location", e->location, "cost", "amount", e->amount,
        "currency", e->currency, "customer_id", e->customer_id, "reason_code", "DEFECTIVE", "reason", e->reason);
}
