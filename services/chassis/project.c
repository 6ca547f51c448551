#include "chassis/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AMOUNT_DIGITS = 15, AMOUNT_TEXT = 64 };

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

/* A decimal of a finer scale may still be whole hundredths: 149.900. */
static void amount_trim(const char *text, char out[AMOUNT_TEXT]) {
    snprintf(out, AMOUNT_TEXT, "%s", text);
    const char *point = strchr(out, '.');
    if (!point) return;
    for (size_t n = strlen(out); out + n > point + 3 && out[n - 1] == '0'; n--) out[n - 1] = '\0';
}

static verdict money_project(const char *path, const json_t *json, struct money *out, struct failure *why) {
    const char *amount = json_string_value(json_object_get(json, "amount"));
    const json_t *currency_json = json_object_get(json, "currency");
    const char *currency = json_string_value(currency_json);
    if (!amount || !currency)
        return fail(why, REJECT, "field \"%s\" is not money: a record of a decimal amount and a currency", path);
    if (json_string_length(currency_json) != 3 || strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
        return fail(why, REJECT, "field \"%s\" has the currency \"%.20s\", not three capital letters", path, currency);
    if (strlen(amount) >= AMOUNT_TEXT) return fail(why, REJECT, "field \"%s\": the amount is too long", path);
    char trimmed[AMOUNT_TEXT];
    struct failure reason;
    amount_trim(amount, trimmed);
    if (money_parse(trimmed, &out->minor, &reason) != OK)
        return fail(why, REJECT, "field \"%s\": %s", path, reason.text);
    memcpy(out->currency, currency, sizeof out->currency);
    return OK;
}

/* The value at the path; NULL when it, or a record on the way to it, is absent or null. */
static const json_t *path_find(const json_t *event, const char *path) {
    const json_t *at = event;
    while (at && *path) {
        size_t n = strcspn(path, ".");
        at = json_object_getn(at, path, n);
        path += n + (path[n] == '.');
    }
    return json_is_null(at) ? NULL : at;
}

static verdict fallback_project(const struct field *f, void *member, struct failure *why) {
    const char *text = f->fallback;
    char *end;
    switch (f->type) {
    case TYPE_TEXT: *(const char **)member = text; return OK;
    case TYPE_BOOL: *(bool *)member = !strcmp(text, "true"); return OK;
    case TYPE_INT:
        errno = 0;
        *(int64_t *)member = strtoll(text, &end, 10);
        if (!*text || *end || errno) break;
        return OK;
    case TYPE_MONEY: { /* "0.00 EUR" */
        char amount[AMOUNT_TEXT], currency[4];
        struct money *money = member;
        if (sscanf(text, "%63s %3s", amount, currency) != 2) break;
        memcpy(money->currency, currency, sizeof currency);
        return money_parse(amount, &money->minor, why);
    }
    }
    return fail(why, REJECT, "field \"%s\" has the fallback \"%s\", which is not of its type", f->path, text);
}

static verdict field_project(const struct field *f, const json_t *json, void *member, struct failure *why) {
    static const char *const names[] = {
        [TYPE_TEXT] = "text", [TYPE_INT] = "an integer", [TYPE_BOOL] = "true or false", [TYPE_MONEY] = "money"};
    switch (f->type) {
    case TYPE_TEXT:
        if (!json_is_string(json)) break;
        *(const char **)member = json_string_value(json);
        if (strlen(json_string_value(json)) == json_string_length(json)) return OK;
        return fail(why, REJECT, "field \"%s\" holds a NUL character", f->path);
    case TYPE_INT:
        if (!json_is_integer(json)) break;
        *(int64_t *)member = json_integer_value(json);
        return OK;
    case TYPE_BOOL:
        if (!json_is_boolean(json)) break;
        *(bool *)member = json_is_true(json);
        return OK;
    case TYPE_MONEY: return money_project(f->path, json, member, why);
    }
    return fail(why, REJECT, "field \"%s\" is not %s", f->path, names[f->type]);
}

verdict project(const json_t *event, const struct field *fields, size_t n, void *out, struct failure *why) {
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        const json_t *json = path_find(event, f->path);
        void *member = (char *)out + f->offset;
        verdict v;
        if (json)
            v = field_project(f, json, member, why);
        else if (f->fallback)
            v = fallback_project(f, member, why);
        else
            v = fail(why, REJECT, "field \"%s\" is missing", f->path);
        if (v != OK) return v;
    }
    return OK;
}
