/* examples: returns to try the form with, in the words of customers from several countries. */
#pragma once

#include "request.h"

struct example { /* what each field of request_fields[] holds, but for the serial number */
    const char *lang, *language;
    const char *order_id, *model, *shipment_id, *location, *amount, *currency, *customer_id, *reason;
};
extern const struct example examples[];
extern const int examples_n;

/* A body of example 1, 2, …, with a serial number that was never used. The caller's. */
MUST_CHECK json_t *example_body(int number);
