/* template: renders an embedded page with Mustache's syntax (mustache(5)): {{name}}, {{a.b}}, {{.}}, {{#section}},
 * {{^inverted}}, {{! comment}}, {{> partial}}. Every value is escaped for HTML; a page has no unescaped form, so
 * forgetting is not possible. A name is looked up in the innermost section first. Sections over arrays repeat; objects
 * and non-empty strings enter; false, null, "", 0 and [] are skipped. Partials are other embedded files; nesting is
 * limited to 16. */
#pragma once

#include "chassis/base/buffer.h"
#include "chassis/base/failure.h"

#include <jansson.h>

/* name: an asset's, "audit.html". FATAL: no such asset or a syntax error in it, with its line. Any thread. */
MUST_CHECK verdict template_render(const char *name, const json_t *data, struct buffer *out, struct failure *why);
/* The same for a file that is no page, such as source code: values as they are. Never for what a browser gets. */
MUST_CHECK verdict template_render_plain(const char *name, const json_t *data, struct buffer *out, struct failure *why);
