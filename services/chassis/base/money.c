#include "chassis/base/money.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { AMOUNT_DIGITS = 15 };

verdict money_parse(const char *amount, int64_t *minor, struct failure *why) {
    const char *p = amount + (*amount == '-');
    size_t whole = strspn(p, "0123456789"), decimals = 0;
    const char *rest = p + whole;
    if (*rest == '.') {
        decimals = strspn(rest + 1, "0123456789");
        rest += 1 + decimals;
    }
    if (!whole || *rest || (p[whole] == '.' && !decimals))
        return fail(why, REJECT, "\"%.60s\" is not an amount; write it like 149.90", amount);
    if (decimals > 2)
        return fail(why, REJECT, "\"%.60s\" is finer than hundredths; write at most two decimals", amount);
    if (whole + decimals > AMOUNT_DIGITS)
        return fail(why, REJECT, "\"%.60s\" is too large; at most %d digits are kept", amount, AMOUNT_DIGITS);
    int64_t n = 0;
    for (size_t i = 0; i < whole; i++) n = n * 10 + (p[i] - '0');
    for (size_t i = 0; i < 2; i++) n = n * 10 + (i < decimals ? p[whole + 1 + i] - '0' : 0);
    *minor = *amount == '-' ? -n : n;
    return OK;
}

const char *money_text(int64_t minor, char out[32]) {
    uint64_t n = minor < 0 ? -(uint64_t)minor : (uint64_t)minor;
    snprintf(out, 32, "%s%" PRIu64 ".%02" PRIu64, minor < 0 ? "-" : "", n / 100, n % 100);
    return out;
}
