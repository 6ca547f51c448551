/* request: what somebody asks for when a device comes back, and whether it can be accepted as it is.
 *
 *     form ─request_nest()─▶ {"order_id":…, "cost":{"amount":…,"currency":…}} ─request_read()─▶ struct request
 *     JSON ───────────────────────────▲                                              └──▶ or what is wrong, by field */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct request { /* text points into the body that it was read from */
    const char *order_id, *model, *shipment_id, *serial_number, *location, *customer_id, *reason_code, *reason;
    const char *cost_amount, *cost_currency;
    int64_t read_at;    /* ms */
    int64_t cost_minor; /* hundredths, whatever the currency */
};

/* A field without a fallback is required. One table for the form, for reading, and for what the errors say. */
struct request_field {
    const char *name; /* of the form's field. In JSON, "cost.amount" is the member amount of cost */
    const char *label, *hint, *example;
    const char *effect; /* what is done with it once it is sent. NULL: it only says which */
    size_t offset;      /* of its text in struct request */
    int characters;     /* at most. Unicode's, not bytes */
    bool lines;         /* line breaks and tabs are text */
    const char
        *fallback; /* NULL: it is required. Else it is one of the event's symbols, and this one when it is left out */
};
extern const struct request_field request_fields[]; /* ends with {0} */

/* A form's fields as the JSON would have them. A browser sends every line break as CR LF. It becomes LF, as typed. */
MUST_CHECK json_t *request_nest(const json_t *form);

/* What the body holds for the field. NULL if that is not text. */
const char *request_text(const json_t *body, const struct request_field *field);

/* [{"field","detail"}], one entry a field. Empty when *out is complete. body: any JSON. symbols: the kinds of reason
 * that the event can say (returns_reasons()). NULL: the fallback alone. The array is the caller's. */
MUST_CHECK json_t *request_read(const json_t *body, const json_t *symbols, struct request *out);
