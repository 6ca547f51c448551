/* examples: returns to try the form with, in the words of customers from several countries. */
#pragma once

#include "chassis/store/store.h"

struct example { /* what each field of request_fields[] holds, but for the serial number */
    const char *lang, *language;
    const char *order_id, *model, *shipment_id, *location, *amount, *currency, *customer_id, *reason;
};
extern const struct example examples[];
extern const int examples_n;

/* A body of example 1, 2, …, with a device of its order that is in no open return. The caller's. */
MUST_CHECK json_t *example_body(struct connection *reader, int number);
