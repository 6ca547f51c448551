#include "support/request/request.h"

#include "chassis/base/buffer.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"

#include <stdio.h>
#include <string.h>

enum { ERRORS_MAX = 40 };

#define IN(member) offsetof(struct request, member)
const struct request_field request_fields[] = {
    {"order_id", "Order", "The one the device was bought with, such as ORD-20481", "ORD-20481",
     "The customer gets back what they paid for it.", IN(order_id), 100, false, NULL},
    {"model", "Model", "As the catalogue has it, such as Aurora 14 laptop", "Aurora 14 laptop",
     "A new one goes to the customer.", IN(model), 100, false, NULL},
    {"shipment_id", "Shipment", "The parcel the device came in, such as SHP-7730", "SHP-7730", NULL, IN(shipment_id),
     100, false, NULL},
    {"serial_number", "Serial number", "Of the defective device: on its underside, behind S/N", "SN-1",
     "This very device is taken apart. It can be in one open return only.", IN(serial_number), 100, false, NULL},
    {"location", "Location", "The town where the device is now; it decides which works gets it", "Berlin", NULL,
     IN(location), 100, false, NULL},
    {"cost.amount", "Cost", "What the device is in the books for: digits and a point, such as 149.90", "149.90",
     "So much is charged for its disposal.", IN(cost_amount), 100, false, NULL},
    {"cost.currency", "Currency", "Three capitals (ISO 4217), such as EUR", "EUR", NULL, IN(cost_currency), 100, false,
     NULL},
    {"customer_id", "Customer", "Such as C-1029. Stays with support: no event carries it", "C-1029", NULL,
     IN(customer_id), 100, false, NULL},
    {.name = "reason_code",
     .label = "Kind of reason",
     .hint = "What comes closest. Every team reads it",
     .example = "DEFECTIVE",
     .offset = IN(reason_code),
     .characters = 100,
     .fallback = "OTHER"},
    {"reason", "Reason", "In the customer's own words and language. Stays with support: no event carries it",
     "The screen flickers, then stays dark.", NULL, IN(reason), 2000, true, NULL},
    {0}};

/* --- The body */

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
    text_auto typed = strdup(text);
    char *to = typed;
    for (const char *p = text; typed && *p; p++)
        if (p[0] != '\r' || p[1] != '\n') *to++ = *p;
    return typed ? json_stringn(typed, (size_t)(to - typed)) : NULL;
}

json_t *request_nest(const json_t *form) {
    json_t *body = json_object(), *cost = json_object();
    json_members(m, (json_t *)form) {
        bool inner = !strncmp(m.name, "cost.", 5);
        json_object_set_new(inner ? cost : body, inner ? m.name + 5 : m.name, form_text(json_string_value(m.value)));
    }
    if (json_object_get(body, "cost")) /* a field of that name is not one of the form's: let it be refused */
        json_decref(cost);
    else
        json_object_set_new(body, "cost", cost);
    return body;
}

/* --- Reading */

static void error_add(json_t *errors, const char *field, const char *detail) {
    if (json_array_size(errors) < ERRORS_MAX && !json_find(errors, "field", field))
        json_array_append_new(errors, json_pack("{s:o, s:o}", "field", utf8_json(field), "detail", utf8_json(detail)));
}

static bool is_field(const char *name) {
    for (const struct request_field *f = request_fields; f->name; f++)
        if (!strcmp(f->name, name)) return true;
    return false;
}

/* Members that nobody would read are refused: more likely than not, one is a misspelt name. */
static void unknown_check(const json_t *object, const char *within, json_t *errors) {
    json_members(m, (json_t *)object) {
        char path[100];
        snprintf(path, sizeof path, "%s%.80s", within, m.name);
        bool known = is_field(path) && (*within || !strchr(m.name, '.'));
        if (!known && strcmp(path, "cost") != 0) error_add(errors, path, "there is no such field; leave it out");
    }
}

static verdict symbol_read(const json_t *symbols, const char *text, const char *fallback, struct failure *why) {
    buffer_auto names = BUFFER(1000);
    bool known = !json_array_size(symbols) && !strcmp(text, fallback);
    json_each(i, symbol, symbols) {
        known = known || !strcmp(json_string_value(symbol), text);
        buffer_format(&names, "%s%s", i ? ", " : "", json_string_value(symbol));
    }
    if (known) return OK;
    return fail(
        why, REJECT, "is \"%.60s\"; it must be one of %s, or left out for %s", text,
        names.data && *names.data ? names.data : fallback, fallback);
}

static bool field_is_id(const struct request_field *f) {
    static const size_t ids[] = {IN(order_id), IN(model), IN(shipment_id), IN(serial_number), IN(customer_id)};
    size_t i = 0;
    while (i < sizeof ids / sizeof *ids && ids[i] != f->offset) i++;
    return i < sizeof ids / sizeof *ids;
}

static verdict field_read(
    const struct request_field *f, const json_t *body, const json_t *symbols, struct request *out,
    struct failure *why) {
    const json_t *value = value_at(body, f->name);
    if (!value && f->fallback) {
        *(const char **)((char *)out + f->offset) = f->fallback;
        return OK;
    }
    verdict v = value ? input_text(value, f->example, f->characters, f->lines, why)
                      : fail(why, REJECT, "is missing; every field is required");
    if (v != OK) return v;
    const char *text = *(const char **)((char *)out + f->offset) = json_string_value(value);
    if (f->fallback) return symbol_read(symbols, text, f->fallback, why);
    if (field_is_id(f) && (v = input_id(text, strlen(text), why)) != OK) return v;
    if (f->offset == IN(cost_currency)) return input_currency(text, why);
    if (f->offset != IN(cost_amount)) return OK;
    return input_amount(text, json_string_value(value_at(body, "cost.currency")), &out->cost_minor, why);
}

json_t *request_read(const json_t *body, const json_t *symbols, struct request *out) {
    json_t *errors = json_array();
    const json_t *cost = json_object_get(body, "cost");
    bool cost_wrong = cost && !json_is_object(cost);
    struct failure why;
    *out = (struct request){.read_at = clock_ms()};
    for (const struct request_field *f = request_fields; f->name; f++) {
        if (cost_wrong && strchr(f->name, '.')) {
            char detail[100];
            snprintf(
                detail, sizeof detail, "is %s; write {\"amount\":\"149.90\",\"currency\":\"EUR\"}", input_type(cost));
            error_add(errors, "cost", detail);
        } else if (field_read(f, body, symbols, out, &why) != OK) {
            error_add(errors, f->name, why.text);
        }
    }
    unknown_check(body, "", errors);
    unknown_check(cost, "cost.", errors);
    return errors;
}
