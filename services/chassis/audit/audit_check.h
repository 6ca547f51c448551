/* audit_check: reads the audit log's chains again in the background, a little at a time, so that pages can say whether
 * they are intact without reading them all. After each full pass it goes on with what is new. An hour later it begins
 * again with the first row, after a minute where something did not fit. While rows come faster than one a millisecond,
 * it reads a thousand a second. What it says lives in memory only.
 *
 * It compares rows, hashes and the heads kept beside them. What was published to Kafka is compared by audit_verify().
 */
#pragma once

#include "chassis/base/failure.h"

#include <jansson.h>

struct audit_check;
struct store;

MUST_CHECK verdict audit_check_start(struct audit_check **out, struct store *store, struct failure *why);
void audit_check_stop(struct audit_check **c); /* accepts NULL */

/* {"state":"reading"|"intact"|"broken","rows":N,"at":…,"broken":{"chain","id","reason"} or null}: reading: the first
 * pass is at row N. Else all rows up to N were looked at, the last of them at that moment. The caller's. Any thread.
 * Accepts NULL, and then nothing was read yet. */
json_t *audit_check_json(struct audit_check *c);
