#include "chassis/outgoing/set_aside.h"

#include "chassis/base/health.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/events/outbox_queue.h"

verdict set_aside(struct store *store, int64_t row, const char *reason, struct failure *why) {
    char number[24];
    struct connection *c = store_begin(store);
    outbox_set_aside(c, row, reason);
    verdict v = store_commit(c, why);
    if (v == OK)
        log_line(
            LOG_ERROR, "an event cannot be published, and was set aside", "outbox", log_number(number, (long long)row),
            "reason", reason, NULL);
    return v;
}

int64_t set_aside_count(struct connection *c) {
    return store_int(c, 0, "SELECT n FROM pile WHERE name = 'set aside'");
}

json_t *set_aside_json(struct connection *reader, int limit) {
    json_t *all = json_array();
    for (struct rows r = store_rows(
             reader,
             "SELECT e.id, e.at, type, return_id, reason FROM outbox_exception e JOIN outbox o ON o.id = e.id "
             "WHERE state = 'set aside' ORDER BY e.id LIMIT ?",
             value_int(limit));
         rows_next(&r);)
        json_array_append_new(
            all,
            json_pack(
                "{s:I, s:o, s:s, s:o, s:o}", "id", (json_int_t)rows_int(&r, 0), "at", rows_time_json(&r, 1), "type",
                rows_text(&r, 2), "return_id", utf8_json(rows_text(&r, 3)), "reason", utf8_json(rows_text(&r, 4))));
    return all;
}

void set_aside_tell(struct store *store, struct health *health) {
    int64_t n = set_aside_count(store_reader(store));
    if (n)
        health_set(
            health, "outbox", HEALTH_FAILED,
            "%lld of the outbox cannot be published, and %s set aside; later events of the same returns went on",
            (long long)n, n == 1 ? "was" : "were");
    else
        health_set(health, "outbox", HEALTH_OK, "nothing is set aside");
}
