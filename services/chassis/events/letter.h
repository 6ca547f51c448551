/* letter: a dead letter as a record for <service>.dead-letters: as it came, and in headers why it is there and where it
 * stood. What does not fit is left out, and a header says so. Any thread. */
#pragma once

#include "chassis/events/dead_letter.h"

/* How many bytes may be kept of what came. LETTER_BARE: of a letter that was refused as it was. */
enum { LETTER_ROOM = DEAD_LETTER_BYTES_MAX, LETTER_BARE = 1024 };

/* *raw points into the letter. Returns the headers, the caller's. */
rd_kafka_headers_t *letter_record(const struct dead_letter *letter, const char *service, size_t room, struct raw *raw);
