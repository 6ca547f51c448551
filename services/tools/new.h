/* new: what ./returns new writes. new.c fills the templates in new/, new_event.c says what an event's .avsc comes to in
 * C and SQL. One thread. */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>
#include <sys/types.h>

#define NEW_REQUEST "returns.support.RefundRequest"
#define NEW_CANCELLED "returns.support.RefundCancelled"

/* "Serial number" of serial_number, "Fraud check" of fraud-check */
enum { NEW_NAME = 200 };
void new_heading(const char *name, char out[NEW_NAME]);

/* An array of what the templates say of each event, in the order in which they are named, "RefundRequest,…", by name or
 * full name. The caller's. REJECT: there is no such event, or two of one name. Reads
 * schemas/ in the folder at hand. */
MUST_CHECK verdict new_events(const char *names, json_t **events, struct failure *why);
ssize_t new_find(const json_t *events, const char *type); /* its place. −1: it is not among them */
void new_undone(json_t *event); /* its row can be marked as cancelled: the column, and what shows it, are added */

void new_align(json_t *event); /* its columns, one below the other */
json_t *new_known(void);       /* [{"path","owner","name","full"}] of all events there are. The caller's */

/* Appends lines of at most 120 characters with the words, with ", " between them, as clang-format breaks them. */
struct layout {
    const char *first, *next, *broken, *last; /* what begins the first and the others, and ends a line and the last */
};
void new_fill(json_t *lines, const json_t *words, struct layout l);
