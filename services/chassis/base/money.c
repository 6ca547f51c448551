#include "chassis/base/money.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AMOUNT_DIGITS = 15 };

verdict money_parse(const char *amount, int64_t *minor, struct failure *why) {
    const char *p = amount + (*amount == '-');
    size_t whole = strspn(p, "0123456789"), decimals = p[whole] == '.' ? strspn(p + whole + 1, "0123456789") : 0;
    if (!whole || p[decimals ? whole + 1 + decimals : whole])
        return fail(why, REJECT, "\"%.60s\" is not an amount; write it like 149.90", amount);
    if (decimals > 2)
        return fail(why, REJECT, "\"%.60s\" is finer than hundredths; write at most two decimals", amount);
    if (whole + decimals > AMOUNT_DIGITS)
        return fail(why, REJECT, "\"%.60s\" is too large; at most %d digits are kept", amount, AMOUNT_DIGITS);
    int64_t n = strtoll(p, NULL, 10) * 100;
    if (decimals > 0) n += 10 * (p[whole + 1] - '0');
    if (decimals > 1) n += p[whole + 2] - '0';
    *minor = *amount == '-' ? -n : n;
    return OK;
}

const char *money_text(int64_t minor, char out[32]) {
    uint64_t n = minor < 0 ? -(uint64_t)minor : (uint64_t)minor;
    snprintf(out, 32, "%s%" PRIu64 ".%02" PRIu64, minor < 0 ? "-" : "", n / 100, n % 100);
    return out;
}
