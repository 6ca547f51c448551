#include "chassis/pages/stream_view.h"

#include "chassis/audit/audit.h"
#include "chassis/audit/audit_line.h"
#include "chassis/pages/page.h"

#include <stdlib.h>
#include <string.h>

/* --- What the hub shows */

static void row_event(struct buffer *out, const struct chain_row *row) {
    buffer_format(out, "id: %lld\nevent: audit\ndata: ", (long long)row->id);
    audit_line_json(out, row);
    buffer_text(out, "\n");
}

static int rows_read(void *store, int64_t *after, int limit, struct buffer *out) {
    static const struct audit_filter all = {0};
    struct connection *reader = store_reader(store);
    int n = audit_export(reader, &all, after, limit, row_event, out);
    return store_state(reader) == OK ? n : -1;
}

static int64_t row_newest(void *store) {
    return store_int(store_reader(store), -1, "SELECT MAX(id) FROM audit");
}

struct sse_options stream_of_audit(struct store *store) {
    return (struct sse_options){.newest = row_newest, .read = rows_read, .context = store, .row_bytes = AUDIT_LINE_MAX};
}

/* --- GET /api/stream */

/* Where the stream starts: behind the row that was named, else behind the newest. So is one from another log, that has
 * more rows than there are. −1: what was named is no row's number. Refused. */
static int64_t place_read(struct exchange *x, int64_t newest) {
    const char *header = exchange_header(x, "Last-Event-ID"), *name = header && *header ? "Last-Event-ID" : "after";
    const char *text = header && *header ? header : exchange_query(x, "after");
    if (!text || !*text) return newest;
    if (strlen(text) > 18 || text[strspn(text, "0123456789")]) {
        exchange_problem_field(x, name, "\"%.60s\" is not the number of an audit row", text);
        exchange_problem(x, 400, "Where to start cannot be read.");
        return -1;
    }
    int64_t after = strtoll(text, NULL, 10);
    return after < newest ? after : newest;
}

void stream_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->core.store);
    const char *site = exchange_header(x, "Sec-Fetch-Site"), *light = exchange_query(x, "light");
    if (site && !strcmp(site, "cross-site")) {
        exchange_problem(x, 403, "The request came from a page of another site; streams are for the pages here.");
        return;
    }
    int64_t after = place_read(x, store_int(reader, 0, "SELECT MAX(id) FROM audit"));
    if (after >= 0 && page_reader_ok(x, reader)) sse_answer(rt->sse, x, light && !strcmp(light, "1"), after);
}
