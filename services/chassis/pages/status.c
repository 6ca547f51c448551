#include "chassis/pages/status.h"

#include "chassis/audit/audit_check.h"
#include "chassis/base/build_info.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/rates.h"
#include "chassis/base/settings.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/outbox_queue.h"
#include "chassis/incoming/drill.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/pages/chart.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/page.h"
#include "chassis/pages/views.h"

#include <string.h>

/* --- /api/status */

static json_t *outcomes_json(struct connection *reader) {
    json_t *outcomes = json_object();
    for (struct rows r = store_rows(reader, "SELECT outcome, n FROM tally ORDER BY outcome"); rows_next(&r);)
        json_object_set_new(outcomes, rows_text(&r, 0), json_integer(rows_int(&r, 1)));
    return outcomes;
}

/* oldest: by the order of decision. */
static json_t *outbox_json(struct connection *reader) {
    enum { SHOWN = 20 };
    int64_t depth = outbox_waiting(reader), since = outbox_waiting_since(reader);
    int64_t oldest = since ? clock_ms() - since : 0;
    return json_pack(
        "{s:I, s:I, s:I, s:o}", "depth", (json_int_t)depth, "oldest_ms", (json_int_t)(oldest < 0 ? 0 : oldest),
        "set_aside", (json_int_t)set_aside_count(reader), "refused", set_aside_json(reader, SHOWN));
}

/* What whoever looks may do about it. */
static const char *advice(const char *component, const char *state) {
    static const struct {
        const char *component, *state, *text;
    } all[] = {
        {"kafka", "waiting", "It goes on by itself."},
        {"kafka rights", "waiting", "It goes on by itself a few seconds after the right is given."},
        {"kafka producer", "waiting", "Events wait in the outbox, and are published when Kafka takes them."},
        {"history", "failed",
         "Where ./returns does not run the services: run the service's program with the word rebuild and the "
         "same settings, stop the service when it says so, and start it again."},
        {"history", "waiting", "Nothing is handled or published before Kafka answers; then it goes on by itself."},
        {"outbox", "failed",
         "Mend what refused them, such as the topic's max.message.bytes, and send them again: by the button below, or ./returns redrive NAME outbox."},
        {"registry", "waiting",
         "It is asked again by itself. See whether the registry runs, and whether the setting registry names it."},
        {"replay", "waiting", "Until then its figures are those of the events that it has read."},
        {"schemas", "waiting", "Events wait in the outbox until the registry has their schemas; nothing is lost."},
        {"schemas", "failed",
         "Mend the schema, or the compatibility that the registry asks of it, and start this service anew."},
        {"store", "failed",
         "Make room on the disk that holds the setting data-dir, or mend what the reason names; it goes on by itself."},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].component, component) && !strcmp(all[i].state, state)) return all[i].text;
    return NULL;
}

/* --- As a page */

/* The lag of all partitions, and a dash where Kafka has not told an end yet. */
static json_t *lag_page(json_t *partitions) {
    json_int_t lag = 0;
    bool known = json_array_size(partitions);
    json_each(i, one, partitions) {
        lag += json_get_int(one, "lag");
        if (json_is_integer(json_object_get(one, "lag"))) continue;
        known = false;
        json_add(one, "{s:s, s:s}", "lag", "–", "end", "–");
    }
    return known ? json_integer(lag) : json_string("–");
}

/* Both kinds of samples side by side, newest first. */
static json_t *samples_page(const json_t *rates, const json_t *delays) {
    json_t *all = json_array();
    for (size_t i = json_array_size(rates); i-- > 0;) {
        json_t *rate = json_array_get(rates, i), *delay = json_array_get(delays, i);
        const char *at = json_get_text(rate, "at");
        double per_second = json_number_value(json_object_get(rate, "per_second"));
        if (per_second <= 0) continue;
        json_array_append_new(
            all,
            json_pack(
                "{s:s%, s:o, s:O, s:O}", "time", at + 11, (size_t)8, "per_second", json_sprintf("%.1f", per_second),
                "p50", json_object_get(delay, "p50_ms"), "p99", json_object_get(delay, "p99_ms")));
    }
    return all;
}

static json_t *charts_page(const json_t *data) {
    const json_t *throughput = json_object_get(data, "throughput"), *delay = json_object_get(data, "delay");
    const json_t *rates = json_object_get(throughput, "samples"), *delays = json_object_get(delay, "samples");
    const json_t *p50 = json_object_get(delay, "p50_ms"), *p99 = json_object_get(delay, "p99_ms");
    double most = chart_most(rates, "per_second"), longest = chart_most(delays, "p99_ms");
    char middle[32], late[32], worst[32];
    return json_pack(
        "{s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "rate_text",
        json_sprintf("%.1f", json_number_value(json_object_get(throughput, "per_second"))), "delay_text",
        json_is_integer(p50) ? json_sprintf(
                                   "%s, 99%% within %s", duration_text(json_integer_value(p50), middle),
                                   duration_text(json_integer_value(p99), late))
                             : json_string("nothing was handled"),
        "rate_most", json_sprintf("%.1f", most), "delay_most", duration_text((int64_t)longest, worst), "rate_path",
        chart_path(rates, "per_second", most), "p99_path", chart_path(delays, "p99_ms", longest), "p50_path",
        chart_path(delays, "p50_ms", longest), "samples", samples_page(rates, delays));
}

static void status_decorate_page(json_t *data) {
    json_t *cards = json_array(), *versions = json_array();
    bool waiting = false;
    json_each(i, one, json_object_get(data, "components")) waiting |= !strcmp(json_get_text(one, "state"), "waiting");
    json_members(m, json_object_get(data, "outcomes"))
        if (strcmp(m.name, "quarantined") != 0)
            json_array_append_new(cards, json_pack("{s:s, s:O}", "outcome", m.name, "n", m.value));
    json_members(m, json_object_get(data, "versions"))
        json_array_append_new(versions, json_pack("{s:s, s:O}", "name", m.name, "version", m.value));
    views_decorate(data);
    json_object_update_new(data, charts_page(data));
    json_add(
        data, "{s:b, s:o, s:o, s:o, s:s, s:s}", "is_waiting", waiting, "lag",
        lag_page(json_object_get(data, "partitions")), "outcome_cards", cards, "version_list", versions, "heading",
        "Status", "api_url", "/api/status");
}

json_t *status_json(struct runtime *rt, struct connection *reader) {
    const struct service *service = rt->core.service;
    int64_t oldest = 0;
    json_t *health = health_json(rt->core.health), *partitions = page_partitions(rt, &oldest);
    json_each(i, one, json_object_get(health, "components"))
        json_add(one, "{s:s?}", "advice", advice(json_get_text(one, "name"), json_get_text(one, "state")));
    (void)store_run(reader, "BEGIN"); /* all numbers from one moment */
    json_t *status = json_pack(
        "{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:o, s:I, s:o}", "service", rt->core.settings->service, "title",
        service->title, "duty", service->duty, "in_memory", service->in_memory, "started_at", time_json(rt->started_at),
        "partitions", partitions, "outcomes", outcomes_json(reader), "outbox", outbox_json(reader),
        "oldest_unhandled_ms", (json_int_t)oldest, "views", views_json(reader, service->views, NULL), "dead_letters",
        (json_int_t)dead_letter_open(reader), "drill", drill_json(drill_now(rt->drill)));
    (void)store_run(reader, "COMMIT");
    json_object_update_new(status, health);
    json_object_update_new(status, rates_json(rt->rates, clock_ms()));
    json_add(
        status, "{s:o, s:o, s:o}", "audit", audit_check_json(rt->audit_check), "settings",
        settings_json(rt->core.settings), "versions", build_info_json());
    return status;
}

void status_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(rt->core.store);
    x->data = status_json(rt, reader);
    if (!page_reader_ok(x, reader) || x->api) return;
    status_decorate_page(x->data);
    drill_decorate(x, x->data);
}
