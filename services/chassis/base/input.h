/* input: checks of what people and programs send, a field at a time. REJECT says what is wrong with it and what to do,
 * as the end of a sentence that begins with the field's name. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <stdbool.h>

/* The next item of a list such as "a,b,c" or "limit before". Moves on behind it. False: there is none. *list may be
 * NULL. */
bool item_next(const char **list, char between, const char **item, size_t *n);
bool word_in(const char *word, const char *words); /* "limit" in "limit before". words: NULL: there are none */
const char *input_type(const json_t *value);       /* "a number", "an object", … */

/* Text of 1 to `most` characters, something visible among them, no control characters. Without `lines` on one line,
 * with no blank at either end. */
MUST_CHECK verdict input_text(const json_t *value, const char *example, int most, bool lines, struct failure *why);

/* The one rule for ids, wherever they come in: 1 to 255 bytes of UTF-8, something visible among them, no control
 * characters, and neither . nor .., which no address can hold. Whatever keeps it can be linked to, percent-encoded. */
enum { ID_BYTES_MAX = 255 };
MUST_CHECK verdict input_id(const char *id, size_t n, struct failure *why);

MUST_CHECK verdict input_currency(const char *code, struct failure *why); /* ISO 4217, with two decimals or none */
/* 0 or more, in hundredths, as finely as the currency (NULL: not known) has it. */
MUST_CHECK verdict input_amount(const char *amount, const char *currency, int64_t *minor, struct failure *why);
