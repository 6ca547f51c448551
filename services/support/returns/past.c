#include "support/returns/past.h"

#include "chassis/base/json_get.h"
#include "chassis/base/moment.h"
#include "chassis/pages/page.h"

#include <stdlib.h>
#include <string.h>

const struct bound bound_now = {INT64_MAX, INT64_MAX};

/* --- What is asked for */

bool past_is_now(const struct bound *b) {
    return b->version == INT64_MAX && b->at == INT64_MAX;
}

static bool is_moment(const struct bound *b) {
    return b->at != INT64_MAX;
}

bool past_asked(struct exchange *x, struct bound *b) {
    const char *version = page_query(x, "version");
    *b = bound_now;
    if (!page_moment(x, "as_of", &b->at)) return false;
    if (version && is_moment(b)) {
        exchange_problem(
            x, 400, "Both version \"%.60s\" and as_of \"%.60s\" are asked for; ask for one of them.", version,
            exchange_query(x, "as_of"));
        return false;
    }
    if (version && version[strspn(version, "0123456789")]) {
        exchange_problem(x, 400, "version \"%.60s\" is not a whole number; the first is 1.", version);
        return false;
    }
    if (version) b->version = strlen(version) <= 18 ? atoll(version) : INT64_MAX - 1;
    return true;
}

bool past_there(struct exchange *x, const char *id, const json_t *one, const struct bound *b) {
    char at[TIME_TEXT];
    if (json_object_get(one, "status")) return true;
    if (!one)
        exchange_problem(x, 404, "There is no return \"%.60s\".", id);
    else if (is_moment(b))
        exchange_problem(
            x, 404, "Return \"%.60s\" was not there yet at %s: it was requested at %s.", id, time_text(b->at, at),
            json_get_text(one, "requested_at"));
    else
        exchange_problem(
            x, 404, "Return \"%.60s\" has no version \"%.60s\": its versions are 1 to %lld.", id,
            exchange_query(x, "version"), (long long)json_integer_value(json_object_get(one, "versions")));
    return false;
}

/* --- The page */

void past_view(json_t *data, const char *url, const struct bound *b) {
    char local[MOMENT_LOCAL] = "", at[TIME_TEXT];
    int64_t moment = is_moment(b) ? b->at : json_get_time(data, "requested_at");
    json_add(
        data, "{s:{s:s, s:s}, s:b}", "when", "url", url, "value", moment ? moment_local(moment, local) : "", "past",
        !past_is_now(b));
    if (is_moment(b))
        json_object_set_new(data, "api_url", json_sprintf("/api%s?as_of=%s", url, time_text(b->at, at)));
    else if (!past_is_now(b))
        json_object_set_new(data, "api_url", json_sprintf("/api%s?version=%lld", url, (long long)b->version));
}
