#include "chassis/pages/status.h"

#include "chassis/audit/audit_check.h"
#include "chassis/base/build_info.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/rates.h"
#include "chassis/base/settings.h"
#include "chassis/events/dead_letter.h"
#include "chassis/incoming/drill.h"
#include "chassis/outgoing/set_aside.h"
#include "chassis/pages/chart.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/page.h"
#include "chassis/pages/views.h"

#include <stdio.h>
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
    int64_t depth = store_int(reader, 0, "SELECT n FROM pile WHERE name = 'waiting'");
    int64_t since = store_int(
        reader, 0, "SELECT occurred_at FROM outbox WHERE sent_at IS NULL AND set_aside_at IS NULL ORDER BY id LIMIT 1");
    int64_t oldest = depth && since ? clock_ms() - since : 0;
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

static void add_advice(json_t *components) {
    json_t *component;
    size_t i;
    json_array_foreach(components, i, component) {
        const char *text = advice(
            json_string_value(json_object_get(component, "name")),
            json_string_value(json_object_get(component, "state")));
        json_object_set_new(component, "advice", text ? json_string(text) : json_null());
    }
}

/* --- As a page */

static void status_decorate_components(json_t *data) {
    json_t *components = json_object_get(data, "components"), *failed = json_array(), *waiting = json_array(),
           *component;
    size_t i;
    json_array_foreach(components, i, component) {
        page_add_moment(component, "since", "since_text");
        page_add_tone(component, "state");
        const char *state = json_string_value(json_object_get(component, "state"));
        if (state && !strcmp(state, "failed")) json_array_append(failed, component);
        if (state && !strcmp(state, "waiting")) json_array_append(waiting, component);
    }
    json_object_set_new(data, "is_waiting", json_boolean(json_array_size(waiting)));
    json_object_set_new(data, "waiting", waiting);
    json_object_set_new(data, "has_failed", json_boolean(json_array_size(failed)));
    json_object_set_new(data, "failed", failed);
}

/* The lag of all partitions, and a dash where Kafka has not told an end yet. */
static void status_decorate_partitions(json_t *data) {
    json_t *partition;
    json_int_t lag = 0;
    bool known = true;
    size_t i;
    json_array_foreach(json_object_get(data, "partitions"), i, partition) {
        lag += json_integer_value(json_object_get(partition, "lag"));
        if (json_is_integer(json_object_get(partition, "lag"))) continue;
        known = false;
        json_object_set_new(partition, "lag", json_string("–"));
        json_object_set_new(partition, "end", json_string("–"));
    }
    json_object_set_new(data, "lag", known && i ? json_integer(lag) : json_string("–"));
}

/* Both kinds of samples side by side, newest first. */
static json_t *samples_page(const json_t *rates, const json_t *delays) {
    json_t *all = json_array();
    for (size_t i = json_array_size(rates); i-- > 0;) {
        json_t *rate = json_array_get(rates, i), *delay = json_array_get(delays, i);
        const char *at = json_string_value(json_object_get(rate, "at"));
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

static void status_decorate_charts(json_t *data) {
    json_t *throughput = json_object_get(data, "throughput"), *delay = json_object_get(data, "delay");
    const json_t *rates = json_object_get(throughput, "samples"), *delays = json_object_get(delay, "samples");
    const json_t *p50 = json_object_get(delay, "p50_ms"), *p99 = json_object_get(delay, "p99_ms");
    double most = chart_most(rates, "per_second"), longest = chart_most(delays, "p99_ms");
    char middle[32], late[32], worst[32];
    json_object_set_new(
        data, "rate_text", json_sprintf("%.1f", json_number_value(json_object_get(throughput, "per_second"))));
    json_object_set_new(
        data, "delay_text",
        json_is_integer(p50) ? json_sprintf(
                                   "%s, 99%% within %s", duration_text(json_integer_value(p50), middle),
                                   duration_text(json_integer_value(p99), late))
                             : json_string("nothing was handled"));
    json_object_set_new(data, "rate_most", json_sprintf("%.1f", most));
    json_object_set_new(data, "delay_most", json_string(duration_text((int64_t)longest, worst)));
    json_object_set_new(data, "rate_path", chart_path(rates, "per_second", most));
    json_object_set_new(data, "p99_path", chart_path(delays, "p99_ms", longest));
    json_object_set_new(data, "p50_path", chart_path(delays, "p50_ms", longest));
    json_object_set_new(data, "samples", samples_page(rates, delays));
}

static void status_decorate_versions(json_t *data) {
    json_t *all = json_array(), *version;
    const char *name;
    json_object_foreach(json_object_get(data, "versions"), name, version)
        json_array_append_new(all, json_pack("{s:s, s:O}", "name", name, "version", version));
    json_object_set_new(data, "version_list", all);
}

static void status_decorate_page(json_t *data) {
    json_t *cards = json_array(), *n;
    json_t *outbox = json_object_get(data, "outbox"), *chain = json_object_get(data, "audit");
    const char *outcome;
    char age[DURATION_TEXT];
    int64_t oldest = json_integer_value(json_object_get(data, "oldest_unhandled_ms"));
    int64_t unsent = json_integer_value(json_object_get(outbox, "oldest_ms"));
    status_decorate_components(data);
    status_decorate_partitions(data);
    json_object_foreach(json_object_get(data, "outcomes"), outcome, n) if (strcmp(outcome, "quarantined") != 0)
        json_array_append_new(cards, json_pack("{s:s, s:O}", "outcome", outcome, "n", n));
    views_decorate(data);
    status_decorate_charts(data);
    status_decorate_versions(data);
    json_object_set_new(outbox, "oldest_text", json_string(unsent ? duration_text(unsent, age) : "none"));
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(outbox, "refused"), i, one) page_add_moment(one, "at", "when");
    page_add_tone(chain, "state");
    json_object_set_new(data, "outcome_cards", cards);
    json_object_set_new(data, "heading", json_string("Status"));
    json_object_set_new(data, "api_url", json_string("/api/status"));
    json_object_set_new(data, "oldest_text", json_string(oldest ? duration_text(oldest, age) : "none"));
    page_add_moment(data, "started_at", "started_text");
    page_add_tone(data, "state");
}

json_t *status_json(struct runtime *rt, struct connection *reader) {
    char started[TIME_TEXT];
    int64_t oldest = 0;
    json_t *health = health_json(rt->core.health), *partitions = page_partitions(rt, &oldest);
    (void)store_run(reader, "BEGIN"); /* all numbers from one moment */
    json_t *status = json_pack(
        "{s:s, s:s, s:s, s:b, s:s, s:o, s:o, s:o, s:I, s:o}", "service", rt->core.settings->service, "title",
        rt->core.service->title, "duty", rt->core.service->duty, "in_memory", rt->core.service->in_memory, "started_at",
        time_text(rt->started_at, started), "partitions", partitions, "outcomes", outcomes_json(reader), "outbox",
        outbox_json(reader), "oldest_unhandled_ms", (json_int_t)oldest, "views",
        views_json(reader, rt->core.service->views, NULL));
    json_object_set_new(status, "dead_letters", json_integer(dead_letter_open(reader)));
    (void)store_run(reader, "COMMIT");
    json_object_set_new(status, "drill", drill_json(rt->drill));
    add_advice(json_object_get(health, "components"));
    json_object_update_new(status, health);
    json_object_update_new(status, rates_json(rt->rates, clock_ms()));
    json_object_set_new(status, "audit", audit_check_json(rt->audit_check));
    json_object_set_new(status, "settings", settings_json(rt->core.settings));
    json_object_set_new(status, "versions", build_info_json());
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
