/* order_input: what is sent about customers and orders, checked, and made into the fields of the event that it becomes.
 * Nothing here reads the database. Each function adds to `errors`, [{"field","detail"}], what is wrong; what it returns
 * is of use only while there is none. The JSON is the caller's. */
#pragma once

#include "chassis/failure.h"

#include <jansson.h>
#include <stdbool.h>

enum { ITEMS_MAX = 1000 };

/* Of a form's flat names, "items.0.price.amount", the body as the API takes it. What was left empty is not there, an
 * item of which nothing was filled in is null. */
MUST_CHECK json_t *order_nest(const json_t *form);

/* {"customer_id" (may be missing),"name","location"} → CustomerRegistered's fields. */
MUST_CHECK json_t *order_customer(const json_t *body, json_t *errors);

/* {"order_id" (may be missing),"customer_id","shipment_id","items"} → OrderPlaced's fields. */
MUST_CHECK json_t *order_placed(const json_t *body, json_t *errors);

/* {"shipment_id","items":[{"line","removed","model","price","serial_number"}]}, all of which may be missing; an item
 * without a line is a new one. order: as it is (orders.h). → OrderChanged's fields, with only what is different; its
 * items are then empty and shipment_id missing when nothing is. */
MUST_CHECK json_t *order_changed(const json_t *body, const json_t *order, json_t *errors);

void order_error(json_t *errors, const char *field, const char *detail_format, ...)
    __attribute__((format(printf, 3, 4)));
