/* money: an amount in hundredths, and as text. Pure. */
#pragma once

#include "chassis/base/failure.h"

#include <stdint.h>

struct money {
    int64_t minor;    /* hundredths of the unit: 14990 is 149.90 */
    char currency[4]; /* ISO 4217 */
};

/* "149.90" ↔ 14990. Plain digits with at most two decimals, no sign but '-', no exponent, at most 15 digits in all. */
MUST_CHECK verdict money_parse(const char *amount, int64_t *minor, struct failure *why);
const char *money_text(int64_t minor, char out[32]); /* returns out */
