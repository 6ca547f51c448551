#include "request.h"

#include "chassis/codec.h"
#include "chassis/ids.h"
#include "chassis/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERRORS_MAX = 40, QUOTED = 60 };
#define COST_MAX 999999999999999 /* the 15 digits of RefundRequest's cost */

#define IN(member) offsetof(struct request, member)
const struct request_field request_fields[] = {
    {"order_id", "Order", "The one the device was bought with, such as ORD-20481", "ORD-20481",
     "The customer gets back what they paid for it.", IN(order_id), 100, false},
    {"model", "Model", "As the catalogue has it, such as Aurora 14 laptop", "Aurora 14 laptop",
     "A new one goes to the customer.", IN(model), 100, false},
    {"shipment_id", "Shipment", "The parcel the device came in, such as SHP-7730", "SHP-7730", NULL, IN(shipment_id),
     100, false},
    {"serial_number", "Serial number", "Of the defective device: on its underside, behind S/N", "SN-1",
     "This very device is taken apart. It can be in one open return only.", IN(serial_number), 100, false},
    {"location", "Location", "The town where the device is now; it decides which works gets it", "Berlin", NULL,
     IN(location), 100, false},
    {"cost.amount", "Cost", "What the device is in the books for: digits and a point, such as 149.90", "149.90",
     "So much is charged for its disposal.", IN(cost_amount), 100, false},
    {"cost.currency", "Currency", "Three capitals (ISO 4217), such as EUR", "EUR", NULL, IN(cost_currency), 100, false},
    {"customer_id", "Customer", "Such as C-1029. Stays with support: no event carries it", "C-1029", NULL,
     IN(customer_id), 100, false},
    {"reason", "Reason", "In the customer's own words and language. Stays with support: no event carries it",
     "The screen flickers, then stays dark.", NULL, IN(reason), 2000, true},
    {0}};

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

/* --- Characters */

/* The next one of valid UTF-8. */
static uint32_t character_next(const char **text) {
    const unsigned char *p = (const unsigned char *)*text;
    int n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? *p : *p & (0x7fu >> n);
    for (int i = 1; i < n; i++) c = c << 6 | (p[i] & 0x3f);
    *text += n;
    return c;
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

static verdict text_check(const struct request_field *f, const char *text, struct failure *why) {
    int n = 0;
    bool visible = false;
    uint32_t c = 0, first = 0;
    for (const char *p = text; *p; visible |= !is_invisible(c)) {
        c = character_next(&p);
        if (++n == 1) first = c;
        if (is_control(c) && !(f->lines && is_blank(c)))
            return fail(
                why, REJECT, "holds the control character U+%04X as character %d; %s", (unsigned)c, n,
                f->lines ? "leave it out" : "write one line without it");
    }
    if (!n) return fail(why, REJECT, "is empty; fill it in");
    if (!visible) return fail(why, REJECT, "holds nothing but blanks; fill it in");
    if (n > f->characters) return fail(why, REJECT, "has %d characters; at most %d are kept", n, f->characters);
    if (!f->lines && (is_blank(first) || is_blank(c)))
        return fail(why, REJECT, "\"%.*s\" begins or ends with a blank; leave that out", QUOTED, text);
    return OK;
}

/* --- The body */

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "text";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_NULL: return "null";
    default: return "true or false";
    }
}

static const json_t *value_at(const json_t *body, const char *name) {
    const char *dot = strchr(name, '.');
    if (!dot) return json_object_get(body, name);
    return json_object_get(json_object_getn(body, name, (size_t)(dot - name)), dot + 1);
}

const char *request_text(const json_t *body, const struct request_field *field) {
    return json_string_value(value_at(body, field->name));
}

/* CR LF becomes LF. */
static json_t *form_text(const char *text) {
    char *typed = strdup(text), *to = typed;
    for (const char *p = text; typed && *p; p++)
        if (p[0] != '\r' || p[1] != '\n') *to++ = *p;
    json_t *json = typed ? json_stringn(typed, (size_t)(to - typed)) : NULL;
    free(typed);
    return json;
}

json_t *request_nest(const json_t *form) {
    json_t *body = json_object(), *cost = json_object(), *value;
    const char *name;
    json_object_foreach((json_t *)form, name, value) {
        bool inner = !strncmp(name, "cost.", 5);
        json_object_set_new(inner ? cost : body, inner ? name + 5 : name, form_text(json_string_value(value)));
    }
    if (json_object_get(body, "cost")) /* a field of that name is not one of the form's: let it be refused */
        json_decref(cost);
    else
        json_object_set_new(body, "cost", cost);
    return body;
}

/* --- Reading */

static void error_add(json_t *errors, const char *field, const char *detail) {
    json_t *error;
    size_t i;
    json_array_foreach(errors, i, error) if (!strcmp(json_string_value(json_object_get(error, "field")), field)) return;
    if (i < ERRORS_MAX)
        json_array_append_new(errors, json_pack("{s:o, s:o}", "field", utf8_json(field), "detail", utf8_json(detail)));
}

static bool is_field(const char *name) {
    for (const struct request_field *f = request_fields; f->name; f++)
        if (!strcmp(f->name, name)) return true;
    return false;
}

/* Members that nobody would read are refused: more likely than not, one is a misspelt name. */
static void unknown_check(const json_t *object, const char *within, json_t *errors) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        char path[100];
        snprintf(path, sizeof path, "%s%.80s", within, name);
        bool known = is_field(path) && (*within || !strchr(name, '.'));
        if (!known && strcmp(path, "cost") != 0) error_add(errors, path, "there is no such field; leave it out");
    }
}

static verdict value_check(const struct request_field *f, const json_t *value, struct failure *why) {
    if (!value) return fail(why, REJECT, "is missing; every field is required");
    if (!json_is_string(value))
        return fail(why, REJECT, "is %s; write it as text, such as \"%s\"", type_name(value), f->example);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return fail(why, REJECT, "holds the control character U+0000; leave it out");
    return text_check(f, json_string_value(value), why);
}

static verdict currency_check(const char *code, struct failure *why) {
    if (is_listed(two_decimals, code) || is_listed(no_decimals, code)) return OK;
    if (is_listed(more_decimals, code))
        return fail(
            why, REJECT, "%s has more than two decimals, which cannot be kept here; give the cost in another", code);
    return fail(why, REJECT, "\"%.*s\" is not a currency's ISO 4217 code, such as EUR, in capitals", QUOTED, code);
}

static verdict amount_check(const char *amount, const char *currency, int64_t *minor, struct failure *why) {
    verdict v = money_parse(amount, minor, why);
    if (v != OK) return v;
    if (*amount == '-') return fail(why, REJECT, "\"%.*s\" is negative; write 0 or more", QUOTED, amount);
    if (*minor > COST_MAX)
        return fail(why, REJECT, "\"%.*s\" is too large; at most 9999999999999.99 is kept", QUOTED, amount);
    if (currency && is_listed(no_decimals, currency) && *minor % 100)
        return fail(
            why, REJECT, "\"%.*s\" has decimals, and %s has none; write a whole amount", QUOTED, amount, currency);
    return OK;
}

static verdict field_read(const struct request_field *f, const json_t *body, struct request *out, struct failure *why) {
    const json_t *value = value_at(body, f->name);
    verdict v = value_check(f, value, why);
    if (v != OK) return v;
    const char *text = *(const char **)((char *)out + f->offset) = json_string_value(value);
    if (f->offset == IN(cost_currency)) return currency_check(text, why);
    if (f->offset != IN(cost_amount)) return OK;
    return amount_check(text, json_string_value(value_at(body, "cost.currency")), &out->cost_minor, why);
}

json_t *request_read(const json_t *body, struct request *out) {
    json_t *errors = json_array();
    const json_t *cost = json_object_get(body, "cost");
    bool cost_wrong = cost && !json_is_object(cost);
    struct failure why;
    *out = (struct request){.read_at = clock_ms()};
    for (const struct request_field *f = request_fields; f->name; f++) {
        if (cost_wrong && strchr(f->name, '.')) {
            char detail[100];
            snprintf(
                detail, sizeof detail, "is %s; write {\"amount\":\"149.90\",\"currency\":\"EUR\"}", type_name(cost));
            error_add(errors, "cost", detail);
        } else if (field_read(f, body, out, &why) != OK) {
            error_add(errors, f->name, why.text);
        }
    }
    unknown_check(body, "", errors);
    unknown_check(cost, "cost.", errors);
    return errors;
}
