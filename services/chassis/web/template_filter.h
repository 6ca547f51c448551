/* template_filter: what people see in place of a value: {{at|moment}}. See template.h for the list. Any thread. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* Makes the text for people of a value, which may be NULL. NULL: there is nothing to show. The caller's. */
typedef json_t *template_filter(const json_t *value);

template_filter *template_filter_find(const char *name, size_t n); /* NULL: there is none of that name */
