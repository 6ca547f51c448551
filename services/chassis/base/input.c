#include "chassis/base/input.h"

#include "chassis/base/money.h"
#include "chassis/base/utf8.h"

#include <stdint.h>
#include <string.h>

enum { QUOTED = 60 };
#define AMOUNT_MAX 999999999999999 /* the 15 digits that an event has */

/* ISO 4217, by the decimals of its smaller unit. */
static const char two_decimals[] =
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
    "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR "
    "NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
    "TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
static const char no_decimals[] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
static const char more_decimals[] = "BHD CLF IQD JOD KWD LYD OMR TND UYW";

static bool is_listed(const char *codes, const char *code) {
    return strlen(code) == 3 && strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3 && strstr(codes, code);
}

bool item_next(const char **list, char between, const char **item, size_t *n) {
    if (!*list || !**list) return false;
    *item = *list;
    *n = (size_t)(strchrnul(*list, between) - *list);
    *list += *n + ((*list)[*n] == between);
    return true;
}

bool word_in(const char *word, const char *words) {
    size_t n;
    for (const char *item; item_next(&words, ' ', &item, &n);)
        if (n == strlen(word) && !memcmp(item, word, n)) return true;
    return false;
}

/* --- Characters */

/* The next one of valid UTF-8. */
static uint32_t character_next(const char **text) {
    unsigned char first = (unsigned char)**text;
    size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *text += n;
    return utf8_code(*text - n, n);
}

/* The marks that set the direction of text are not among them. */
static bool is_control(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029;
}

static bool is_blank(uint32_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_invisible(uint32_t c) {
    return is_blank(c) || c == 0xad || (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

/* How many bytes of it an error quotes: whole characters. */
static int quoted(const char *text, size_t n) {
    size_t most = n < QUOTED ? n : QUOTED;
    while (most && most < n && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
    return (int)most;
}

static verdict text_check(const char *text, int most, bool lines, struct failure *why) {
    int n = 0;
    bool visible = false;
    uint32_t c = 0, first = 0;
    for (const char *p = text; *p; visible |= !is_invisible(c)) {
        c = character_next(&p);
        if (++n == 1) first = c;
        if (is_control(c) && !(lines && is_blank(c)))
            return fail(
                why, REJECT, "holds the control character U+%04X as character %d; %s", (unsigned)c, n,
                lines ? "leave it out" : "write one line without it");
    }
    if (!n) return fail(why, REJECT, "is empty; fill it in");
    if (!visible) return fail(why, REJECT, "holds nothing but blanks; fill it in");
    if (n > most) return fail(why, REJECT, "has %d characters; at most %d are kept", n, most);
    if (!lines && (is_blank(first) || is_blank(c)))
        return fail(
            why, REJECT, "\"%.*s\" begins or ends with a blank; leave that out", quoted(text, strlen(text)), text);
    return OK;
}

verdict input_id(const char *id, size_t n, struct failure *why) {
    bool visible = false;
    if (!n) return fail(why, REJECT, "is empty; an id has 1 to %d bytes", ID_BYTES_MAX);
    if (n > ID_BYTES_MAX)
        return fail(why, REJECT, "\"%.*s…\" has %zu bytes; an id has at most %d", quoted(id, n), id, n, ID_BYTES_MAX);
    if (!utf8_valid(id, n)) return fail(why, REJECT, "is not UTF-8");
    for (const char *p = id; p < id + n;) {
        uint32_t c = character_next(&p);
        if (is_control(c)) return fail(why, REJECT, "holds the control character U+%04X, which no id may", (unsigned)c);
        visible |= !is_invisible(c);
    }
    if (!visible) return fail(why, REJECT, "holds nothing that can be seen");
    if ((n == 1 && *id == '.') || (n == 2 && !memcmp(id, "..", 2)))
        return fail(why, REJECT, "is \"%.*s\", which no address can hold; give it another id", (int)n, id);
    return OK;
}

const char *input_type(const json_t *value) {
    static const char *const types[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array",     [JSON_STRING] = "text",
        [JSON_INTEGER] = "a number",   [JSON_REAL] = "a number",      [JSON_NULL] = "null",
        [JSON_TRUE] = "true or false", [JSON_FALSE] = "true or false"};
    return types[json_typeof(value)];
}

verdict input_text(const json_t *value, const char *example, int most, bool lines, struct failure *why) {
    if (!json_is_string(value))
        return fail(why, REJECT, "is %s; write it as text, such as \"%s\"", input_type(value), example);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return fail(why, REJECT, "holds the control character U+0000; leave it out");
    return text_check(json_string_value(value), most, lines, why);
}

/* --- Money */

verdict input_currency(const char *code, struct failure *why) {
    if (is_listed(two_decimals, code) || is_listed(no_decimals, code)) return OK;
    if (is_listed(more_decimals, code))
        return fail(why, REJECT, "%s has more than two decimals, which cannot be kept here; give it in another", code);
    return fail(
        why, REJECT, "\"%.*s\" is not a currency's ISO 4217 code, such as EUR, in capitals", quoted(code, strlen(code)),
        code);
}

verdict input_amount(const char *amount, const char *currency, int64_t *minor, struct failure *why) {
    verdict v = money_parse(amount, minor, why);
    if (v != OK) return v;
    if (*amount == '-')
        return fail(why, REJECT, "\"%.*s\" is negative; write 0 or more", quoted(amount, strlen(amount)), amount);
    if (*minor > AMOUNT_MAX)
        return fail(
            why, REJECT, "\"%.*s\" is too large; at most 9999999999999.99 is kept", quoted(amount, strlen(amount)),
            amount);
    if (currency && is_listed(no_decimals, currency) && *minor % 100)
        return fail(
            why, REJECT, "\"%.*s\" has decimals, and %s has none; write a whole amount", quoted(amount, strlen(amount)),
            amount, currency);
    return OK;
}
