/* template: renders an embedded page with Mustache's syntax (mustache(5)): {{name}}, {{a.b}}, {{.}}, {{#section}},
 * {{^inverted}}, {{! comment}}, {{> partial}}. Every value is escaped for HTML. A page has no unescaped form, so
 * forgetting is not possible. A name is looked up in the innermost section first. Sections over arrays repeat. Objects
 * and non-empty strings enter. What is false, null, "", 0 or [] is skipped. Partials are other embedded files. Nesting
 * is limited to 16.
 *
 * A value may pass filters, which make words for people of it. What no filter can read shows nothing.
 *
 *     {{at|moment}}        2026-11-21 09:28:51.123   of an RFC 3339 text
 *     {{at|clock}}         09:28:51                  {{at|clock_ms}}: 09:28:51.123
 *     {{ms|duration}}      3.2 s                     of an integer
 *     {{id|query}}         a%20b                     percent-encoded, for an address
 *     {{type|name}}        ClaimFiled                of returns.legal.ClaimFiled
 *     {{reason|words}}     Damaged in transit        of DAMAGED_IN_TRANSIT
 *     {{state|tone}}       ok, wait or bad           of a state or an outcome
 *     {{tone|shape}}       ● ▲ ■                     {{state|tone|shape}}
 *     {{#state=open}} … {{/state=open}}              where the text is that word. {{^state=open}}: where it is not */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"

#include <jansson.h>

/* name: an asset's, "audit.html". FATAL: no such asset or a syntax error in it, with its line. Any thread. */
MUST_CHECK verdict template_render(const char *name, const json_t *data, struct buffer *out, struct failure *why);
/* The same for a file that is no page, such as source code: values as they are. Never for what a browser gets. */
MUST_CHECK verdict template_render_plain(const char *name, const json_t *data, struct buffer *out, struct failure *why);
