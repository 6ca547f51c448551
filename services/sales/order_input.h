/* order_input: what is sent about customers and orders, checked, and made into the fields of the event that it becomes.
 * Nothing here reads the database. Each function adds to `found` what is wrong. What it returns is of use only while
 * nothing is. The JSON is the caller's. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { ITEMS_MAX = 1000 };

struct findings {
    json_t *errors;     /* [{"field","detail"}] */
    bool out_of_memory; /* something was not read or noted for that: nothing may be made of it */
};
bool findings_none(const struct findings *found);
/* Of a field of that item, or of the item (NULL), or of none (NO_ITEM). Returns NULL: what is wrong is of no use. */
#define NO_ITEM SIZE_MAX
void *findings_add(struct findings *found, size_t item, const char *name, const char *detail_format, ...)
    __attribute__((format(printf, 4, 5)));
/* The value, which must be there. */
json_t *findings_have(struct findings *found, json_t *value);
/* json_array_append_new() and json_object_set_new() */
void findings_append(struct findings *found, json_t *list, json_t *value);
void findings_set(struct findings *found, json_t *object, const char *name, json_t *value);

/* Of a form's flat names, "items.0.price.amount", the body as the API takes it. What was left empty is not there, an
 * item of which nothing was filled in is null. */
MUST_CHECK json_t *order_nest(const json_t *form, struct findings *found);

/* {"customer_id" (may be missing, and is null then),"name","location"} → CustomerRegistered's fields. */
MUST_CHECK json_t *order_customer(const json_t *body, struct findings *found);

/* {"order_id" (the same),"customer_id","shipment_id","items"} → OrderPlaced's fields. */
MUST_CHECK json_t *order_placed(const json_t *body, struct findings *found);

/* {"shipment_id","items":[{"line","removed","model","price","serial_number"}]}, all of which may be missing. An item
 * without a line is a new one. order: as it is (orders.h). → OrderChanged's fields, with only what is different. Its
 * items are empty and its shipment_id is null when nothing is. */
MUST_CHECK json_t *order_changed(const json_t *body, const json_t *order, struct findings *found);
