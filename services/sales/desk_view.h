/* desk_view: what only people need of customers and orders, added to what the API says. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdint.h>

enum { VIEW_LINES = 25, VIEW_ROWS = 3, VIEW_ROWS_MAX = 40 };

/* typed: what a form holds, nested (order_input.h), or NULL. errors: [{"field","detail"}], or NULL. All add to data. */
void view_customers(json_t *data, const json_t *typed, const json_t *errors);
void view_customer(json_t *data, json_t *orders);
void view_orders(json_t *data, const char *customer_id);
void view_order(json_t *data, int64_t from, const json_t *typed, const json_t *errors);
MUST_CHECK json_t *view_order_new(const json_t *typed, int rows, const json_t *errors);

void view_id(const char *prefix, char out[32]); /* a new id: "ORD-…" */
